"""What a step would change in the system as it is now; it changes nothing itself."""

from __future__ import annotations

import os
import shlex
from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from stat import S_ISVTX, S_IWOTH

from stiefelsystem.console import StiefelError, say
from stiefelsystem.host.setup import diff
from stiefelsystem.host.setup.record import Record
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.states import ABSENT, FILE, FOLDER, LINK, State, digest, look
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

# They are about the former content, and would make the new one unreadable.
_OF_THE_CONTENT = ("security.ima", "security.evm")
# A new file that is longer is shown in full to who asks for it.
_LONG = 60


@dataclass(frozen=True)
class Change:
    """A path inside the root, without links on its way; what is there, and what is to be."""

    path: str
    before: State
    after: State
    old: bytes = b""
    new: bytes = b""
    secret: bool = False


@dataclass(frozen=True)
class Proposal:
    """What a step would do; equal proposals do the same to the same system."""

    step: Step
    changes: tuple[Change, ...] = ()
    command: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes or self.command)

    @property
    def long(self) -> bool:
        """Whether it is shown in full only to who asks."""
        return any(_is_long(change) for change in self.changes)

    def show(self, root: Root, *, full: bool) -> None:
        """Print it: files as unified diffs, the command as one could paste it."""
        for note in self.notes:
            say(note, mark="  ")
        for change in self.changes:
            _show(change, full=full)
        if self.command:
            say(f"run: {shlex.join(root.command(self.command))}", mark="  ")


def propose(
    step: Step, *, root: Root, record: Record, changing: Set[str] = frozenset()
) -> Proposal:
    """What is left to do of a step; `changing` are the ids of those that will come before it.

    Raises `StiefelError` where it cannot be done to what is there.
    """
    found = _Found(root, record)
    match step:
        case WriteFiles():
            for file in step.files:
                found.write(file)
            found.take_back_others(step)
        case EditFile():
            found.edit(step)
        case RemoveFile():
            found.remove(step.path)
        case MakeFolder():
            found.make_folder(step)
        case Command():
            needed = _is_needed(step, root, record, changing)
            return Proposal(step, command=step.argv if needed else ())
        case Packages():
            return _packages(step)
    return Proposal(step, tuple(found.changes.values()), notes=tuple(found.notes))


def _packages(step: Packages) -> Proposal:
    missing = tuple(name for name in step.names if not step.installed(name))
    if not missing:
        return Proposal(step)
    new = step.with_others(missing)
    others = [name for name in new if name not in missing]
    notes = (f"with what they need: {', '.join(others)}",) if others else ()
    return Proposal(step, command=(*step.install, *missing), packages=new, notes=notes)


def _is_needed(step: Command, root: Root, record: Record, changing: Set[str]) -> bool:
    if step.needed:
        return step.needed()
    if step.makes and not root.place(root.resolve(step.makes)).is_file():
        return True
    done = record.steps.get(step.id)
    if not done or not done.ended or done.commands[-1].argv != step.argv:
        return True
    known = [record.steps[id] for id in step.needs if id in record.steps]
    return bool(changing & set(step.needs)) or any(one.begun > done.ended for one in known)


@dataclass
class _Found:
    """Collects the changes of one step, by their paths."""

    root: Root
    record: Record
    changes: dict[str, Change] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, file: File) -> None:
        path, before, old = self._look(file.path)
        if file.ours:
            self._require_ours(file.path, path)
        self._file(path, before, old, file.read(), file)

    def _require_ours(self, name: str, path: str) -> None:
        """Nobody else is to decide what is read by the name of a file of ours."""
        if look(self.root.place(name))[0].kind == LINK:
            raise StiefelError(
                f"cannot write {name}: a file of ours belongs there, and it is a link to {path}",
                hint=f"see who has made the link, and remove it: rm {name}",
            )
        for folder in map(str, PurePosixPath(path).parents):
            state, _ = look(self.root.place(folder))
            # A tree that was made by somebody for themselves is theirs.
            if state.kind == FOLDER and state.uid not in (0, os.geteuid()):
                raise StiefelError(
                    f"cannot write {name}: a file of ours belongs there, and the folder {folder} "
                    f"belongs to the user {state.uid}, who could replace it",
                    hint=f"see what else they have in it, and give it to root: chown 0:0 {folder}",
                )
            if state.kind == FOLDER and state.mode & (S_IWOTH | S_ISVTX) == S_IWOTH:
                raise StiefelError(
                    f"cannot write {name}: a file of ours belongs there, and everyone may write to "
                    f"the folder {folder}, and replace it",
                    hint=f"see what is in it, and close it: chmod o-w {folder}",
                )

    def take_back_others(self, step: WriteFiles) -> None:
        """What this step has written before, and does not any more: it was another version's."""
        known = self.record.steps.get(step.id)
        wanted = {self.root.resolve(file.path) for file in step.files}
        for path, touched in known.paths.items() if known else ():
            if path in wanted or touched.left[-1].kind == FOLDER:
                continue
            now, content = look(self.root.place(path))
            original = touched.original
            if now.like(original):
                continue
            if any(now.like(left) for left in touched.left):
                before = self.record.copy_of(touched.original_copy)
                self._change(Change(path, now, original, content, before, touched.secret))

    def edit(self, step: EditFile) -> None:
        path, before, old = self._look(step.path)
        text = old.decode(errors="surrogateescape")
        new = step.edit(text).encode(errors="surrogateescape")
        # No text is no file, if there was none.
        if new or before.kind == FILE:
            self._file(
                path, before, old, new, File(path=step.path, content=new, secret=step.secret)
            )

    def remove(self, path: str) -> None:
        real = self.root.resolve(path, follow=False)
        before, old = look(self.root.place(real))
        if before.kind == FOLDER:
            raise StiefelError(f"cannot remove {real}: it is a folder, and not a file")
        if before.kind != ABSENT:
            self._note_names(real, before)
            self._change(Change(real, before, State(), old))

    def make_folder(self, step: MakeFolder) -> None:
        path = self.root.resolve(step.path)
        self._folders_above(path)
        if self._is_missing_folder(path):
            self._folder(path, step.mode, step.owner)

    def _file(self, path: str, before: State, old: bytes, new: bytes, file: File) -> None:
        there = before.kind == FILE and not file.ours
        own = (before.uid, before.gid) if there else (os.geteuid(), os.getegid())
        uid, gid = file.owner or own
        mode = file.mode if file.mode is not None else before.mode if there else 0o644
        after = State(FILE, mode, uid, gid, digest(new))
        if after.like(before) or self.record.is_left(path, wanted=after, now=before):
            return
        attributes = before.xattrs or {}
        kept = {name: attributes[name] for name in attributes if name not in _OF_THE_CONTENT}
        after = replace(after, xattrs=kept if there else None)
        if path != str(PurePosixPath(file.path)):
            self.notes.append(f"{file.path} leads to {path}: that is changed, and no link")
        self._note_names(path, before)
        self._folders_above(path)
        # What was secret may still be in the former content.
        secret = file.secret or self.record.was_secret(path)
        self._change(Change(path, before, after, old, new, secret))

    def _look(self, path: str) -> tuple[str, State, bytes]:
        """Where a file's path leads, and what is there: a file or nothing."""
        real = self.root.resolve(path)
        before, old = look(self.root.place(real))
        if real != str(PurePosixPath(path)):
            link, _ = look(self.root.place(path))
            if link.kind == LINK and before.kind == ABSENT:
                raise StiefelError(
                    f"cannot write {path}: it is a link to {real}, which is not there",
                    hint="remove the link, or make what it leads to",
                )
        if before.kind == FOLDER:
            raise StiefelError(f"cannot write {real}: it is a folder")
        return real, before, old

    def _folders_above(self, path: str) -> None:
        missing = []
        for folder in PurePosixPath(path).parents:
            if not self._is_missing_folder(str(folder)):
                break
            missing.append(str(folder))
        for name in reversed(missing):
            self._folder(name, 0o755, None)

    def _is_missing_folder(self, path: str) -> bool:
        if path in self.changes:
            return False
        before, _ = look(self.root.place(path))
        if before.kind not in (ABSENT, FOLDER):
            raise StiefelError(f"cannot make the folder {path}: a {before.kind} is there")
        return before.kind == ABSENT

    def _folder(self, path: str, mode: int, owner: tuple[int, int] | None) -> None:
        uid, gid = owner or (os.geteuid(), os.getegid())
        self._change(Change(path, State(), State(FOLDER, mode, uid, gid)))

    def _note_names(self, path: str, before: State) -> None:
        if before.names > 1:
            others = f"{before.names - 1} other name{'s' if before.names > 2 else ''}"
            self.notes.append(f"{path} has {others} (hard links), which keep what is there now")

    def _change(self, change: Change) -> None:
        self.changes[change.path] = change


def _is_long(change: Change) -> bool:
    return change.before.kind == ABSENT and not change.secret and _lines(change.new) > _LONG


def _lines(content: bytes) -> int:
    return content.count(b"\n")


def _show(change: Change, *, full: bool) -> None:
    before, after = change.before, change.after
    if FOLDER in (before.kind, after.kind):
        say(f"make the folder {change.path}, mode {after.mode:04o}", mark="  ")
        return
    verb = {ABSENT: "remove"}.get(after.kind, "write" if before.kind == ABSENT else "change")
    to = "" if after.kind == ABSENT else f", {diff.describe(after, change.new)}"
    was = "" if before.kind == ABSENT else f"; now {diff.describe(before, change.old)}"
    say(f"{verb} {change.path}{to}{was}", mark="  ")
    if change.secret:
        say("what is in it is secret, and not shown", mark="  ")
    elif not full and _is_long(change):
        say(f"{_lines(change.new)} lines, not shown here", mark="  ")
    elif before.kind != LINK:
        diff.show(diff.unified(change.path, change.old, change.new))
