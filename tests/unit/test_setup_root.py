"""Paths stay inside of the root, whatever links are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.setup.root import Root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "etc").mkdir()
    links = {
        "lib": "usr/lib",
        "etc/absolute": "/usr/lib/x",
        "etc/up": "../../../../usr/lib/x",
        "etc/passwd": "/etc/passwd-",
        "etc/chain": "absolute",
        "etc/circle": "circle",
        "etc/gone": "/no/where",
        "etc/folder": "/usr/",
    }
    for name, target in links.items():
        (tree / name).symlink_to(target)
    (tmp_path / "outside").mkdir()
    (tree / "etc/outside").symlink_to(tmp_path / "outside")
    return tree


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/", "/"),
        ("/etc/file", "/etc/file"),
        ("etc//./file", "/etc/file"),
        ("/lib/x", "/usr/lib/x"),
        ("/etc/absolute", "/usr/lib/x"),
        ("/etc/up", "/usr/lib/x"),
        ("/etc/passwd", "/etc/passwd-"),
        ("/etc/chain", "/usr/lib/x"),
        ("/etc/gone", "/no/where"),
        ("/etc/folder/lib/x", "/usr/lib/x"),
        ("/etc/folder/../x", "/x"),
        ("/../../x", "/x"),
    ],
)
def test_resolved(tree: Path, path: str, real: str) -> None:
    assert Root(tree).resolve(path) == real


def test_last_part_is_not_followed(tree: Path) -> None:
    assert Root(tree).resolve("/lib/../etc/chain", follow=False) == "/usr/etc/chain"
    assert Root(tree).place("/etc/chain") == tree / "etc/chain"
    assert Root(tree).place("/etc/folder/chain") == tree / "usr/chain"


def test_links_out_of_the_tree_lead_nowhere(tree: Path) -> None:
    place = Root(tree).place("/etc/outside/file")
    assert place.is_relative_to(tree)
    assert not place.parent.exists()


def test_circle(tree: Path) -> None:
    with pytest.raises(StiefelError, match=r"/etc/circle in .*form a circle"):
        Root(tree).resolve("/etc/circle")


def test_root_that_is_a_link(tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree)
    assert Root(tree.parent / "link").path == tree


def test_commands() -> None:
    argv = ["update-initramfs", "-u"]
    assert Root().command(argv) == argv
    assert Root(Path("/tmp")).command(argv) == ["chroot", "/tmp", *argv]
    entered = Root(Path("/tmp"), enter=lambda argv: ["enter", *argv])
    assert entered.command(argv) == ["enter", *argv]
    assert entered.command(["systemctl", "enable", "x"]) == [
        *("systemctl", "--root=/tmp", "enable", "x"),
    ]
