"""Makes a FAT32 filesystem fit for mtools, which believe all that it says.

Data lies in clusters, and a table has the next one for each, so that a file is a chain of them.
After a power cut, or when a stick was pulled out too early, two files may be in one chain: removing
one of them frees what the other has. A chain may lead into what is free: to remove it, mtools
follow it forever; and they give it to another file, though some drivers still read the first. And
how many clusters are free is only noted, and may be long outdated.

By Microsoft's "FAT32 File System Specification" (fatgen103, 2000). All numbers are little endian.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import medium
from stiefelsystem.host.stick.layout import SECTOR

# The first sector, from byte 11 on: bytes in a sector, sectors in a cluster, sectors before the
# tables, number of tables; two that are 0 in FAT32 alone; sectors in all; sectors of a table;
# flags, which are 0 where all tables are equal; the root's cluster; FSInfo's sector.
_HEAD = struct.Struct("<11x HBHB H 3x H 8x I I H 2x I H")
# FSInfo: two signatures, and behind them how many clusters are free, and where to look for one.
_LEAD, _LEAD_AT = b"RRaA", 0
_STRUCT, _STRUCT_AT = b"rrAa", 484
_FREE_AT = 488
_UNKNOWN = struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF)
# An entry of the table has 28 bits; the first two are of no cluster. 0 is a free one, and these are
# one that is bad, and the least that ends a chain.
_CLUSTER = 0x0FFFFFFF
_FIRST, _BAD, _END = 2, 0x0FFFFFF7, 0x0FFFFFF8
# An entry of a folder: name, attributes, and the first cluster in two halves.
_ENTRY = struct.Struct("<11s B 8x H 4x H 4x")
_FOLDER, _LABEL, _LONG, _ALL = 0x10, 0x08, 0x0F, 0x3F
_UNUSED, _REMOVED = b"\0", b"\xe5"
_ITSELF, _ABOVE = b".".ljust(11), b"..".ljust(11)
# A part of a long name, which stands before its entry, last part first: 13 characters, and between
# them a checksum of the entry's own name. The last part is marked, at its beginning.
_PART = struct.Struct("<B 10s 2x B 12s 2x 4s")
_LAST_PART = 0x40
_HINT = (
    "copy what is yours from it; then have `fsck.vfat -a` mend its partition, or write it anew,"
    " without --update"
)


def prepare(path: Path, offset: int, folder: str) -> None:
    """Make the filesystem that begins at `offset` bytes fit for being changed in `folder`.

    A file in that folder that has not all of its room, or not for itself, loses its name, and the
    free clusters are counted by who writes next. Raises `StiefelError`, before it changes anything,
    if others have clusters in common or are not whole; and where it cannot be written.
    """
    with medium.opened(path, "read and changed") as handle:
        volume = _Volume.read(handle, offset, path)
        for name in _Tree(volume, folder).without_room:
            for place in name.places:
                os.pwrite(handle, _REMOVED, place)
        at = offset + volume.info * SECTOR
        sector = os.pread(handle, SECTOR, at)
        if sector[_LEAD_AT:].startswith(_LEAD) and sector[_STRUCT_AT:].startswith(_STRUCT):
            os.pwrite(handle, _UNKNOWN, at + _FREE_AT)


@dataclass(frozen=True)
class _Volume:
    """Where things are; `data` is where a cluster 0 would begin, and `size` a cluster's, in
    bytes."""

    handle: int
    path: Path
    table: array[int]
    data: int
    size: int
    root: int
    info: int

    @classmethod
    def read(cls, handle: int, offset: int, path: Path) -> _Volume:
        head = os.pread(handle, _HEAD.size, offset)
        if len(head) < _HEAD.size:
            raise _damaged(path, "it ends too early")
        sector, in_cluster, before, tables, *others, root, info = _HEAD.unpack(head)
        entries, small, total, in_table, flags = others
        data = before + tables * in_table
        unknown = sector != SECTOR or entries or small or flags
        if unknown or not in_cluster or not in_table or data >= total:
            raise _damaged(path, "it has no FAT32 that can be understood")
        count = min((total - data) // in_cluster + _FIRST, in_table * SECTOR // 4, _BAD)
        data_of_table = os.pread(handle, count * 4, offset + before * SECTOR)
        if len(data_of_table) != count * 4:
            raise _damaged(path, "it ends too early")
        table = array("I", data_of_table)
        if sys.byteorder == "big":
            table.byteswap()
        size = in_cluster * SECTOR
        return cls(handle, path, table, offset + data * SECTOR - _FIRST * size, size, root, info)

    def entries(self, clusters: list[int]) -> Iterator[tuple[int, bytes]]:
        """Those of a folder, each with its place in bytes; also behind one that was never used,
        where only some drivers look: a sector of zeros may not have been written."""
        for number in clusters:
            at = self.data + number * self.size
            cluster = os.pread(self.handle, self.size, at)
            if len(cluster) < self.size:
                raise _damaged(self.path, "it ends too early")
            for begin in range(0, len(cluster), _ENTRY.size):
                yield at + begin, cluster[begin : begin + _ENTRY.size]


@dataclass(frozen=True)
class _Name:
    """Of a file or a folder; `path` has a slash before each of its parts, and `places` are those of
    the entries that it consists of, in bytes."""

    path: str
    is_folder: bool
    first: int
    places: tuple[int, ...]


class _Tree:
    """All that is in a filesystem.

    `without_room` has the files in the folder `replaced` that have clusters in common with others,
    or whose chain does not end as one should.
    """

    def __init__(self, volume: _Volume, replaced: str) -> None:
        self.without_room: set[_Name] = set()
        self._volume = volume
        self._replaced = f"/{replaced}".casefold()
        self._owners = array("I", bytes(4 * len(volume.table)))
        self._names = [_Name("", True, volume.root, ())]
        self._walk()

    def _walk(self) -> None:
        """Raises `StiefelError` for what else is not in order."""
        folders = self._names[:]
        while folders:
            folder = folders.pop()
            for name in _names(self._volume.entries(self._claim(folder)), folder.path):
                if name.is_folder:
                    folders.append(name)
                else:
                    self._claim(name)

    def _claim(self, name: _Name) -> list[int]:
        """The clusters of what has that name; nothing else may have them."""
        self._names.append(name)
        table, owners, number = self._volume.table, self._owners, len(self._names) - 1
        clusters: list[int] = []
        at = name.first
        while _FIRST <= at < len(table) and (following := table[at] & _CLUSTER):
            if owners[at]:
                self._part(self._names[owners[at]], name)
                if name in self.without_room:
                    break
            owners[at] = number
            clusters.append(at)
            at = following
        # An empty file has no first one. What ends in a free one can be read to its end, until that
        # is given to another.
        is_whole = at >= _END if clusters else not (name.first or name.is_folder)
        if not is_whole and not self._is_replaced(name):
            raise _damaged(self._volume.path, f"{name.path or '/'} is not whole")
        if not is_whole:
            self.without_room.add(name)
        return clusters

    def _part(self, one: _Name, other: _Name) -> None:
        """Two names have a cluster in common: what is to be removed anyway gives it up."""
        found = {name for name in (one, other) if self._is_replaced(name)}
        if not found:
            both = f"{one.path or '/'} and {other.path or '/'} are in the same place on it"
            raise _damaged(self._volume.path, both)
        self.without_room |= found

    def _is_replaced(self, name: _Name) -> bool:
        folder = name.path.rpartition("/")[0].casefold()
        return folder == self._replaced and not name.is_folder


def _names(entries: Iterator[tuple[int, bytes]], above: str) -> Iterator[_Name]:
    """Those in a folder, but itself and the one above, and the filesystem's label."""
    places: list[int] = []
    parts: list[bytes] = []
    for place, entry in entries:
        short, attributes, high, low = _ENTRY.unpack(entry)
        is_used = not entry.startswith((_UNUSED, _REMOVED))
        if is_used and attributes & _ALL == _LONG:
            if entry[0] & _LAST_PART:
                places, parts = [], []
            places.append(place)
            parts.append(entry)
            continue
        if is_used and short not in (_ITSELF, _ABOVE) and not attributes & _LABEL:
            first = (high << 16 | low) & _CLUSTER
            long = _long(parts, short)
            path = f"{above}/{long or _short(short)}"
            own = (*places, place) if long else (place,)
            yield _Name(path, bool(attributes & _FOLDER), first, own)
        places, parts = [], []


def _long(parts: list[bytes], short: bytes) -> str:
    """The long name of the entry whose own is `short`, if that is whose these parts are."""
    checksum = 0
    for byte in short:
        checksum = ((checksum >> 1 | checksum << 7) + byte) & 0xFF
    text = b""
    for part in parts:
        _, one, sum_, two, three = _PART.unpack(part)
        if sum_ != checksum:
            return ""
        text = one + two + three + text
    return text.decode("utf-16-le", errors="replace").partition("\0")[0]


def _short(name: bytes) -> str:
    """`VMLINUZ    ` and `INITRD  IMG`, as they are shown."""
    text = name.decode("ascii", errors="replace")
    return f"{text[:8].rstrip()}.{text[8:].rstrip()}".rstrip(".")


def _damaged(path: Path, why: str) -> StiefelError:
    return StiefelError(f"{path} is damaged: {why}", hint=_HINT)
