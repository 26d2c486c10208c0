"""Packages: those that are missing come with what they need, and go unless something needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Packages
from stiefelsystem.host.setup.undo import undo
from tests.unit import setup_tree as system
from tests.unit.setup_tree import answer, no_terminal, tree

__all__ = ["answer", "no_terminal", "tree"]  # the fixtures

# $0 is what comes with the packages; and how they go.
INSTALL = 'for package in "$@" $0; do : >"var/packages/$package"; done'
REMOVE = 'echo "$0 $*" >>var/log; cd var/packages; rm "$@"'


def install(tree: Path, step: Packages) -> Root:
    root = system.root_of(tree)
    assert execute([step], root=root, yes=True)
    return root


def test_what_comes_with_packages_is_shown(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    packages = Packages(
        id="packages",
        purpose="why",
        names=("there", "a", "b"),
        installed=lambda name: name == "there",
        install=("touch",),
        remove=lambda names: ("rm",),
        with_others=lambda names: (*names, "lib"),
    )
    answer("y\n")
    assert execute([packages], root=system.root_of(tree))
    said = capfd.readouterr().err
    assert "  with what they need: lib\n" in said
    assert " touch a b\n" in said


def test_packages_that_are_there_are_removed(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Those that we have installed, and the user has not removed since."""
    system.install(tree)
    (tree / "var/packages/nbd").unlink()
    capfd.readouterr()
    assert system.uninstall(tree)
    assert capfd.readouterr().err.count("remove kexec\n") == 1
    assert os.listdir(tree / "var/packages") == ["old"]


def test_packages_that_come_with_them(tree: Path) -> None:
    """They are ours, too. How one goes is what was so before it came for the first time."""

    def packages(word: str, *names: str, others: tuple[str, ...] = ()) -> Packages:
        return Packages(
            id="packages",
            purpose="why",
            names=names,
            installed=lambda name: (tree / "var/packages" / name).exists(),
            install=("sh", "-c", INSTALL, " ".join(others)),
            remove=lambda new: ("sh", "-c", REMOVE, word),
            with_others=lambda missing: (*missing, *others),
        )

    before = set(os.listdir(tree / "var/packages"))
    root = install(tree, packages("purge", "a", others=("lib",)))
    install(tree, packages("remove", "a", "b"))
    (tree / "var/packages/a").unlink()
    install(tree, packages("remove", "a", "b"))
    there = (tree / "var/packages").joinpath
    assert undo(root=root, yes=True, installed=lambda name: there(name).exists())
    assert set(os.listdir(tree / "var/packages")) == before
    assert (tree / "var/log").read_text() == "purge a lib\nremove b\n"


def test_packages_that_something_else_needs_stay(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """What is removed by then is; and all other steps are taken back, the initrd made anew."""
    system.install(tree)
    (tree / "var/packages/kexec").unlink()
    (tree / "var/packages/kexec").mkdir()
    assert not system.uninstall(tree)
    said = capfd.readouterr().err
    assert "warning: not all of packages went: " in said
    assert "not taken back: packages; run it again with --uninstall" in said
    assert sorted(os.listdir(tree / "var/packages")) == ["kexec", "old"]
    assert (tree / system.INITRD).read_bytes() == b"their hook\n"
    assert not (tree / "etc/stiefel").exists()
    assert (tree / system.RECORD).exists()
    answer("k\ny\n")
    assert undo(root=system.root_of(tree))
    assert not (tree / system.RECORD).exists()
