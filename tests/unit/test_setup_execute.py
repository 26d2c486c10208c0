"""What is shown is done, and recorded; what cannot be done is said."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import (
    Command,
    File,
    MakeFolder,
    RemoveFile,
    Step,
    WriteFiles,
    unit,
)
from stiefelsystem.host.setup.undo import undo
from tests import capabilities
from tests.unit import setup_tree as system
from tests.unit.setup_tree import no_terminal, refusal, tree, write

__all__ = ["no_terminal", "tree"]  # the fixtures


def test_new_version_keeps_the_first_original(
    tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    original = (tree / "etc/ours.conf").read_bytes()
    for content in (b"one\n", b"two\n", b"three\n"):
        execute([write("a", "/etc/ours.conf", content=content)], root=Root(tree), yes=True)
    assert "-two\n+three\n" in capfd.readouterr().err
    assert (tree / "etc/ours.conf").read_bytes() == b"three\n"
    (copy,) = (tree / system.RECORD).glob("*.original")
    assert copy.read_bytes() == original
    assert (tree / "etc/ours.conf").stat().st_mode & 0o777 == 0o640


def test_command_runs_again_after_what_it_needs(tree: Path) -> None:
    def plan(content: bytes, *words: str) -> list[Step]:
        line = 'echo "$*" >>etc/log'
        command = Command(
            id="log", purpose="why", needs=("a",), argv=("sh", "-c", line, "sh", *words)
        )
        return [write("a", "/etc/a", content=content), write("b", "/etc/b"), command]

    root = system.root_of(tree)
    steps: list[tuple[bytes, str]] = [(b"1", "x"), (b"1", "x"), (b"2", "x"), (b"2", "y")]
    for content, word in [*steps, (b"2", "y")]:
        execute(plan(content, word), root=root, yes=True)
    (tree / "etc/b").unlink()  # which the command does not need
    execute(plan(b"2", "y"), root=root, yes=True)
    assert (tree / "etc/log").read_text() == "x\nx\ny\n"


def test_failing_command(tree: Path) -> None:
    root = system.root_of(tree)
    plan = [
        write("a", "/etc/a"),
        Command(id="b", purpose="why", argv=("sh", "-c", "test -e etc/go || exit 3")),
        write("c", "/etc/c", "b"),
    ]
    error = system.refused(lambda: execute(plan, root=root, yes=True))
    assert "b failed: sh -c" in str(error)
    assert "status 3" in str(error)
    assert "--uninstall" in error.hint
    assert (tree / "etc/a").exists()
    assert not (tree / "etc/c").exists()
    (tree / "etc/go").touch()
    assert execute(plan, root=root, yes=True)


def test_what_has_come_to_be_at_work_is_not_disturbed(tree: Path) -> None:
    """Just before each command it is asked for again; what was not run is not taken back."""
    first, second = (
        Command(id=name, purpose="why", argv=("touch", f"etc/{name}"), take_back=take_back)
        for name, take_back in (
            ("one", ("rm", "etc/one")),
            ("two", ("rm", "etc/two")),  # fails if there is none
        )
    )
    root = system.root_of(tree)
    before = system.snapshot(tree)

    def busy() -> list[str]:
        return ["apt (process 3)"] if (tree / "etc/one").exists() else []

    plan = [first, second, write("a", "/etc/a")]
    error = system.refused(lambda: execute(plan, root=root, yes=True, busy=busy))
    assert str(error) == "two is not run: at work is apt (process 3)"
    assert "wait until it is done" in error.hint
    assert (tree / "etc/one").exists()
    assert not (tree / "etc/two").exists()
    assert undo(root=root, yes=True)
    assert system.snapshot(tree) == before


def test_command_that_kills_us(tree: Path) -> None:
    """Half-way: it is run again."""
    line = "echo half >etc/made; test -e etc/go || { kill -9 $PPID; exit; }; echo whole >etc/made"
    plan = [Command(id="a", purpose="why", argv=("sh", "-c", line))]

    def work(tree: Path) -> bool:
        return execute(plan, root=system.direct_root_of(tree), yes=True)

    assert system.dying(work, tree, -1)
    assert (tree / "etc/made").read_text() == "half\n"
    (tree / "etc/go").touch()
    assert work(tree)
    assert (tree / "etc/made").read_text() == "whole\n"


def test_interrupted_command_has_time_to_end(tree: Path) -> None:
    """As half a package is worse than none. Then it is run again: who knows what it has done?"""
    line = f"test -e etc/made || {{ {system.INTERRUPT}; }}; echo whole >>etc/made"
    plan = [Command(id="a", purpose="why", argv=("sh", "-c", line)), write("b", "/etc/b")]
    root = system.direct_root_of(tree)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, root=root, yes=True)
    assert (tree / "etc/made").read_text() == "whole\n"
    assert not (tree / "etc/b").exists()
    assert execute(plan, root=root, yes=True)
    assert (tree / "etc/made").read_text() == "whole\nwhole\n"


def test_full_medium_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(handle: int, content: bytes) -> int:
        if b"ours" in bytes(content):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, content)

    monkeypatch.setattr(os, "write", full)
    step = write("a", "/etc/new", secret=True)  # of which the record has no copy
    error = system.refused(lambda: execute([step], root=Root(tree), yes=True))
    name = tree / "etc/new"
    assert str(error) == f"a failed: [Errno 28] No space left on device: '{name}'"
    assert "--uninstall" in error.hint


def test_links_are_followed_knowingly(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    execute([write("a", "/etc/linked.conf")], root=Root(tree), yes=True)
    assert (tree / "etc/linked.conf").is_symlink()
    assert (tree / "usr/share/linked.conf").read_bytes() == b"ours\n"
    said = capfd.readouterr().err
    assert "/etc/linked.conf leads to /usr/share/linked.conf: that is changed, and no link" in said


def test_hard_links_are_said(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.link(tree / "etc/ours.conf", tree / "etc/other")
    execute([write("a", "/etc/ours.conf")], root=Root(tree), yes=True)
    assert "/etc/ours.conf has 1 other name (hard links)" in capfd.readouterr().err
    assert (tree / "etc/other").read_bytes() == b"from an earlier life\n"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (write("a", "/etc/old-link"), "it is a link to /etc/no.*, which is not there"),
        (write("a", "/etc/masked"), "it is a device|which is not there"),
        (write("a", "/etc/init"), "cannot write /etc/init: it is a folder"),
        (write("a", "/etc/obsolete/a"), "cannot make the folder /etc/obsolete: a file is there"),
        (RemoveFile(id="a", purpose="", path="/etc/init"), "it is a folder, and not a file"),
        (
            MakeFolder(id="a", purpose="", path="/etc/obsolete"),
            "cannot make the folder /etc/obsolete: a file is there",
        ),
    ],
)
def test_what_is_there_does_not_fit(tree: Path, step: Step, message: str) -> None:
    """Refused before the first question."""
    (tree / "etc/masked").symlink_to("/dev/null")
    assert re.search(message, str(refusal(tree, write("first", "/etc/first"), step)))


def test_nothing_outside_of_the_root(tree: Path) -> None:
    outside = tree.parent / "outside"
    outside.mkdir()
    (tree / "etc/out").symlink_to(outside)
    (tree / "etc/file").symlink_to(outside / "other")
    execute([write("a", "/etc/out/file")], root=Root(tree), yes=True)
    refusal(tree, write("b", "/etc/file"))
    assert os.listdir(outside) == []


def test_mode_and_owner(tree: Path) -> None:
    """Where a step says so; and what is there is put right, too."""
    (tree / "etc/key").write_bytes(b"key")
    file = File(path="/etc/key", content=b"key", mode=0o600)
    plan = [WriteFiles(id="a", purpose="why", files=(file,))]
    assert execute(plan, root=Root(tree), yes=True)
    assert (tree / "etc/key").stat().st_mode & 0o777 == 0o600
    capabilities.require_root()
    file = File(path="/etc/key", content=b"key", owner=(1234, 2345))
    folder = MakeFolder(id="b", purpose="why", path="/etc/b", mode=0o750, owner=(1, 2))
    plan = [WriteFiles(id="a", purpose="why", files=(file,)), folder]
    assert execute(plan, root=Root(tree), yes=True)
    key, made = (tree / "etc/key").stat(), (tree / "etc/b").stat()
    assert (key.st_uid, key.st_gid, key.st_mode & 0o777) == (1234, 2345, 0o600)
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (1, 2, 0o750)


def test_unit(tree: Path) -> None:
    capabilities.require_tools("systemctl")
    place = tree / "etc/systemd/system/a.service"
    content = b"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    root = Root(tree)
    plan = [
        write("a", "/etc/systemd/system/a.service", content=content),
        unit("a.service", root=root, id="enable", purpose="why", needs=("a",)),
    ]
    assert execute(plan, root=root, yes=True)
    wanted = place.parent / "multi-user.target.wants/a.service"
    assert wanted.is_symlink()
    assert execute(plan, root=root)  # there is nothing to ask
    off = unit("a.service", root=root, id="disable", purpose="why", enabled=False)
    assert execute([off], root=root, yes=True)
    assert not wanted.is_symlink()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([write("a", "/a"), write("a", "/b")], "two steps have the id a"),
        ([write("a", "/a", "b"), write("b", "/b")], "a needs b, not among"),
        ([write("a", "/a"), write("b", "/a")], "b is not the first step with /a"),
    ],
)
def test_plan_that_is_a_bug(tree: Path, plan: list[Step], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        execute(plan, root=Root(tree), yes=True)
