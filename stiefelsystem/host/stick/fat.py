"""A FAT filesystem in an image or on a device, by mtools: nothing is mounted."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import medium
from stiefelsystem.host.stick.layout import LABEL, SECTOR
from stiefelsystem.run import environment, run

# A worn stick may write a megabyte a second.
_SECONDS = 900.0
_PIECE = 1 << 16
# What is held in memory of a file on a stick, which anybody may have made.
_LARGEST_TEXT = 1 << 16
# What mtools say where the filesystem, not what it lies on, has no room.
_FULL = ("Disk full", "No free cluster")
AFRESH = "write it anew, without --update; what else is on it is lost then"
_MAKE_ROOM = (
    "remove what is yours from it; or have `fsck.vfat -a` of its partition give back what a power"
    " cut has taken"
)
# Neither a user's settings, which mtools looks for in HOME, nor a complaint about a stick that
# another system has formatted; and times as UTC, wherever this machine is.
_ENV = {"HOME": "/nonexistent", "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}


@dataclass(frozen=True)
class Fat:
    """The filesystem that begins at `offset` bytes. Paths in it have no leading slash.

    What is written gets `time`, in seconds of the epoch, as its time; without it, the present one.
    """

    path: Path
    offset: int
    time: int | None = None

    @classmethod
    def create(
        cls, path: Path, *, first: int, sectors: int, identity: str, time: int | None = None
    ) -> Fat:
        """Make a new one, from sector `first` on; `identity` is its serial number, 8 hex digits.

        Raises `StiefelError` if it cannot be FAT32.
        """
        # The partition's place is told to the filesystem, too: a BIOS' loader may look there.
        place = ["--offset", str(first), "-h", str(first)]
        size = str(sectors * SECTOR // 1024)
        fat = cls(path, first * SECTOR, time)
        kind = ["-F", "32", "-n", LABEL, "--invariant", "-i", identity]
        run(["mkfs.vfat", *kind, *place, path, size], env=fat._env, timeout=_SECONDS)
        return fat

    def make_folder(self, name: str) -> None:
        """Make a folder and those above it, unless they are there."""
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if not self.exists(folder):
                self._run("mmd", f"::{folder}")

    def exists(self, name: str) -> bool:
        """Whether there is a file or a folder of that name. Raises `StiefelError` if that cannot
        be read."""
        done = self._tool("mattrib", f"::{name}")
        if done.returncode != 0 and not _tells_of_absence(done.stderr):
            raise self._unreadable(name, done.stderr)
        return done.returncode == 0

    def put(self, source: Path, name: str) -> None:
        """Write a file, or replace it; not atomically. Its folder has to be there."""
        self._run("mcopy", "-o", str(source), f"::{name}")

    def put_text(self, text: str, name: str) -> None:
        """Write a small file."""
        self._run("mcopy", "-o", "-", f"::{name}", text=text)

    def put_tree(self, folder: Path) -> None:
        """Write all files that are below a folder of the host's, at the same places."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = str(file.relative_to(folder))
            self.make_folder(name.rpartition("/")[0])
            self.put(file, name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises `StiefelError` for a folder."""
        if not self.exists(name):
            return
        done = self._tool("mdel", f"::{name}")
        if _tells_of_absence(done.stderr):
            raise StiefelError(
                f"{name} on {self.path} is a folder, and should be a file",
                hint="give it another name",
            )
        if done.returncode != 0:
            raise self._failure("written", done.stderr)

    def rename(self, name: str, other: str) -> None:
        """Give a file another name, which nothing in its folder has: a change of one sector, where
        the folder is as small as a set's."""
        self._run("mren", f"::{name}", other)

    def text(self, name: str) -> str:
        """A small file's contents; nothing where there is none.

        Raises `StiefelError` for what cannot be read, or is no small file.
        """
        data = b""
        for piece in self._pieces(name):
            data += piece
            if len(data) > _LARGEST_TEXT:
                raise self._unreadable(name, f"it has more than {_LARGEST_TEXT} bytes")
        return data.decode(errors="replace")

    def digest(self, name: str, advance: Callable[[int], None] | None = None) -> str:
        """The SHA-256 of a file, in hex; that of nothing where there is none.

        `advance` is told how many more bytes are read. Raises `StiefelError` for what cannot be.
        """
        sums = hashlib.sha256()
        for piece in self._pieces(name):
            sums.update(piece)
            if advance:
                advance(len(piece))
        return sums.hexdigest()

    def flush(self) -> None:
        """Have all that was written on the medium, and forget it, so that reading it back is.

        Raises `StiefelError` if it was pulled out, or fails.
        """
        with medium.opened(self.path, "flushed") as handle:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def _env(self) -> dict[str, str]:
        # Of mtools and mkfs.vfat: reproducible-builds.org, "SOURCE_DATE_EPOCH".
        return _ENV if self.time is None else {**_ENV, "SOURCE_DATE_EPOCH": str(self.time)}

    @property
    def _drive(self) -> str:
        return f"{self.path}@@{self.offset}"

    def _run(self, tool: str, *words: str, text: str | None = None) -> None:
        done = self._tool(tool, *words, text=text)
        # Where the room ends while it writes what it got from a pipe, mcopy's status is 0.
        if any(full in done.stderr for full in _FULL):
            raise StiefelError(f"{self.path} is full", hint=f"{_MAKE_ROOM}; or {AFRESH}")
        if done.returncode != 0:
            raise self._failure("written", done.stderr)

    def _tool(
        self, tool: str, *words: str, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [tool, "-i", self._drive, *words]
        return run(command, env=self._env, text=text, check=False, timeout=_SECONDS)

    def _pieces(self, name: str) -> Iterator[bytes]:
        # Not by `run`, which would hold all of it in memory, as text.
        # They take no notice of SIGTERM while they follow a chain.
        limit = ["timeout", "--signal=KILL", f"{_SECONDS:g}"]
        command = [*limit, "mcopy", "-i", self._drive, f"::{name}", "-"]
        env = environment(self._env)
        with TemporaryFile() as said:
            with subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
            ) as process:
                assert process.stdout is not None
                while piece := process.stdout.read(_PIECE):
                    yield piece
            said.seek(0)
            errors = said.read(_PIECE).decode(errors="replace")
        if process.returncode != 0 and not _tells_of_absence(errors):
            raise self._unreadable(name, errors)

    def _unreadable(self, name: str, reason: str) -> StiefelError:
        if self._is_gone(reason):
            return self._failure("read", reason)
        return StiefelError(
            f"cannot read {name} on {self.path}: {_in_a_line(reason)}",
            hint=f"it may be damaged: {AFRESH}",
        )

    def _failure(self, what: str, reason: str) -> StiefelError:
        gone = self._is_gone(reason)
        return medium.failure(str(self.path), what, _in_a_line(reason), gone=gone)

    def _is_gone(self, reason: str) -> bool:
        """Whether the device is; of an image, a full disk is no more than that."""
        if self.path.is_file():
            return False
        return not self.path.exists() or any(os.strerror(n) in reason for n in medium.GONE)


def beginning(path: Path, size: int) -> bytes:
    """The first bytes of a device or an image. Raises `StiefelError` if they cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise StiefelError(f"cannot read {path}: {error.strerror}") from error


def _tells_of_absence(errors: str) -> bool:
    """Whether that is all that mtools complain about: `mcopy: File "::name" not found`."""
    lines = errors.strip().splitlines()
    return len(lines) == 1 and lines[0].endswith('" not found')


def _in_a_line(errors: str) -> str:
    return " / ".join(errors.strip().splitlines()[-3:]) or "no answer"
