"""Taking back that fails: it says at what, and how to go on; then everything comes back."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem.host.setup import door
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.steps import (
    Command,
)
from stiefelsystem.host.setup.undo import undo
from tests.unit import setup_tree as system
from tests.unit.setup_tree import answer, has_record, installed, no_terminal, tree, write

__all__ = ["answer", "no_terminal", "tree"]  # the fixtures


def test_take_back_that_fails(tree: Path, answer: Callable[[str], None]) -> None:
    fails = Command(id="b", purpose="why", argv=("true",), take_back=("sh", "-c", "exit 3"))
    root = installed(tree, write("a", "/etc/a"), fails)
    error = system.refused(lambda: undo(root=root, yes=True))
    assert "status 3" in str(error)
    assert "keep" in error.hint
    assert (tree / "etc/a").exists()
    answer("k\ny\n")
    assert undo(root=root)
    assert not (tree / "etc/a").exists()


def test_what_has_come_to_be_at_work_is_not_disturbed(tree: Path) -> None:
    before = system.snapshot(tree)
    system.install(tree)
    service = tree / "etc/wanted/service"

    def busy() -> list[str]:  # once the service has gone
        return [] if service.is_symlink() else ["apt (process 3)"]

    root = system.root_of(tree)
    error = system.refused(lambda: undo(root=root, yes=True, busy=busy))
    assert str(error) == "packages is not taken back: at work is apt (process 3)"
    assert "wait until it is done" in error.hint
    assert (tree / "var/packages/nbd").exists()
    assert system.uninstall(tree)
    assert system.snapshot(tree) == before


def test_interrupted_command_has_time_to_end(tree: Path) -> None:
    line = f"{system.INTERRUPT}; rm etc/made"
    step = Command(id="a", purpose="why", argv=("touch", "etc/made"), take_back=("sh", "-c", line))
    root = system.direct_root_of(tree)
    assert execute([step], root=root, yes=True)
    with pytest.raises(KeyboardInterrupt):
        undo(root=root, yes=True)
    assert not (tree / "etc/made").exists()
    assert has_record(tree)


@pytest.mark.parametrize(
    ("id", "path"), [("conf", "etc/init/init.conf"), ("service", f"{system.RECORD}/record")]
)
def test_full_medium(tree: Path, monkeypatch: pytest.MonkeyPatch, id: str, path: str) -> None:
    """What cannot be written is named, with the step, and with how to go on."""
    before = system.snapshot(tree)
    system.install(tree)
    real = os.write

    def full(handle: int, content: bytes) -> int:
        if Path(path).name in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, content)

    monkeypatch.setattr(os, "write", full)
    error = system.refused(lambda: system.uninstall(tree))
    said = f"{id} is not taken back: [Errno 28] No space left on device: '{tree / path}'"
    assert str(error) == said
    assert "--uninstall" in error.hint
    monkeypatch.undo()
    assert system.uninstall(tree)
    assert system.snapshot(tree) == before


def test_folder_that_cannot_be_removed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    root = installed(tree, write("a", "/etc/new/a"))
    monkeypatch.setattr(door, "remove_folder", refuse)
    error = system.refused(lambda: undo(root=root, yes=True))
    assert "Read-only file system: '" in str(error)
    assert "--uninstall" in error.hint
    monkeypatch.undo()
    assert undo(root=root, yes=True)
    assert not (tree / "etc/new").exists()
