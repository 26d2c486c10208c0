"""The one door through which the user's files are changed: as a whole or not at all.

What is new is made beside its place, under a name that follows from it, and then renamed: so after
a kill -9, who knows the places can clear away what was not finished.
"""

from __future__ import annotations

import base64
import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from stiefelsystem.console import StiefelError, warn
from stiefelsystem.host.setup.states import ABSENT, FILE, FOLDER, LINK, State, xattrs

# Where the system or its policy does not let us.
_NOT_OURS = (errno.EPERM, errno.EACCES, errno.ENOTSUP)


def put(path: Path, state: State, content: bytes = b"") -> None:
    """Make `path` what `state` says, on the medium when this returns.

    After an exception the former is there. Raises `StiefelError` if only root may give the file to
    its owner. Attributes are set as far as this process and the filesystem let us, with a warning
    for each that is lost; of FAT's modes nothing is said.
    """
    with naming(path):
        if state.kind == ABSENT:
            path.unlink()
        else:
            new = _beside(path)
            handle = _make(new, state)
            try:
                if handle is not None:
                    _fill(handle, path, state, content)
                elif state.kind == LINK:
                    _finish_link(new, state)
                os.rename(new, path)
            except BaseException:
                clear(path)
                raise
            finally:
                if handle is not None:
                    os.close(handle)
        sync(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder. Raises `OSError` if it is not empty, or not there."""
    path.rmdir()
    sync(path.parent)


def clear(path: Path) -> None:
    """Remove what an interrupted `put` has left beside `path`."""
    new = _beside(path)
    if not os.path.lexists(new):
        return  # to remove nothing fails, too, on what is read-only
    with suppress(FileNotFoundError, NotADirectoryError):
        if new.is_dir() and not new.is_symlink():
            new.rmdir()
        else:
            new.unlink()


def write_all(handle: int, content: bytes) -> None:
    """Write `content` and have it on the medium."""
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]
    os.fsync(handle)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """The system's errors in the block name `path`: where an open file is written, they name
    nothing, and a number where its attributes are set."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync(folder: Path) -> None:
    """Have the names in a folder on the medium: else an old one may be back after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.stiefelsystem-new")


def _make(new: Path, state: State) -> int | None:
    """An empty file or folder that is nobody else's yet, open; or the link."""
    if state.kind == LINK:
        os.symlink(state.content, new)
        return None
    if state.kind == FOLDER:
        os.mkdir(new, 0o700)
        return os.open(new, os.O_RDONLY | os.O_NOFOLLOW)
    return os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _fill(handle: int, path: Path, state: State, content: bytes) -> None:
    # In this order: a new owner takes capabilities away, and an ACL changes the mode.
    found = os.fstat(handle)
    if (found.st_uid, found.st_gid) != (state.uid, state.gid):
        try:
            os.fchown(handle, state.uid, state.gid)
        except PermissionError as error:
            what = f"cannot give {path} to its owner {state.uid}:{state.gid}"
            if os.geteuid() != 0:
                raise StiefelError(what, hint="run it as root") from error
            warn(f"{what}: there are none on its filesystem")  # an EFI system partition's
    if state.kind == FILE:
        write_all(handle, content)
    if state.xattrs is not None:
        _set_xattrs(handle, path, state.xattrs)
    os.fchmod(handle, state.mode)
    if state.mtime is not None:
        os.utime(handle, ns=(time.time_ns(), state.mtime))
    os.fsync(handle)


def _finish_link(new: Path, state: State) -> None:
    os.chown(new, state.uid, state.gid, follow_symlinks=False)
    if state.mtime is not None:
        os.utime(new, ns=(time.time_ns(), state.mtime), follow_symlinks=False)


def _set_xattrs(handle: int, path: Path, wanted: Mapping[str, str]) -> None:
    now = xattrs(handle)
    for name in {**now, **wanted}:
        try:
            if name not in wanted:
                os.removexattr(handle, name)
            elif now.get(name) != wanted[name]:
                os.setxattr(handle, name, base64.b64decode(wanted[name]))
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            warn(f"cannot keep {name} of {path}: {error.strerror}")
