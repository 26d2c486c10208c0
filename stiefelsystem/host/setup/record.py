"""What was done to the system: written before it is done, and read again to go on or to undo.

The record lies in /etc, since most of what it tells of does: who rolls a snapshot back, or restores
/etc, or mounts only that of a broken system, has both or neither; /var may be a filesystem of its
own, and on some systems is made anew with each start. It is not in /etc/stiefelsystem, which goes
before it does.

`record` has a JSON object in each line, of which only the last can be torn, by a power cut: what it
would have announced has not begun. The first says the version. Beside it are, named by the line's
number, the first content of each file, and what we have left in small ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.host.setup import door
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.states import FILE, FOLDER, State
from stiefelsystem.host.setup.steps import Step

FOLDER_NAME = "/etc/stiefelsystem-setup"
_VERSION = 1
# What we have left is kept to show what the user changed; who reads more than this?
_SHOWN = 1 << 18


@dataclass
class Touched:
    """A path: what was there before the first time, and all that we may have left there since.

    `wanted` was to be left there the last time; on a FAT, what is found then has another mode.
    """

    original: State
    original_copy: str
    wanted: State
    left: list[State] = field(default_factory=list)
    left_copy: str = ""
    secret: bool = False


@dataclass(frozen=True)
class Ran:
    """A command that was begun. What it was to install are `packages`: `take_back` lacks the names
    of those that are there when it is run."""

    argv: tuple[str, ...]
    take_back: tuple[str, ...]
    packages: tuple[str, ...]
    again: bool


@dataclass
class Recorded:
    """A step that was begun. `begun` and `ended` are the lines of its last begin, and of the begin
    of the last command that ended well."""

    id: str
    purpose: str = ""
    needs: tuple[str, ...] = ()
    paths: dict[str, Touched] = field(default_factory=dict)
    commands: list[Ran] = field(default_factory=list)
    begun: int = 0
    ended: int = 0


class Record:
    """The record of one root; `steps` are those that are not undone, in the order of their begin.

    `folders` are those that we have made, as long as the record is there.
    """

    def __init__(self, root: Root) -> None:
        self.steps: dict[str, Recorded] = {}
        self.folders: list[str] = []
        self.folder = root.place(root.resolve(FOLDER_NAME))
        self._file = self.folder / "record"
        self._lines = 0
        self._open = ExitStack()
        self._handle = -1

    @property
    def exists(self) -> bool:
        return self.folder.is_dir()

    @classmethod
    @contextmanager
    def open(cls, root: Root, *, writable: bool) -> Iterator[Record]:
        """The record, which is made with its first line. Unless it is `writable`, nothing at all
        is touched; if it is, this process has it alone, and what an interruption has left beside
        the files is cleared away.

        Raises `StiefelError` if it is in use, damaged, or another version's.
        """
        record = cls(root)
        with record._open as stack:
            there = writable and record.exists
            if there:
                stack.enter_context(files.locked(record.folder))
            whole = record._read()
            if there and record.exists:
                record._open_file(whole)
                for step in record.steps.values():
                    for path in step.paths:
                        door.clear(root.place(path))
            yield record

    def path(
        self,
        step: Step,
        path: str,
        *,
        before: tuple[State, bytes],
        after: tuple[State, bytes],
        secret: bool,
    ) -> None:
        """Announce that a path is changed. What is there before is copied, the first time."""
        entry: dict[str, Any] = {"path": path, "left": asdict(after[0]), "secret": secret}
        if not any(path in known.paths for known in self.steps.values()):
            entry["original"] = asdict(before[0])
            if before[0].kind == FILE:
                entry["original_copy"] = self._copy("original", before[1])
        if after[0].kind == FILE and not secret and len(after[1]) <= _SHOWN:
            entry["left_copy"] = self._copy("left", after[1])
        self._append(_of(step) | entry)

    def found(self, step: Step, path: str, state: State) -> None:
        """What is there, after all, where it is not quite what was announced."""
        self._append({"found": asdict(state), "step": step.id, "path": path})

    def is_left(self, path: str, *, wanted: State, now: State) -> bool:
        """Whether `now` is what came of the wish for `wanted`, as far as its filesystem went."""
        known = [step.paths[path] for step in self.steps.values() if path in step.paths]
        return any(one.wanted.like(wanted) and one.left[-1].like(now) for one in known)

    def was_secret(self, path: str) -> bool:
        """Whether what we have left there the last time is not to be shown."""
        return any(step.paths[path].secret for step in self.steps.values() if path in step.paths)

    def command(
        self,
        step: Step,
        argv: Sequence[str],
        *,
        take_back: Sequence[str],
        packages: Sequence[str] = (),
        again: bool = False,
    ) -> None:
        """Announce that a command is run."""
        ran = Ran(tuple(argv), tuple(take_back), tuple(packages), again)
        self._append(_of(step) | {"run": asdict(ran)})

    def ended(self, step: Step) -> None:
        """The step's command has ended well."""
        self._append({"ended": step.id})

    def undone(self, step: str) -> None:
        """A step is undone, or stays for good."""
        self._append({"undone": step})

    def copy_of(self, name: str) -> bytes:
        """The content that was copied under this name; empty for none.

        Raises `StiefelError` if the copy is not there any more.
        """
        copy = self.folder / name
        try:
            return copy.read_bytes() if name else b""
        except FileNotFoundError as error:
            raise StiefelError(
                f"{copy} is gone, the copy of a file that was changed",
                hint="put one there from a backup; or what you want in its place",
            ) from error

    def remove(self) -> None:
        """Remove the record, when no step is left in it."""
        assert not self.steps
        with suppress(FileNotFoundError):
            # Itself at last: copies without it are taken for a damage.
            for path in sorted(self.folder.iterdir(), key=lambda path: path == self._file):
                path.unlink()
            self.folder.rmdir()
            door.sync(self.folder.parent)

    def _copy(self, kind: str, content: bytes) -> str:
        """Copy a content into the folder; until a line names it, it may be written again."""
        self._begin()
        name = f"{self._lines}.{kind}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        handle = os.open(self.folder / name, flags, 0o600)
        try:
            with door.naming(self.folder / name):
                door.write_all(handle, content)
        finally:
            os.close(handle)
        door.sync(self.folder)
        return name

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._begin()
        with door.naming(self._file):
            door.write_all(self._handle, json.dumps(entry).encode() + b"\n")
        self._replay(entry)

    def _begin(self) -> None:
        """Make the folder and open the record, unless that is done."""
        if self._handle >= 0:
            return
        if not self.folder.parent.is_dir():
            raise StiefelError(
                f"cannot make {self.folder}, the record of what is done: there is no "
                f"{self.folder.parent}",
                hint="give --root the place where a whole system is mounted",
            )
        try:
            self.folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise StiefelError(
                f"another program of stiefelsystem has made {self.folder} meanwhile",
                hint="wait until it is done, and run it again",
            ) from error
        door.sync(self.folder.parent)
        self._open.enter_context(files.locked(self.folder))
        self._open_file(0)

    def _open_file(self, whole: int) -> None:
        """Open what is to be appended to, after the `whole` bytes of it that can be read."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._handle = os.open(self._file, flags, 0o600)
        self._open.callback(os.close, self._handle)
        if os.fstat(self._handle).st_size > whole:
            os.ftruncate(self._handle, whole)
        door.sync(self.folder)
        if not whole:
            self._append({"version": _VERSION})

    def _read(self) -> int:
        """Read what is there, and return how many bytes of it are whole lines."""
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            content = b""
        except PermissionError as error:
            raise StiefelError(f"cannot read {self._file}", hint="run it as root") from error
        lines = content.split(b"\n")[:-1]
        whole = 0
        for number, line in enumerate(lines):
            try:
                entry = json.loads(line)
            except ValueError as error:
                if number == len(lines) - 1:
                    break  # torn all the same: a medium need not write in order
                raise self._damaged(number) from error
            try:
                self._replay(entry)
            except (AttributeError, LookupError, TypeError) as error:
                raise self._damaged(number) from error
            whole += len(line) + 1
        if not whole and any(self.folder.glob("*.original")):
            raise self._damaged(0)  # the first line is on the medium before there is any copy
        return whole

    def _damaged(self, number: int) -> StiefelError:
        return StiefelError(
            f"{self._file}, line {number + 1}, is damaged",
            hint=f"the first content of each file is in {self.folder}, *.original",
        )

    def _replay(self, entry: Mapping[str, Any]) -> None:
        number = self._lines
        self._lines += 1
        if number == 0 and entry["version"] != _VERSION:
            raise StiefelError(
                f"cannot read {self._file}: it has version {entry['version']}",
                hint="use the stiefelsystem that has written it, or a newer one",
            )
        if "undone" in entry:
            self.steps.pop(entry["undone"], None)
        elif "ended" in entry:
            self.steps[entry["ended"]].ended = self.steps[entry["ended"]].begun
        elif "found" in entry:
            self.steps[entry["step"]].paths[entry["path"]].left.append(State(**entry["found"]))
        elif "step" in entry:
            step = self.steps.setdefault(entry["step"], Recorded(entry["step"]))
            step.purpose, step.needs, step.begun = entry["purpose"], tuple(entry["needs"]), number
            if "run" in entry:
                step.commands.append(Ran(**{name: _tuple(v) for name, v in entry["run"].items()}))
            else:
                self._replay_path(step, entry)
        elif number:
            raise LookupError("step")

    def _replay_path(self, step: Recorded, entry: Mapping[str, Any]) -> None:
        """A path belongs to the step that had it last: a new version may name its steps anew."""
        path, left = entry["path"], State(**entry["left"])
        known = [former.paths.pop(path) for former in self.steps.values() if path in former.paths]
        if not known:
            copy = entry.get("original_copy", "")
            known = [Touched(State(**entry["original"]), copy, wanted=left)]
            if left.kind == FOLDER:
                self.folders = [other for other in self.folders if other != path] + [path]
        (touched,) = known
        touched.wanted = left
        touched.left.append(left)
        touched.left_copy = entry.get("left_copy", "")
        touched.secret = entry["secret"]
        step.paths[path] = touched


def _of(step: Step) -> dict[str, Any]:
    return {"step": step.id, "purpose": step.purpose, "needs": list(step.needs)}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
