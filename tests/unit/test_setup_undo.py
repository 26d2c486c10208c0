"""Everything comes back; but what the user has changed since is theirs to decide about."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem.host import consent
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.record import Record
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import (
    Command,
    EditFile,
    File,
    RemoveFile,
    Step,
    WriteFiles,
    unit,
)
from stiefelsystem.host.setup.undo import undo
from tests import capabilities
from tests.unit import setup_tree as system
from tests.unit.setup_tree import answer, has_record, installed, no_terminal, tree, write

__all__ = ["answer", "no_terminal", "tree"]  # the fixtures


def test_nothing_to_undo(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert undo(root=Root(tree))
    assert "nothing to take back" in capfd.readouterr().err


def test_everything_comes_back(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = system.snapshot(tree)
    system.install(tree)
    system.install(tree, version="2")
    assert system.uninstall(tree)
    assert system.snapshot(tree) == before
    assert str(system.KEY) not in capfd.readouterr().err


def test_a_tree_is_undone_where_it_is_mounted_then(tree: Path) -> None:
    """Nothing of the place that it was installed at is recorded."""
    before = system.snapshot(tree)
    system.install(tree)
    records = b"".join(path.read_bytes() for path in (tree / system.RECORD).iterdir())
    assert bytes(tree) not in records
    elsewhere = tree.rename(tree.parent / "elsewhere")
    assert system.uninstall(elsewhere)
    assert system.snapshot(elsewhere) == before


def test_owners_and_attributes_come_back(tree: Path) -> None:
    capabilities.require_root()
    path = tree / "etc/ours.conf"
    os.chown(path, 1234, 2345)
    os.setxattr(path, "user.note", b"\0")
    os.setxattr(path, "security.note", b"\0")
    os.lchown(tree / "etc/old-link", 1234, 2345)
    before = system.snapshot(tree)
    system.install(tree)
    path.unlink()
    path.write_bytes(b"ours\n")  # as an editor does that keeps nothing
    path.chmod(0o640)
    os.chown(path, 1234, 2345)
    system.uninstall(tree)
    assert system.snapshot(tree) == before


def test_without_a_terminal_nothing_is_done(tree: Path) -> None:
    system.install(tree)
    before = system.snapshot(tree)
    error = system.refused(lambda: undo(root=system.root_of(tree)))
    assert "nothing is taken back: 9 steps" in str(error)
    assert "--yes" in error.hint
    assert system.snapshot(tree) == before


def test_dry_run_touches_nothing(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    system.install(tree)
    (tree / "etc/ours.conf").write_text("theirs\n")
    before = system.snapshot(tree), (tree / system.RECORD / "record").read_bytes()
    capfd.readouterr()
    assert undo(root=system.root_of(tree), dry_run=True)
    assert (system.snapshot(tree), (tree / system.RECORD / "record").read_bytes()) == before
    said = capfd.readouterr().err
    for shown in (
        "remove /etc/hooks/stiefel, before: nothing\n",
        "rm -f etc/wanted",
        "-ours\n+theirs\n",
    ):
        assert shown in said


def test_the_last_step_first(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """But what a step needs goes after it, though a new version of the plan has brought it."""
    installed(tree, write("b", "/etc/b"))
    (tree / "etc/b").unlink()
    root = installed(tree, write("a", "/etc/a"), write("b", "/etc/b", "a"), write("c", "/etc/c"))
    capfd.readouterr()
    answer("y\ny\ny\n")
    assert undo(root=root)
    said = capfd.readouterr().err
    asked = [said.index(f"take {id} back? [y]es, [k]eep, [s]kip, [a]bort: ") for id in "cba"]
    assert asked == sorted(asked)


def test_skip_has_consequences(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    plan = [write("a", "/etc/a"), write("b", "/etc/b", "a"), write("c", "/etc/c")]
    root = installed(tree, *plan)
    answer("y\ns\n")
    assert not undo(root=root)
    assert "a: why a: stays, b needs it" in capfd.readouterr().err
    assert {"a", "b"} <= set(os.listdir(tree / "etc"))
    assert not (tree / "etc/c").exists()
    assert undo(root=root, yes=True)
    assert not {"a", "b"} & set(os.listdir(tree / "etc"))
    assert not has_record(tree)


def test_keep_is_for_good(tree: Path, answer: Callable[[str], None]) -> None:
    root = installed(tree, write("a", "/etc/new/a"))
    answer("k\n")
    assert undo(root=root)
    assert (tree / "etc/new/a").exists()
    assert not has_record(tree)


@pytest.mark.parametrize("keys", ["a\n", "\x04"])
def test_abort(tree: Path, answer: Callable[[str], None], keys: str) -> None:
    root = installed(tree, write("a", "/etc/a"), write("b", "/etc/b"))
    answer("y\n" + keys)
    assert not undo(root=root)
    assert (tree / "etc/a").exists()
    assert not (tree / "etc/b").exists()
    assert undo(root=root, yes=True)


@pytest.mark.parametrize(
    "case",
    [
        ("restore", "from an earlier life\n", True),
        ("k", "theirs\n", True),
        ("s", "theirs\n", False),
    ],
)
def test_changed_by_the_user(
    tree: Path,
    answer: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
    case: tuple[str, str, bool],
) -> None:
    key, content, forgotten = case
    root = installed(tree, write("a", "/etc/ours.conf"))
    (tree / "etc/ours.conf").write_text("theirs\n")
    answer(f"{key}\n")
    assert undo(root=root) == forgotten
    said = capfd.readouterr().err
    assert "warning: /etc/ours.conf was changed since" in said
    assert "-ours\n+theirs\n" in said
    assert "before it was installed: 21 bytes, mode 0640" in said
    assert (tree / "etc/ours.conf").read_text() == content
    assert has_record(tree) != forgotten


def test_yes_does_not_decide_about_what_the_user_changed(tree: Path) -> None:
    before = system.snapshot(tree)
    system.install(tree)
    path = tree / "etc/ours.conf"
    path.write_text("theirs\n")
    assert not system.uninstall(tree)
    assert path.read_text() == "theirs\n"
    assert not (tree / "usr/local/lib/stiefel/program").exists()  # of the same step
    path.write_text("ours\n")
    assert system.uninstall(tree)
    assert system.snapshot(tree) == before


@pytest.mark.parametrize("change", ["mode", "gone", "link", "folder"])
def test_other_changes_of_the_user(tree: Path, answer: Callable[[str], None], change: str) -> None:
    before = system.snapshot(tree)
    root = installed(tree, write("a", "/etc/ours.conf"))
    path = tree / "etc/ours.conf"
    if change == "mode":
        path.chmod(0o600)
    else:
        path.unlink()
    if change == "link":
        path.symlink_to("elsewhere")
    if change == "folder":
        path.mkdir()
    assert not undo(root=root, yes=True)
    answer("r\n")
    if change == "folder":
        error = system.refused(lambda: undo(root=root))
        assert "a is not taken back: " in str(error)
        assert f"Is a directory: '{path}'" in str(error)
        path.rmdir()
        answer("r\n")
    assert undo(root=root)
    assert system.snapshot(tree) == before


def test_what_was_undone_by_the_user_is_not_asked(tree: Path) -> None:
    root = installed(
        tree, write("a", "/etc/a"), RemoveFile(id="b", purpose="", path="/etc/obsolete")
    )
    (tree / "etc/a").unlink()
    (tree / "etc/obsolete").write_bytes(b"in the way\n")
    with Record.open(root, writable=False) as record:
        assert record.steps.keys() == {"a", "b"}
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consent, "can_ask", lambda: True)
        patch.setattr(consent, "choose", lambda question, choices: asked.append(question))
        assert undo(root=root)
    assert asked == []
    assert not has_record(tree)


def test_secrets_are_not_shown(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    (tree / "etc/key").write_text("old sesame\n")
    root = installed(tree, write("a", "/etc/key", secret=True))
    undo(root=root, dry_run=True)
    (tree / "etc/key").write_text("new sesame\n")
    answer("r\n")
    assert undo(root=root)
    assert "sesame" not in capfd.readouterr().err
    assert (tree / "etc/key").read_text() == "old sesame\n"


def test_folders_that_are_used_stay(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = installed(tree, write("a", "/etc/new/one/a"), write("b", "/etc/new/two/b"))
    (tree / "etc/new/two/theirs").touch()
    assert undo(root=root, yes=True)
    assert os.listdir(tree / "etc/new") == ["two"]
    assert os.listdir(tree / "etc/new/two") == ["theirs"]
    said = capfd.readouterr().err
    assert "removed the folder /etc/new/one\n" in said
    assert "the folder /etc/new stays: Directory not empty" in said
    assert not has_record(tree)


def test_folder_is_gone(tree: Path, answer: Callable[[str], None]) -> None:
    root = installed(tree, RemoveFile(id="a", purpose="why", path="/etc/init/init.conf"))
    (tree / "etc/init").rmdir()
    error = system.refused(lambda: undo(root=root, yes=True))
    assert "cannot restore /etc/init/init.conf: its folder is gone" in str(error)
    answer("k\n")
    assert undo(root=root)


def test_initrd_is_made_again_whenever_something_went(
    tree: Path, answer: Callable[[str], None]
) -> None:
    def again() -> bytes:
        return (tree / system.INITRD).read_bytes()

    system.install(tree)
    root = system.root_of(tree)
    answer("y\ny\ny\ny\ns\ny\ns\ny\n")  # conf is not taken back, nor the packages
    assert not undo(root=root)
    assert again() == b"their hook\n"
    (tree / system.INITRD).write_bytes(b"")
    assert system.uninstall(tree)
    assert again() == b"their hook\n"


def test_what_another_plan_had(tree: Path) -> None:
    """A step that is in none any more, such as an edit; and what a command of another has made,
    though the one of the same name only makes something again now."""

    def initrd(*argv: str, take_back: tuple[str, ...] = (), again: bool = False) -> Step:
        return Command(id="initrd", purpose="why", argv=argv, take_back=take_back, again=again)

    before = system.snapshot(tree)
    edit = EditFile(
        id="edit", purpose="why", path="/etc/init/init.conf", edit=lambda text: f"{text}\nours\n"
    )
    installed(tree, edit, initrd("touch", "boot/own", take_back=("rm", "-f", "boot/own")))
    root = installed(tree, initrd("sh", "-c", "echo 1 >>boot/again", again=True))
    assert undo(root=root, yes=True)
    assert (tree / "boot/again").read_text() == "1\n1\n"
    (tree / "boot/again").unlink()
    assert system.snapshot(tree) == before


def test_unit(tree: Path) -> None:
    capabilities.require_tools("systemctl")
    content = b"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    root = Root(tree)
    file = File(path="/etc/systemd/system/a.service", content=content)
    enable = unit("a.service", root=root, id="enable", purpose="why", needs=("a",))
    before = system.snapshot(tree)
    execute([WriteFiles(id="a", purpose="", files=(file,)), enable], root=root, yes=True)
    assert (tree / "etc/systemd/system/multi-user.target.wants/a.service").is_symlink()
    assert undo(root=root, yes=True)
    assert system.snapshot(tree) == before


def test_filesystem_without_modes_and_owners(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An EFI system partition, with /boot: what comes of a wish there is as good as it gets."""
    capabilities.require_root()

    def refuse(handle: int, uid: int, gid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = system.snapshot(tree)
    monkeypatch.setattr(os, "fchmod", lambda handle, mode: None)
    monkeypatch.setattr(os, "fchown", refuse)
    file = File(path="/boot/ours", content=b"ours", mode=0o644, owner=(1, 2))
    plan = [WriteFiles(id="a", purpose="why", files=(file,))]
    root = installed(tree, *plan)
    assert "cannot give" in capfd.readouterr().err
    assert execute(plan, root=root)  # there is nothing to ask
    (tree / "boot/ours").chmod(0o640)
    assert "1 of 1 steps" in str(system.refused(lambda: execute(plan, root=root)))
    monkeypatch.undo()
    assert not undo(root=root, yes=True)
    (tree / "boot/ours").chmod(0o600)
    assert undo(root=root, yes=True)
    assert system.snapshot(tree) == before
