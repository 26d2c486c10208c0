"""Taking back what the record tells of: the last step first, each one shown and asked."""

from __future__ import annotations

import errno
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from stiefelsystem.console import StiefelError, say, warn
from stiefelsystem.host import consent
from stiefelsystem.host.setup import diff, door
from stiefelsystem.host.setup.record import Record, Recorded, Touched
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.states import ABSENT, FILE, FOLDER, State, look

YES, RESTORE, KEEP, SKIP, ABORT = "yes", "restore", "keep", "skip", "abort"
GO_ON = "put that right, and run it again with --uninstall to go on"
_SECONDS = 3600.0


class _StoppedError(Exception):
    """The user wants no more."""


def undo(
    *,
    root: Root,
    yes: bool = False,
    dry_run: bool = False,
    installed: Callable[[str], bool] = lambda _: True,
    busy: Callable[[], Sequence[str]] = list,
) -> bool:
    """Take back all that is recorded, and then the record; returns whether nothing is left of it.

    `keep` leaves a thing as it is for good; `skip` for this time, together with what it needs.
    `yes` never decides about a file that was changed since we left it: that is skipped.
    `installed` tells of a package by its name, `busy` of what is at work, just before each command.
    What was interrupted is continued by another call. Raises `StiefelError` as `execute` does.
    """
    with Record.open(root, writable=not dry_run) as record:
        if not record.exists:
            say(f"nothing to take back: there is no record in {record.folder}")
            return True
        if record.steps and not (yes or dry_run or consent.can_ask()):
            raise StiefelError(
                f"nothing is taken back: {len(record.steps)} steps are to be asked, and there is "
                "no terminal",
                hint="--dry-run shows them, --yes answers yes to all",
            )
        try:
            return _Undo(
                root, record, yes=yes, dry_run=dry_run, installed=installed, busy=busy
            ).run()
        except _StoppedError:
            say("stopped; run it again with --uninstall to go on")
            return False


@dataclass(frozen=True)
class _Path:
    """A path that is not what it was, as it is now."""

    path: str
    now: State
    content: bytes
    touched: Touched

    @property
    def is_ours(self) -> bool:
        return any(self.now.like(left) for left in self.touched.left)


class _Undo:
    """One run backwards."""

    def __init__(
        self,
        root: Root,
        record: Record,
        *,
        yes: bool,
        dry_run: bool,
        installed: Callable[[str], bool],
        busy: Callable[[], Sequence[str]],
    ) -> None:
        self._root = root
        self._record = record
        self._yes = yes
        self._dry_run = dry_run
        self._installed = installed
        self._busy = busy
        self._stays: list[Recorded] = []

    def run(self) -> bool:
        for step in _backwards(self._record):
            users = [other.id for other in self._stays if step.id in other.needs]
            # To make something again of what there is now takes nothing from who needs it.
            if users and not _is_again(step):
                say(f"{step.id}: {step.purpose}: stays, {', '.join(users)} needs it")
                gone = False
            else:
                with _attempt(step.id):
                    gone = self._step(step)
            if not gone:
                self._stays.append(step)
            elif not self._dry_run and not (self._stays and _is_again(step)):
                # What is made again will have to be so again when the rest goes, too.
                with _attempt(step.id):
                    self._record.undone(step.id)
        if self._dry_run:
            return True
        with _attempt("the rest"):
            self._remove_folders()
        if self._stays:
            names = ", ".join(step.id for step in self._stays)
            say(f"not taken back: {names}; run it again with --uninstall for that")
            return False
        with _attempt("the record"):
            self._record.remove()
        say("everything is taken back")
        return True

    def _step(self, step: Recorded) -> bool:
        """Take one step back; whether it is to be forgotten now."""
        paths = list(self._paths(step))
        ours = [path for path in paths if path.is_ours]
        commands = self._commands(step)
        if paths or commands:
            say(f"{step.id}: {step.purpose}")
        answers = set()
        if ours or commands:
            for command in commands:
                say(f"run: {shlex.join(self._root.command(command))}", mark="  ")
            for path in ours:
                verb = "remove" if path.touched.original.kind == ABSENT else "restore"
                say(f"{verb} {path.path}, before: {self._before(path)}", mark="  ")
                if path.now.kind == path.touched.original.kind:
                    self._diff(path, path.content, self._original(path))
            question = f"do {step.id} again?" if _is_again(step) else f"take {step.id} back?"
            answer = self._ask(question, (YES, KEEP, SKIP, ABORT), assumed=YES)
            if answer == YES and not self._take_back(step, commands, ours):
                answer = SKIP
            answers.add(answer)
        answers |= {self._changed(path) for path in paths if path not in ours}
        return SKIP not in answers

    def _changed(self, path: _Path) -> str:
        """Ask about a file that is not as we left it, and do what the answer is."""
        now = diff.describe(path.now, path.content)
        warn(f"{path.path} was changed since it was installed; now it is {now}")
        touched = path.touched
        if touched.left_copy or touched.left[-1].kind != FILE:
            self._diff(path, self._record.copy_of(touched.left_copy), path.content)
        say(f"before it was installed: {self._before(path)}", mark="  ")
        answer = self._ask(f"{path.path}:", (RESTORE, KEEP, SKIP, ABORT), assumed=SKIP)
        if answer == RESTORE and not self._dry_run:
            self._restore(path)
        return answer

    def _ask(self, question: str, choices: tuple[str, ...], *, assumed: str) -> str:
        if self._yes or self._dry_run:
            return assumed
        answer = consent.choose(question, choices)
        if answer == ABORT:
            raise _StoppedError
        return answer

    def _paths(self, step: Recorded) -> Iterator[_Path]:
        for path, touched in reversed(step.paths.items()):
            if touched.left[-1].kind == FOLDER:
                continue  # those are removed at the end, if nothing is in them then
            now, content = look(self._root.place(path))
            if not now.like(touched.original):
                yield _Path(path, now, content, touched)

    def _commands(self, step: Recorded) -> list[tuple[str, ...]]:
        """The commands that take a step back, the last first, each one once; and then what is to
        be made again."""
        others = [ran.take_back for ran in reversed(step.commands) if not ran.packages]
        packages: dict[str, tuple[str, ...]] = {}
        for ran in step.commands:
            # How a package goes depends on what was there before it came for the first time.
            packages |= {name: ran.take_back for name in ran.packages if name not in packages}
        there: dict[tuple[str, ...], list[str]] = {}
        for name, remove in packages.items():
            if self._installed(name):
                there.setdefault(remove, []).append(name)
        commands = [*others, *((*remove, *names) for remove, names in there.items())]
        if _is_again(step):
            commands.append(step.commands[-1].argv)
        return list(dict.fromkeys(command for command in commands if command))

    def _take_back(
        self, step: Recorded, commands: list[tuple[str, ...]], paths: list[_Path]
    ) -> bool:
        """Whether all of it went; packages stay if something else has come to need them."""
        if self._dry_run:
            return True
        for command in commands:
            if busy := self._busy():
                raise StiefelError(
                    f"at work is {', '.join(busy)}",
                    hint="wait until it is done, and go on with --uninstall",
                )
            try:
                self._root.run(command, timeout=_SECONDS, log=sys.stderr, let_end=True)
            except StiefelError as error:
                if any(ran.packages for ran in step.commands):
                    warn(f"not all of {step.id} went: {error}")
                    say(f"without --yes, {KEEP} leaves what is there for good", mark="  ")
                    return False
                hint = f"put that right and go on with --uninstall, without --yes; or {KEEP} "
                hint += f"{step.id} there"
                raise StiefelError(str(error), hint=hint) from error
        for path in paths:
            self._restore(path)
        return True

    def _restore(self, path: _Path) -> None:
        place = self._root.place(path.path)
        now, _ = look(place)
        if now != path.now:
            raise StiefelError(
                f"{path.path} has changed while you were asked", hint="run it again to see how"
            )
        if not place.parent.is_dir():
            raise StiefelError(
                f"cannot restore {path.path}: its folder is gone",
                hint=f"make {place.parent}, or answer {KEEP}",
            )
        door.put(place, path.touched.original, self._original(path))

    def _before(self, path: _Path) -> str:
        return diff.describe(path.touched.original, self._original(path))

    def _original(self, path: _Path) -> bytes:
        return self._record.copy_of(path.touched.original_copy)

    def _diff(self, path: _Path, before: bytes, after: bytes) -> None:
        if path.touched.secret:
            say("what is in it is secret, and not shown", mark="  ")
        else:
            diff.show(diff.unified(path.path, before, after))

    def _remove_folders(self) -> None:
        used = {path for step in self._stays for path in step.paths}
        for path in reversed(self._record.folders):
            if path in used:
                continue
            place = self._root.place(path)
            try:
                door.remove_folder(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
                    raise
                say(f"the folder {path} stays: {error.strerror}")
            else:
                say(f"removed the folder {path}")


@contextmanager
def _attempt(what: str) -> Iterator[None]:
    """Errors in the block say that `what` is not taken back, and how to go on."""
    try:
        yield
    except (StiefelError, OSError) as error:
        hint = getattr(error, "hint", "") or GO_ON
        raise StiefelError(f"{what} is not taken back: {error}", hint=hint) from error


def _backwards(record: Record) -> Iterator[Recorded]:
    """The steps, each after those that need it; at last, what is made again of the others."""
    left = [step for step in record.steps.values() if not _is_again(step)]
    while left:
        free = [one for one in left if not any(one.id in other.needs for other in left)] or left
        step = free[-1]
        left.remove(step)
        yield step
    yield from [step for step in record.steps.values() if _is_again(step)]


def _is_again(step: Recorded) -> bool:
    return bool(step.commands) and step.commands[-1].again
