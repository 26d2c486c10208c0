"""What a plan is made of: steps, in their order, each with an id, a purpose, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.host.setup.root import Root

# For a command that compiles nothing; long enough for a slow disk and a slow mirror.
_COMMAND_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that the user is asked about.

    `purpose` tells the user in a line what it is for. `needs` are the ids of earlier steps: if
    one of those is skipped, this one is not done; and if this one is when all is taken back, those
    stay.
    """

    id: str
    purpose: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class File:
    """A file and what is to be in it; a `Path` is a file of ours, to be copied.

    Without `mode` and `owner` (uid, gid), a file that is there keeps its own, and a new one gets
    0644 and this process's. What is in a `secret` file is never shown.

    A file that is `ours` alone keeps nothing of what is in its place: who left that there could
    change it. For the same reason, a link is refused there, and a folder of somebody else's.
    """

    path: str
    content: bytes | Path
    mode: int | None = None
    owner: tuple[int, int] | None = None
    secret: bool = False
    ours: bool = False

    def read(self) -> bytes:
        """What is to be in it."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@dataclass(frozen=True, kw_only=True)
class WriteFiles(Step):
    """Write files, in folders that are made where they are missing."""

    files: tuple[File, ...]


@dataclass(frozen=True, kw_only=True)
class EditFile(Step):
    """Change a file: `edit` gets its text ("" if there is none) and returns the new one.

    It must leave alone what it has made before. Bytes that are not UTF-8 come as surrogates.
    """

    path: str
    edit: Callable[[str], str]
    secret: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoveFile(Step):
    """Remove a file, or a link itself."""

    path: str


@dataclass(frozen=True, kw_only=True)
class MakeFolder(Step):
    """Make a folder, and those above it; one that is there stays as it is."""

    path: str
    mode: int = 0o755
    owner: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Command(Step):
    """Run a command, inside of the root.

    After an interruption it may be run again, and `take_back` where the command has not run: both
    must stand that. `needed` looks at the system, and decides alone. Without it, the command is
    run once, and once more whenever a step that it needs has done something since, or the file
    `makes`, which it makes, is missing.

    With `again`, the command makes something of what it needs, as an initrd of its hooks: to undo
    it is to run it again when all else is undone.
    """

    argv: tuple[str, ...]
    take_back: tuple[str, ...] = ()
    needed: Callable[[], bool] | None = None
    makes: str = ""
    again: bool = False
    seconds: float = _COMMAND_SECONDS


@dataclass(frozen=True, kw_only=True)
class Packages(Step):
    """Install those of `names` that are not `installed`, by `install` and their names.

    `with_others` tells of missing ones what will be new with them, themselves among it; that is
    what will be removed again. `remove`, asked before that is installed, is the command for it: it
    should refuse to remove what others depend on.
    """

    names: tuple[str, ...]
    installed: Callable[[str], bool]
    install: tuple[str, ...]
    remove: Callable[[tuple[str, ...]], tuple[str, ...]]
    with_others: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda names: names
    seconds: float = _COMMAND_SECONDS


def unit(
    name: str,
    *,
    root: Root,
    id: str,
    purpose: str,
    needs: tuple[str, ...] = (),
    enabled: bool = True,
) -> Command:
    """The step that enables a systemd unit, or disables it. It starts and stops nothing."""

    def needed() -> bool:
        asked = root.run(["systemctl", "is-enabled", name], check=False)
        return (asked.stdout.strip() == "enabled") != enabled

    do, take_back = ("enable", "disable") if enabled else ("disable", "enable")
    return Command(
        id=id,
        purpose=purpose,
        needs=needs,
        argv=("systemctl", do, name),
        take_back=("systemctl", take_back, name),
        needed=needed,
    )


def check(plan: Sequence[Step]) -> None:
    """Raises `ValueError` for a plan that is a bug: an id or a path twice, a need too late."""
    ids: set[str] = set()
    paths: set[str] = set()
    for step in plan:
        if step.id in ids:
            raise ValueError(f"two steps have the id {step.id}")
        if late := set(step.needs) - ids:
            raise ValueError(
                f"{step.id} needs {', '.join(sorted(late))}, not among those before it"
            )
        ids.add(step.id)
        for path in _paths(step):
            if path in paths:
                raise ValueError(f"{step.id} is not the first step with {path}")
            paths.add(path)


def _paths(step: Step) -> list[str]:
    match step:
        case WriteFiles():
            return [file.path for file in step.files]
        case EditFile() | RemoveFile() | MakeFolder():
            return [step.path]
    return []
