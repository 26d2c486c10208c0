"""cpio archives as the kernel's initramfs unpacker reads them.

Format "newc": a header of 6 bytes magic and 13 fields of 8 hex digits, the name, the data, each
padded to 4 bytes (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Several
archives, compressed or not, may follow each other; zeros between them are skipped.
"""

from __future__ import annotations

import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_CHUNK = 1 << 20
_FIELDS = 13
_PATTERN = re.compile(rb"%b([0-9A-Fa-f]{%d})" % (_MAGIC, 8 * _FIELDS))
# Size and device numbers are 8 hex digits.
_MAX_SIZE = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of an archive: metadata, and either `data` or the `source` file that holds it."""

    name: str
    mode: int
    data: bytes = b""
    source: Path | None = None
    uid: int = 0
    gid: int = 0
    rdev: int = 0


class Writer:
    """Writes an archive to `out`, entry by entry, in constant memory.

    Times are 0, inode numbers count up and hard links become copies: equal trees give equal bytes.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._inode = 0

    def add(self, entry: Entry) -> None:
        """Append one entry; a folder must come before what is in it."""
        size = entry.source.stat().st_size if entry.source else len(entry.data)
        if size > _MAX_SIZE:
            raise ValueError(f"{entry.name}: {size} bytes do not fit into a cpio archive")
        self._header(entry, size)
        if entry.source:
            with entry.source.open("rb") as file:
                self._copy(file, size, entry.name)
        else:
            self._out.write(entry.data)
        self._pad(size)

    def add_path(self, name: str, path: Path) -> None:
        """Append a file of the filesystem, of any type, under `name`, without following links."""
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        self.add(
            Entry(
                name=name,
                mode=status.st_mode,
                uid=status.st_uid,
                gid=status.st_gid,
                rdev=status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0,
                data=os.fsencode(path.readlink()) if kind == stat.S_IFLNK else b"",
                source=path if kind == stat.S_IFREG else None,
            )
        )

    def close(self) -> None:
        """End the archive with its trailer."""
        self._inode = -1
        self._header(Entry(name=_TRAILER, mode=0), 0)

    def _header(self, entry: Entry, size: int) -> None:
        name = os.fsencode(entry.name) + b"\0"
        self._inode += 1
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        device = (os.major(entry.rdev), os.minor(entry.rdev))
        owner = (entry.uid, entry.gid)
        fields = (self._inode, entry.mode, *owner, links, 0, size, 0, 0, *device, len(name), 0)
        self._out.write(_MAGIC + b"".join(b"%08x" % field for field in fields) + name)
        self._pad(len(_MAGIC) + 8 * len(fields) + len(name))

    def _copy(self, file: IO[bytes], size: int, name: str) -> None:
        left = size
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                raise OSError(f"{name} became shorter while it was read")
            self._out.write(chunk)
            left -= len(chunk)

    def _pad(self, size: int) -> None:
        self._out.write(bytes(-size % 4))


def archive(entries: list[Entry]) -> bytes:
    """A small archive of `entries`, in memory."""
    out = io.BytesIO()
    writer = Writer(out)
    for entry in entries:
        writer.add(entry)
    writer.close()
    return out.getvalue()


def entries(data: bytes) -> list[Entry]:
    """The entries of one small archive. Raises `ValueError` for what is none, or is cut short.

    What follows the archive's end is not looked at.
    """
    found: list[Entry] = []
    at = 0
    while True:
        header = _PATTERN.match(data, at)
        if not header:
            raise ValueError(f"there is no cpio header at byte {at}")
        fields = [int(header[1][i : i + 8], 16) for i in range(0, len(header[1]), 8)]
        mode, uid, gid, size, major, minor, length = (fields[i] for i in (1, 2, 3, 6, 9, 10, 11))
        end = header.end() + length
        name, zero = data[header.end() : end - 1], data[end - 1 : end]
        if length == 0 or zero != b"\0":
            raise ValueError(f"the name at byte {header.end()} has no end")
        if name == _TRAILER.encode():
            return found
        begin = end + -end % 4
        if begin + size > len(data):
            raise ValueError(f"the archive is cut short in {os.fsdecode(name)}")
        found.append(
            Entry(
                name=os.fsdecode(name),
                mode=mode,
                data=data[begin : begin + size],
                uid=uid,
                gid=gid,
                rdev=os.makedev(major, minor),
            )
        )
        at = begin + size + -size % 4


def append(image: IO[bytes], more: bytes) -> None:
    """Append the archive `more` to an initrd image, which is open for writing."""
    image.write(separator(image.seek(0, os.SEEK_END)) + more)


def separator(size: int) -> bytes:
    """What stands between an archive that ends at `size` and the next one.

    The zeros are at least 4, up to a boundary of 4 bytes: a legacy lz4 stream has no end mark, and
    the kernel takes 4 zero bytes (a block of size 0) for its end.
    """
    return bytes(4 + -size % 4)
