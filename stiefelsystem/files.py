"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stiefelsystem.console import StiefelError, say

# How often to look whether another program has gone.
_LOCK_SECONDS = 0.2


@contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Write a new version of `path`: it appears, complete and on the medium, when the block ends.

    After an exception the former version stands. The file has `mode` from the start, so that a
    secret is never readable for a moment.
    """
    # tempfile's name and flags, without its many imports: every program of ours writes files.
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else the old name may be back after a power cut
        finally:
            os.close(folder)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `content`, making the folders above it where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there; what is made under sudo belongs to
    the user who called it."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        belongs_to_invoker(folder)


@contextmanager
def locked(folder: Path, *, patience: float = 0) -> Iterator[None]:
    """Work in `folder` alone. Raises `StiefelError` if another program of ours still does after
    `patience` seconds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _wait(
            lambda: _takes(fcntl.flock, handle),
            f"another program of stiefelsystem works in {folder}",
            patience,
        )
        yield
    finally:
        os.close(handle)


def wait_for_unlocked(file: Path, *, patience: float) -> None:
    """Wait until no other program has a lock on a file, if it is there, of fcntl(2)'s kind, which
    is for others than ours. Raises `StiefelError` if one still has it after `patience` seconds."""
    try:
        handle = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        _wait(
            lambda: _takes(fcntl.lockf, handle), f"another program has a lock on {file}", patience
        )
    finally:
        os.close(handle)


def _wait(is_free: Callable[[], bool], taken: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    waiting = False
    while not is_free():
        if time.monotonic() >= deadline:
            raise StiefelError(taken, hint="wait until it is done")
        if not waiting:
            say(f"waiting: {taken} …")
        waiting = True
        time.sleep(_LOCK_SECONDS)


def _takes(lock: Callable[[int, int], object], handle: int) -> bool:
    try:
        lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EACCES is lockf's answer on some systems
        return False
    return True


def belongs_to_invoker(*paths: Path) -> None:
    """Give what was made under sudo to the user who called sudo; does nothing elsewhere."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdigit() and gid.isdigit():
        for path in paths:
            os.chown(path, int(uid), int(gid), follow_symlinks=False)
