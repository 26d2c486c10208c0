"""A small system, a plan that changes it by steps of all kinds, and processes that die doing so."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.setup import record
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import (
    Command,
    EditFile,
    File,
    MakeFolder,
    Packages,
    RemoveFile,
    Step,
    WriteFiles,
)
from stiefelsystem.host.setup.undo import undo
from tests.unit.standin_commands import AWAITED

RECORD = record.FOLDER_NAME.lstrip("/")
LONG_AGO = 1_000_000_000_123_456_789
KEY = bytes(range(32))
INITRD = "boot/initrd"
# A command's line in sh, which takes some time after it has interrupted us.
INTERRUPT = f"{AWAITED}; kill -INT $PPID; sleep 1"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "tree")


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each test of a module that imports it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())


class Terminal:
    """A terminal at which somebody types the next line whenever they are asked, and not before."""

    def __init__(self, keyboard: int, terminal: TextIO) -> None:
        self._keyboard = keyboard
        self._terminal = terminal
        self.isatty = terminal.isatty
        self.fileno = terminal.fileno
        self.lines: list[bytes] = []

    def type_ahead(self, line: bytes) -> None:
        """Type it now; it has arrived when this returns."""
        os.write(self._keyboard, line)
        assert select.select([self], [], [], 10.0)[0]

    def readline(self) -> str:
        os.write(self._keyboard, self.lines.pop(0))
        return self._terminal.readline()


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """The answers that are given on a terminal, which is there from then on."""
    ours, theirs = os.openpty()
    with open(theirs) as file:
        terminal = Terminal(ours, file)

        def answers(keys: str) -> None:
            monkeypatch.setattr(sys, "stdin", terminal)
            terminal.lines = keys.encode().splitlines(keepends=True)

        yield answers
    os.close(ours)


def make(tree: Path) -> Path:
    """The system before: ordinary files, some of them ugly, and links."""
    for folder in ("etc/init", "etc/hooks", "etc/wanted", "boot", "usr/share", "var/packages"):
        (tree / folder).mkdir(parents=True)
    contents = {
        "etc/init/init.conf": b"# \xe4ncient, and not UTF-8\r\nMODULES=dep",
        "etc/hooks/theirs": b"their hook\n",
        "etc/unrelated": b"untouched\n",
        "etc/obsolete": b"in the way\n",
        "etc/ours.conf": b"from an earlier life\n",
        "usr/share/linked.conf": b"linked\n",
        "var/packages/old": b"",
    }
    for name, content in contents.items():
        (tree / name).write_bytes(content)
    (tree / "etc/hooks/theirs").chmod(0o755)
    (tree / "etc/ours.conf").chmod(0o640)
    (tree / "etc/linked.conf").symlink_to("/usr/share/linked.conf")
    (tree / "etc/old-link").symlink_to("no\udcffwhere")
    make_initrd(tree)
    for path in tree.rglob("*"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO), follow_symlinks=False)
    return tree


def make_initrd(tree: Path) -> None:
    """As the plan's command does."""
    hooks = sorted((tree / "etc/hooks").iterdir())
    (tree / INITRD).write_bytes(b"".join(hook.read_bytes() for hook in hooks))


def root_of(tree: Path) -> Root:
    """The tree as a root: commands run in its folder, as they would in a chroot."""
    return Root(tree, enter=lambda argv: ["sh", "-c", 'cd "$1"; shift; "$@"', "sh", tree, *argv])


def direct_root_of(tree: Path) -> Root:
    """The same, but a command's parent is this process."""
    return Root(tree, enter=lambda argv: ["env", f"--chdir={tree}", *argv])


def plan(root: Root, *, version: str = "1") -> list[Step]:
    """Steps of all kinds."""

    def installed(name: str) -> bool:
        return (root.path / "var/packages" / name).exists()

    def enabled() -> bool:
        return (root.path / "etc/wanted/service").is_symlink()

    def edit(text: str) -> str:
        return text if "stiefel" in text else f"{text}\r\nHOOKS=stiefel\n"

    hook = (File(path="/etc/hooks/stiefel", content=f"hook {version}\n".encode(), mode=0o755),)
    lib = f"library {version}\n".encode() * 3
    return [
        Packages(
            id="packages",
            purpose="what it needs",
            names=("old", "nbd", "kexec"),
            installed=installed,
            install=("sh", "-c", 'for p; do : >"var/packages/$p"; done', "install"),
            remove=lambda names: ("sh", "-c", 'for p; do rm "var/packages/$p"; done', "remove"),
        ),
        MakeFolder(id="settings", purpose="a folder", path="/etc/stiefel/private", mode=0o700),
        WriteFiles(
            id="files",
            purpose="what runs",
            needs=("settings",),
            files=(
                File(path="/etc/stiefel/private/key", content=KEY, mode=0o600, secret=True),
                File(path="/usr/local/lib/stiefel/program", content=lib, mode=0o755),
                File(path="/usr/local/lib/stiefel/other", content=lib),
                File(path="/etc/ours.conf", content=b"ours\n"),
                File(path="/etc/linked.conf", content=b"now ours\n"),
            ),
        ),
        EditFile(id="conf", purpose="their settings", path="/etc/init/init.conf", edit=edit),
        RemoveFile(id="obsolete", purpose="in the way", path="/etc/obsolete"),
        RemoveFile(id="old-link", purpose="in the way, too", path="/etc/old-link"),
        WriteFiles(id="hook", purpose="the hook", needs=("files",), files=hook),
        Command(
            id="service",
            purpose="what waits",
            needs=("files",),
            argv=("ln", "-sfn", "/etc/service", "etc/wanted/service"),
            take_back=("rm", "-f", "etc/wanted/service"),
            needed=lambda: not enabled(),
        ),
        Command(
            id="initrd",
            purpose="makes the initrd anew",
            needs=("hook", "conf"),
            argv=("sh", "-c", f"cat etc/hooks/* >{INITRD}"),
            again=True,
        ),
    ]


def snapshot(tree: Path, *, times: bool = True) -> dict[str, Any]:
    """All of a tree but the record's content; times of files alone, since folders' change."""
    found = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(tree))
        link = stat.S_ISLNK(status.st_mode)
        file = stat.S_ISREG(status.st_mode)
        if name.startswith(f"{RECORD}/"):
            continue
        found[name] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            os.readlink(path) if link else path.read_bytes() if file else None,
            {n: os.getxattr(path, n) for n in os.listxattr(path)} if file else None,
            status.st_mtime_ns if times and (file or link) and name != INITRD else None,
        )
    return found


def install(tree: Path, *, version: str = "1") -> bool:
    root = root_of(tree)
    return execute(plan(root, version=version), root=root, yes=True)


def uninstall(tree: Path) -> bool:
    root = root_of(tree)
    there = (root.path / "var/packages").joinpath
    return undo(root=root, yes=True, installed=lambda name: there(name).exists())


# Audit events (PEP 578) of all that changes a system, raised just before it does.
_CHANGES = {
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.removexattr", "os.rename"),
    *("os.rmdir", "os.setxattr", "os.symlink", "os.truncate", "os.utime", "subprocess.Popen"),
}


def dying(work: Callable[[Path], bool], tree: Path, at: int) -> bool:
    """Do `work` on a tree, in a process that is killed before its change number `at`; if it was.
    If not, `work` has to return True.

    Changes are what Python's audit events tell of, and each write and fsync; a write is killed
    half-way. Nothing has to be on the medium, since only the process dies: so fsync does nothing.
    """
    child = os.fork()
    if child == 0:
        try:
            _die_at(at)
            os._exit(0 if work(tree) else 2)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, f"ended with {os.WEXITSTATUS(status)}, not killed at {at}"
    return False


def living(work: Callable[[Path], bool], tree: Path) -> None:
    """Do `work` as `dying` does, in a process that is not killed."""
    assert not dying(work, tree, -1)


def _die_at(at: int) -> None:
    count = 0
    write = os.write

    def change(before: Callable[[], object] = lambda: None) -> None:
        nonlocal count
        if count == at:
            before()
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def hook(event: str, args: Sequence[Any]) -> None:
        opened = event == "open" and isinstance(args[2], int)
        if event in _CHANGES or (opened and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            change()

    def half(handle: int, content: Any) -> int:
        change(lambda: write(handle, content[: len(content) // 2]))
        return write(handle, content)

    sys.addaudithook(hook)
    os.fsync = lambda handle: change()
    os.write = half


def traced(work: Callable[[Path], bool], tree: Path, trace: Path) -> list[tuple[str, str]]:
    """Do `work` on a tree in a process of its own; the changes with their paths, and what was
    written (to the file of that name) or synced, in order."""
    changes: list[tuple[str, str]] = []
    write = os.write

    def writing(handle: int, content: Any) -> int:
        changes.append(("write", os.readlink(f"/proc/self/fd/{handle}")))
        return write(handle, content)

    def hook(event: str, args: Sequence[Any]) -> None:
        if event in _CHANGES:
            changes.append((event, str(args[0])))

    def body(tree: Path) -> bool:
        sys.addaudithook(hook)
        os.fsync = lambda handle: changes.append(("fsync", os.readlink(f"/proc/self/fd/{handle}")))
        os.write = writing
        done = work(tree)
        trace.write_text(json.dumps(changes))
        return done

    assert not dying(body, tree, -1)
    return [(event, path) for event, path in json.loads(trace.read_text())]


def write(
    id: str, path: str, *needs: str, content: bytes = b"ours\n", secret: bool = False
) -> Step:
    """A step that writes one file."""
    file = File(path=path, content=content, secret=secret)
    return WriteFiles(id=id, purpose=f"why {id}", needs=needs, files=(file,))


def refused(work: Callable[[], object]) -> StiefelError:
    """The error that `work` ends with."""
    try:
        work()
    except StiefelError as error:
        return error
    raise AssertionError("nothing was refused")


def refusal(tree: Path, *plan: Step, yes: bool = True) -> StiefelError:
    """The error that a plan ends with, before it has changed anything."""
    before = snapshot(tree)
    error = refused(lambda: execute(plan, root=root_of(tree), yes=yes))
    assert snapshot(tree) == before
    return error


def installed(tree: Path, *plan: Step) -> Root:
    root = root_of(tree)
    assert execute(plan, root=root, yes=True)
    return root


def has_record(tree: Path) -> bool:
    return (tree / RECORD).exists()
