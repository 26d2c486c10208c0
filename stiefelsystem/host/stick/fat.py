"""A FAT filesystem in an image or on a device, by mtools: nothing is mounted."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick.layout import LABEL, SECTOR
from stiefelsystem.run import environment, run

# A worn stick may write a megabyte a second.
_SECONDS = 900.0
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
        """Whether there is a file or a folder of that name."""
        return self._run("mattrib", f"::{name}", check=False).returncode == 0

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
        """Remove a file, if it is there."""
        if self.exists(name):
            self._run("mdel", f"::{name}")

    def text(self, name: str) -> str:
        """A small file's contents; nothing where there is none."""
        done = self._run("mtype", f"::{name}", check=False)
        return done.stdout if done.returncode == 0 else ""

    def digest(self, name: str) -> str:
        """The SHA-256 of a file, in hex. Raises `StiefelError` if it cannot be read."""
        # Not by `run`, which would hold all of it in memory, as text.
        command = ["timeout", f"{_SECONDS:g}", "mcopy", "-i", self._drive, f"::{name}", "-"]
        sums = hashlib.sha256()
        with subprocess.Popen(
            command, env=environment(self._env), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            while data := process.stdout.read(1 << 20):
                sums.update(data)
            errors = process.stderr.read().decode(errors="replace").strip()
        if process.returncode != 0:
            raise StiefelError(f"cannot read {name} on {self.path}: {errors or 'no answer'}")
        return sums.hexdigest()

    def flush(self) -> None:
        """Have all that was written on the medium, and forget it, so that reading it back is."""
        handle = os.open(self.path, os.O_RDWR)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)

    @property
    def _env(self) -> dict[str, str]:
        # Of mtools and mkfs.vfat: reproducible-builds.org, "SOURCE_DATE_EPOCH".
        return _ENV if self.time is None else {**_ENV, "SOURCE_DATE_EPOCH": str(self.time)}

    @property
    def _drive(self) -> str:
        return f"{self.path}@@{self.offset}"

    def _run(
        self, tool: str, *words: str, text: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        command = [tool, "-i", self._drive, *words]
        return run(command, env=self._env, text=text, check=check, timeout=_SECONDS)
