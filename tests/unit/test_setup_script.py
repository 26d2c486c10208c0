"""setup-server-os itself: what it refuses on the machine that it runs on."""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem import cmdline
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import report
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.preflight.generator import Generator
from stiefelsystem.host.server_os import plan
from stiefelsystem.host.setup import execute, undo
from stiefelsystem.host.setup.root import Root
from stiefelsystem.laptop import updates
from tests.builds import REPO


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Its function, on a machine where nothing is ever taken back."""

    def taking_back(**_: object) -> bool:
        raise AssertionError("something would have been taken back")

    monkeypatch.setattr(undo, "undo", taking_back)
    monkeypatch.setattr(updates, "running", list)
    return function("uninstall")


def function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = runpy.run_path(str(REPO / "setup-server-os"))[name]
    return found


ARGUMENTS = argparse.Namespace(yes=True, dry_run=False)


def test_nothing_is_taken_back_on_a_desktop(
    uninstall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To make the initrds anew there would give them the desktop's drivers."""
    monkeypatch.setattr(cmdline, "running", lambda: "ro stiefel_link=52:54:00:00:00:01")
    with pytest.raises(StiefelError, match="this OS is stiefeled"):
        uninstall(Root(), ARGUMENTS)


def test_a_mounted_system_is_another_one(
    uninstall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is asked about neither this machine's disk nor what is at work here."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(cmdline, "running", lambda: "ro stiefel_link=52:54:00:00:00:01")
    monkeypatch.setattr(updates, "running", lambda: ["apt (process 3)"])
    monkeypatch.setattr(undo, "undo", lambda **options: asked.update(options) or True)
    assert uninstall(Root(tmp_path), ARGUMENTS) == 0
    assert asked["busy"]() == []


def test_nothing_is_taken_back_while_packages_are_installed(
    uninstall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins after the first question is told to who asks before each command."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(cmdline, "running", lambda: "ro")
    monkeypatch.setattr(undo, "undo", lambda **options: asked.update(options) or True)
    assert uninstall(Root(), ARGUMENTS) == 0
    monkeypatch.setattr(updates, "running", lambda: ["apt (process 3)"])
    assert asked["busy"]() == ["apt (process 3)"]
    with pytest.raises(StiefelError, match=r"nothing is taken back: at work is apt"):
        uninstall(Root(), ARGUMENTS)


def test_half_a_package_is_taken_back(
    uninstall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that dpkg was interrupted in is there, though it is not installed."""
    status = "Package: kexec-tools\nStatus: install ok half-configured\n"
    for name, text in (("etc/os-release", "ID=debian\n"), ("var/lib/dpkg/status", status)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(undo, "undo", lambda **options: asked.update(options) or True)
    assert uninstall(Root(tmp_path), ARGUMENTS) == 0
    assert asked["installed"]("kexec-tools")
    assert not asked["installed"]("other")


def test_packages_that_are_installed_meanwhile_are_told_to_who_does_the_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = report.Report(
        findings=(),
        distribution=Distribution("debian", "debian", "Debian", "13"),
        generator=Generator("initramfs-tools", "1", "/usr/sbin/mkinitramfs", ""),
    )
    asked: dict[str, Any] = {}
    monkeypatch.setattr(report, "look", lambda *_: found)
    monkeypatch.setattr(plan, "make", lambda *_, **__: [])
    monkeypatch.setattr(execute, "execute", lambda _, **options: asked.update(options) or True)
    monkeypatch.setattr(updates, "running", lambda: ["apt (process 3)"])
    file = tmp_path / "config.yaml"
    file.write_text("modules: [system-debian]\nboot: {disk: /dev/vda}\n")
    arguments = argparse.Namespace(config=file, check=False, yes=True, dry_run=False)
    assert function("install")(Root(), arguments) == 0
    assert asked["busy"]() == ["apt (process 3)"]
    assert function("install")(Root(tmp_path), arguments) == 0
    assert asked["busy"]() == []
