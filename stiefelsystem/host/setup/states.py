"""What lies at a path: nothing, a file, a folder or a link, with all that is to be kept of it."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stiefelsystem.console import StiefelError

ABSENT, FILE, FOLDER, LINK = "absent", "file", "folder", "link"
# Attributes that belong to the file; others (trusted.*, btrfs.*) belong to its filesystem.
_KEPT = ("user.", "security.", "system.posix_acl_")


@dataclass(frozen=True)
class State:
    """`content` is a file's digest or a link's target; `mtime` is in ns, None for now.

    `xattrs` are in base64; None leaves a new file what its folder and the system's policy give it.
    `names` counts the hard links.
    """

    kind: str = ABSENT
    mode: int = 0
    uid: int = 0
    gid: int = 0
    content: str = ""
    mtime: int | None = None
    xattrs: Mapping[str, str] | None = None
    names: int = field(default=1, compare=False)

    def like(self, other: State) -> bool:
        """Whether a user would call them the same.

        Times and attributes do not count: relabelling a system for SELinux changes nothing.
        """
        mine = self.kind, self.mode, self.uid, self.gid, self.content
        return mine == (other.kind, other.mode, other.uid, other.gid, other.content)


def digest(content: bytes) -> str:
    """What stands in a file's state for its content."""
    return hashlib.sha256(content).hexdigest()


def look(path: Path) -> tuple[State, bytes]:
    """What lies at `path`, which is not followed, and a file's content.

    Raises `StiefelError` for devices, sockets and pipes.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return State(), b""
    if stat.S_ISLNK(found.st_mode):
        return _state(LINK, found, content=os.readlink(path)), b""
    if stat.S_ISDIR(found.st_mode):
        return _state(FOLDER, found), b""
    if not stat.S_ISREG(found.st_mode):
        raise StiefelError(
            f"cannot change {path}: it is a device, a socket or a pipe",
            hint="a unit that leads to /dev/null is masked: systemctl unmask it"
            if path.name == "null"
            else "see what has put it there",
        )
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        content = file.read()
        found = os.fstat(file.fileno())
        return _state(FILE, found, content=digest(content), xattrs=xattrs(file.fileno())), content


def xattrs(handle: int) -> dict[str, str]:
    """The attributes of an open file that are to be kept, in base64."""
    try:
        names = [name for name in os.listxattr(handle) if name.startswith(_KEPT)]
        return {name: base64.b64encode(os.getxattr(handle, name)).decode() for name in names}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _state(
    kind: str, found: os.stat_result, *, content: str = "", xattrs: Mapping[str, str] | None = None
) -> State:
    return State(
        kind=kind,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        content=content,
        mtime=found.st_mtime_ns,
        xattrs=xattrs,
        names=found.st_nlink if kind == FILE else 1,
    )
