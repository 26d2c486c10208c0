"""Copy a composed image onto a device, so that the stick is whole and verified or boots nowhere.

Past the page cache both ways: what is read back comes from the medium, and nothing is left to be
flushed when the progress is at its end.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from stiefelsystem.console import StiefelError, warn
from stiefelsystem.host.stick import device as devices
from stiefelsystem.host.stick.device import Device
from stiefelsystem.host.stick.medium import GONE, failure
from stiefelsystem.progress import Progress

# An ioctl of block devices: linux/fs.h.
_BLKRRPART = 0x125F
_SECTOR = 512
_PIECE = 1 << 20
# A GPT keeps a copy of itself in the last sectors: what was on the stick must not come back.
_TAIL = 1 << 20


def write(image: Path, device: Device) -> None:
    """Write an image, whose size is the device's or less, and read it back.

    All up to the image's last data is written, and the device's last MiB is zeroed; what lies
    between stays as it was. Sector 0, without which no firmware boots from it, comes last, when
    all else has been verified. Raises `StiefelError` where the device is in use, is another than
    was shown, fails, or does not hold what was written.
    """
    devices.require_unchanged(device)
    with image.open("rb", buffering=0) as source, _Medium(device) as medium:
        end = _end_of_data(source.fileno(), image, device)
        with _unfinished(medium):
            _fill(source.fileno(), medium, end, device.size)
            _finish(source.fileno(), medium)
        medium.read_partitions()


class _Medium:
    """The device, opened for us alone; offsets and sizes are multiples of a sector.

    `is_blank` says that sector 0 is known to be empty on it.
    """

    def __init__(self, device: Device) -> None:
        self.name = name = device.name
        self.is_blank = False
        # Pages of its own: what goes past the page cache must be aligned in memory.
        self._buffer = mmap.mmap(-1, _PIECE)
        try:
            self._handle = os.open(name, os.O_RDWR | os.O_EXCL | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise StiefelError(
                    f"{name} is in use on this machine and cannot be written",
                    hint="unmount what is on it, and close its LUKS, LVM or RAID devices",
                ) from error
            raise StiefelError(f"cannot open {name} for writing: {error.strerror}") from error
        try:
            devices.require_opened(device, self._handle)
        except StiefelError:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
        self._buffer.close()

    def write(self, offset: int, data: bytes) -> None:
        """Write some sectors, at most a MiB."""
        self._buffer[: len(data)] = data
        done = 0
        with memoryview(self._buffer) as view, self._naming("written"):
            while done < len(data):
                done += os.pwritev(self._handle, [view[done : len(data)]], offset + done)

    def read(self, offset: int, size: int) -> bytes:
        """Read some sectors, at most a MiB."""
        done = 0
        with memoryview(self._buffer) as view, self._naming("read"):
            while done < size:
                count = os.preadv(self._handle, [view[done:size]], offset + done)
                if count == 0:
                    raise OSError(errno.EIO, "it ends too early")
                done += count
        return self._buffer[:size]

    def blank(self, size: int = _SECTOR) -> None:
        """Zero its beginning, without which no firmware boots from it."""
        self.write(0, bytes(size))
        self.flush()
        self.is_blank = True

    def flush(self) -> None:
        """Have everything on the medium. What the kernel had read of it before, it has forgotten by
        writing past that: open(2), O_DIRECT."""
        with self._naming("flushed"):
            os.fsync(self._handle)

    def read_partitions(self) -> None:
        """Have the kernel look which partitions there are now."""
        try:
            fcntl.ioctl(self._handle, _BLKRRPART)
        except OSError as error:
            warn(
                f"the stick is finished, but this machine does not see {self.name}'s new"
                f" partition before it is plugged in again: {error.strerror}"
            )

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            gone = error.errno in GONE
            raise failure(self.name, what, str(error.strerror), gone=gone) from error


@contextmanager
def _unfinished(medium: _Medium) -> Iterator[None]:
    """Whatever ends the block but success leaves a device that no firmware boots from, or says
    that it could not."""
    try:
        yield
    except BaseException:
        # It may have been interrupted just after sector 0.
        try:
            with suppress(StiefelError):
                medium.blank()
        finally:  # somebody may type Ctrl-C again
            other = "may still boot what it had, or what was to be written"
            boots = "boots nowhere" if medium.is_blank else other
            warn(f"{medium.name}: the stick is not finished and {boots}; write it again")
        raise


def _end_of_data(source: int, image: Path, device: Device) -> int:
    """Where an image's last data ends, in whole sectors: lseek(2)."""
    size = os.fstat(source).st_size
    if size > device.size:
        raise StiefelError(
            f"{image} has {size} bytes, and {device.name} only {device.size}: it does not fit",
            hint="choose a larger stick",
        )
    end = 0
    with suppress(OSError):  # ENXIO: no data is left
        while end < size:
            end = os.lseek(source, os.lseek(source, end, os.SEEK_DATA), os.SEEK_HOLE)
    if end == 0:
        raise StiefelError(f"{image} holds nothing: there is nothing to write")
    return -(-end // _SECTOR) * _SECTOR


def _fill(source: int, medium: _Medium, end: int, size: int) -> None:
    """Write everything but sector 0, and verify it.

    A stick with less memory than it claims loses what is written behind it, or has it elsewhere.
    So the last MiB, zeroed at the end, first gets what no other place has: before the data, which
    may overwrite it then.
    """
    medium.blank(min(_PIECE, size))
    tail = max(end, size - _TAIL)
    mark = os.urandom(size - tail)
    medium.write(tail, mark)
    with Progress(f"writing {medium.name}", end) as progress:
        for offset, data in _pieces(source, end):
            medium.write(offset, data)
            progress.advance(len(data))
        medium.flush()
    with Progress(f"verifying {medium.name}", end) as progress:
        for offset, data in _pieces(source, end):
            _compare(medium, offset, data)
            progress.advance(len(data))
        _compare(medium, tail, mark)
    medium.write(tail, bytes(len(mark)))
    medium.flush()
    _compare(medium, tail, bytes(len(mark)))


def _finish(source: int, medium: _Medium) -> None:
    """Sector 0: from now on, it boots."""
    first = _sectors(source, 0, _SECTOR)
    medium.is_blank = False
    medium.write(0, first)
    medium.flush()
    _compare(medium, 0, first)


def _pieces(source: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The image up to `end`, with zeros in sector 0."""
    for offset in range(0, end, _PIECE):
        data = _sectors(source, offset, min(_PIECE, end - offset))
        yield offset, data if offset else bytes(_SECTOR) + data[_SECTOR:]


def _sectors(source: int, offset: int, size: int) -> bytes:
    """A part of the image, filled up with zeros where it ends within a sector."""
    return os.pread(source, size, offset).ljust(size, b"\0")


def _compare(medium: _Medium, offset: int, wanted: bytes) -> None:
    found = medium.read(offset, len(wanted))
    if found != wanted:
        first = next(
            i for i, pair in enumerate(zip(found, wanted, strict=True)) if len({*pair}) > 1
        )
        raise StiefelError(
            f"{medium.name} does not hold what was written: the first byte that differs is at"
            f" {offset + first}; the stick is worn out or lies about its size",
            hint="use another stick",
        )
