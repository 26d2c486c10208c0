"""Steps are shown and asked, with all that they would do; what is done already is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import consent
from stiefelsystem.host.setup import diff
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Command, EditFile, File, WriteFiles
from tests.unit import setup_tree as system
from tests.unit.setup_tree import answer, no_terminal, refusal, tree, write

__all__ = ["answer", "no_terminal", "tree"]  # the fixtures


def inodes(tree: Path) -> list[tuple[int, int]]:
    """They tell of the smallest change, in the record, too."""
    found = [path.lstat() for path in sorted(tree.rglob("*"))]
    return [(status.st_ino, status.st_ctime_ns) for status in found]


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
