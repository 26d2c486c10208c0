"""Steps are shown and asked; what is done already is not; what cannot be done is said."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import consent
from stiefelsystem.host.setup import diff
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import (
    Command,
    EditFile,
    File,
    MakeFolder,
    RemoveFile,
    Step,
    WriteFiles,
    unit,
)
from tests import capabilities
from tests.unit import setup_tree as system


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return system.make(tmp_path / "tree")


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Types on a terminal that is there from then on."""
    ours, theirs = os.openpty()

    def type_on_it(keys: str) -> None:
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(ours, keys.encode())

    with open(theirs) as terminal:
        yield type_on_it
    os.close(ours)


def write(id: str, path: str, *needs: str, content: bytes = b"ours\n") -> Step:
    file = File(path=path, content=content)
    return WriteFiles(id=id, purpose=f"why {id}", needs=needs, files=(file,))


def inodes(tree: Path) -> list[tuple[int, int]]:
    """They tell of the smallest change, in the record, too."""
    found = [path.lstat() for path in sorted(tree.rglob("*"))]
    return [(status.st_ino, status.st_ctime_ns) for status in found]


def refusal(tree: Path, *plan: Step, yes: bool = True) -> StiefelError:
    before = system.snapshot(tree)
    error = system.refused(lambda: execute(plan, root=system.root_of(tree), yes=yes))
    assert system.snapshot(tree) == before
    return error


def test_without_a_terminal_nothing_is_done(tree: Path) -> None:
    error = refusal(tree, *system.plan(system.root_of(tree)), yes=False)
    assert "nothing is done: 9 of 9 steps" in str(error)
    assert "--yes" in error.hint
    assert not (tree / system.RECORD).exists()


def test_what_is_done_is_not_asked(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    system.install(tree)
    before = system.snapshot(tree), (tree / system.RECORD / "record").read_bytes()
    capfd.readouterr()
    root = system.root_of(tree)
    assert execute(system.plan(root), root=root)  # without a terminal
    assert capfd.readouterr().err == "nothing to do: everything is as it should be\n"
    assert (system.snapshot(tree), (tree / system.RECORD / "record").read_bytes()) == before


def test_shown_and_asked(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    root = system.root_of(tree)
    conf = system.plan(root)[3]
    answer("what?\n\nYES\ny\n")
    command = Command(id="initrd", purpose="anew", argv=("touch", "a b"))
    assert execute([conf, command], root=root)
    owner = f"{os.geteuid()}:{os.getegid()}"
    assert capfd.readouterr().err.splitlines()[:13] == [
        "[1/2] conf: their settings",
        "  change /etc/init/init.conf, 53 bytes, mode 0644, owner "
        f"{owner}; now 37 bytes, mode 0644, owner {owner}",
        "--- a/etc/init/init.conf",
        "+++ b/etc/init/init.conf",
        "@@ -1,2 +1,3 @@",
        " # \ufffdncient, and not UTF-8?",
        "-MODULES=dep",
        "\\ No newline at end of file",
        "+MODULES=dep?",
        "+HOOKS=stiefel",
        "do conf? [y]es, [s]kip, [a]bort: do conf? [y]es, [s]kip, [a]bort: "
        "do conf? [y]es, [s]kip, [a]bort: [2/2] initrd: anew",
        f"  run: sh -c 'cd \"$1\"; shift; \"$@\"' sh {tree} touch 'a b'",
        "do initrd? [y]es, [s]kip, [a]bort: done. The record is in /etc/stiefelsystem-setup; "
        "--uninstall takes everything back",
    ]
    assert (tree / "a b").exists()
    text = (tree / "etc/init/init.conf").read_bytes()
    assert text == b"# \xe4ncient, and not UTF-8\r\nMODULES=dep\r\nHOOKS=stiefel\n"


def test_skip_has_consequences(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    answer("s\ny\n")
    plan = [
        write("a", "/etc/a"),
        write("b", "/etc/b", "a"),
        write("c", "/etc/c"),
        write("d", "/etc/d", "c", "b"),
    ]
    assert not execute(plan, root=Root(tree))
    assert (tree / "etc/c").exists()
    assert not {"a", "b", "d"} & {path.name for path in (tree / "etc").iterdir()}
    said = capfd.readouterr().err
    assert "[2/4] b: why b\n  not done: it needs a\n" in said
    assert "[4/4] d: why d\n  not done: it needs b\n" in said
    assert "not done: a, b, d. " in said
    answer("y\ny\ny\n")
    assert execute(plan, root=Root(tree))


@pytest.mark.parametrize("keys", ["y\na\n", "y\n\x04"])
def test_abort(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str], keys: str
) -> None:
    """By a word, or by the end of input."""
    answer(keys)
    plan = [write("a", "/etc/a"), write("b", "/etc/b"), write("c", "/etc/c")]
    assert not execute(plan, root=Root(tree))
    assert (tree / "etc/a").exists()
    assert not (tree / "etc/b").exists()
    assert "stopped at b; what is done is recorded" in capfd.readouterr().err


def test_nothing_but_skips_leaves_nothing(tree: Path, answer: Callable[[str], None]) -> None:
    before = system.snapshot(tree)
    answer("skip\n")
    assert not execute([write("a", "/etc/a")], root=Root(tree))
    assert system.snapshot(tree) == before


def test_dry_run_touches_nothing_and_shows_everything(
    tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = system.root_of(tree)
    system.install(tree)
    capfd.readouterr()
    long = b"".join(b"line %d\n" % number for number in range(100))
    plan = [*system.plan(root, version="2"), write("long", "/etc/long", content=long)]
    before = system.snapshot(tree), inodes(tree)
    assert execute(plan, root=root, dry_run=True)
    assert (system.snapshot(tree), inodes(tree)) == before
    said = capfd.readouterr().err
    for shown in ("-hook 1\n+hook 2\n", "+line 99\n", "cat etc/hooks/", "[7/10] hook: the hook\n"):
        assert shown in said
    assert "] conf:" not in said
    assert "linked.conf" not in said  # which is as it should be


def test_dry_run_of_what_cannot_be_known_yet(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def edit(text: str) -> str:
        if not text:
            raise StiefelError("no such settings")
        return text + "more\n"

    plan = [
        Command(id="package", purpose="why", argv=("sh", "-c", "echo settings >etc/settings")),
        EditFile(id="edit", purpose="why", needs=("package",), path="/etc/settings", edit=edit),
    ]
    assert execute(plan, root=system.root_of(tree), dry_run=True)
    assert "before what it needs is done: no such settings" in capfd.readouterr().err
    assert execute(plan, root=system.root_of(tree), yes=True)
    assert (tree / "etc/settings").read_text() == "settings\nmore\n"
    (tree / "etc/settings").unlink()
    assert "no such settings" in str(refusal(tree, *plan))


def test_secrets_are_not_shown(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    secret = File(path="/etc/key", content=b"open sesame\n", mode=0o600, secret=True)
    (tree / "etc/other").write_text("old sesame\n")

    def edit(text: str) -> str:
        return text.replace("old", "open")

    plan = [
        WriteFiles(id="key", purpose="why", files=(secret,)),
        EditFile(id="other", purpose="why", path="/etc/other", edit=edit, secret=True),
    ]
    root = Root(tree)
    execute(plan, root=root, dry_run=True)
    execute(plan, root=root, yes=True)
    assert (tree / "etc/other").read_text() == "open sesame\n"
    said = "".join(capfd.readouterr())
    assert "sesame" not in said
    assert "write /etc/key, 12 bytes, mode 0600" in said
    copies = [path for path in (tree / system.RECORD).iterdir() if path.name != "record"]
    assert [path.read_text() for path in copies] == ["old sesame\n"]


def test_long_new_files_are_shown_on_demand(
    tree: Path, answer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    answer("v\ny\n")
    assert execute([write("a", "/etc/a", content=b"line\n" * 100)], root=Root(tree))
    first, second = capfd.readouterr().err.split("do a? [y]es, [v]iew, [s]kip, [a]bort: ")[:2]
    assert "100 lines, not shown here" in first
    assert second.count("+line\n") == 100


def test_changed_while_asked(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Done is what was shown last."""
    path = tree / "etc/init/init.conf"
    asked = []

    def choose(question: str, choices: tuple[str, ...]) -> str:
        if not asked:
            path.write_text("changed by another program\n")
        asked.append(question)
        return "yes"

    monkeypatch.setattr(consent, "can_ask", lambda: True)
    monkeypatch.setattr(consent, "choose", choose)
    assert execute([system.plan(Root(tree))[3]], root=Root(tree))
    assert len(asked) == 2
    assert " changed by another program\n" in capfd.readouterr().err
    assert path.read_text().startswith("changed by another program\n")
    (original,) = (tree / system.RECORD).glob("*.original")
    assert original.read_text() == "changed by another program\n"


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


def test_command_that_kills_us(tree: Path) -> None:
    """Half-way: it is run again."""
    line = "echo half >etc/made; test -e etc/go || { kill -9 $PPID; exit; }; echo whole >etc/made"
    plan = [Command(id="a", purpose="why", argv=("sh", "-c", line))]

    def work(tree: Path) -> bool:
        inside = Root(tree, enter=lambda argv: ["env", f"--chdir={tree}", *argv])
        return execute(plan, root=inside, yes=True)

    assert system.dying(work, tree, -1)
    assert (tree / "etc/made").read_text() == "half\n"
    (tree / "etc/go").touch()
    assert work(tree)
    assert (tree / "etc/made").read_text() == "whole\n"


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


def test_colour_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = diff.unified("/a", b"\x1b[2J\n", b"\tb\n")
    diff.show(lines)
    assert capfd.readouterr().err == "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-?[2J\n+\tb\n"
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        diff.show(lines)
    shown = b""
    with suppress(OSError):  # the end
        while more := os.read(ours, 1000):
            shown += more
    os.close(ours)
    assert b"\x1b[31m-?[2J\x1b[0m" in shown
    assert b"\x1b[32m+" in shown
