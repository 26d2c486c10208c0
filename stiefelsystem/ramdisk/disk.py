"""The laptop's disk: is it there, is it safe to serve, and how is its boot partition read?"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk import journal
from stiefelsystem.run import run

# ioctl numbers of block devices: linux/fs.h.
_BLKSSZGET = 0x1268
_BLKFLSBUF = 0x1261
# How long a disk's driver may take to find it.
_DRIVER_SECONDS = 20.0
# How often it is looked whether a device has appeared.
_LOOK_SECONDS = 0.1
# A device that does not answer within so many seconds is broken.
_TIMEOUT = 30.0
# What the boot partition's replayed journal may grow to, in memory.
_SNAPSHOT = "stiefel-boot-"
_SNAPSHOT_SIZE = 256 << 20


class Disk(NamedTuple):
    """A disk that may be served: whether it can discard, and what on it has not been unmounted."""

    path: Path
    sector_size: int
    discards: bool = True  # a file has holes
    unclean: tuple[Path, ...] = ()


class NotYet(StiefelError):
    """A device is missing, but its driver may still find it."""


def wait_for(path: Path, seconds: float, *, since: float) -> None:
    """Wait up to `seconds` until a device appears.

    Drivers need their time, which began at `since`, a monotonic time: raises `NotYet` while it
    lasts, and `StiefelError` when it is over.
    """
    deadline = time.monotonic() + seconds
    while not path.exists():
        now = time.monotonic()
        if now >= deadline and now - since < _DRIVER_SECONDS:
            raise NotYet(f"{path} is not there yet; its driver may need some seconds")
        if now >= deadline:
            raise StiefelError(
                f"there is no {path} on this machine after {now - since:.0f} s",
                hint="check boot.disk and boot.part in config.yaml; /dev/disk/by-id names are "
                "the same in every OS",
            )
        time.sleep(_LOOK_SECONDS)


def check(path: Path) -> Disk:
    """Refuse a disk that something else uses or will use; else tell what the export must know."""
    mode = path.stat().st_mode
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        raise StiefelError(f"{path} is neither a disk nor an image", hint="check boot.disk")
    try:
        # O_EXCL on a block device fails while it, or a part of it, is mounted or claimed.
        handle = os.open(path, os.O_RDWR | (os.O_EXCL if stat.S_ISBLK(mode) else 0))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise StiefelError(
                f"{path} is in use on this machine and cannot be served",
                hint="unmount what is on it, and close its LUKS, LVM or RAID devices",
            ) from error
        raise StiefelError(f"cannot open {path}: {error.strerror}") from error
    try:
        sector_size = 512
        if stat.S_ISBLK(mode):
            answer = fcntl.ioctl(handle, _BLKSSZGET, bytes(4))
            sector_size = int(struct.unpack("@i", answer)[0])
    finally:
        os.close(handle)
    if not stat.S_ISBLK(mode):
        return Disk(path, sector_size, unclean=_unclean([path]))
    devices = _with_partitions(path)
    _refuse_hibernated(devices)
    return Disk(path, sector_size, _discards(path), _unclean(devices))


def flush(path: Path) -> None:
    """Write what the kernel holds of a disk to its medium."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        if stat.S_ISBLK(os.fstat(handle).st_mode):
            fcntl.ioctl(handle, _BLKFLSBUF)
    finally:
        os.close(handle)


def _with_partitions(path: Path) -> list[Path]:
    listed = run(["lsblk", "--noheadings", "--paths", "--list", "--output", "NAME", path])
    return [Path(name) for name in listed.stdout.split()]


def _discards(path: Path) -> bool:
    """Whether a disk, or that of a partition, takes discards (Linux' sysfs-block)."""
    number = path.stat().st_rdev
    folder = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    for queue in (folder / "queue", folder.parent / "queue"):
        with suppress(OSError):
            return int((queue / "discard_max_bytes").read_text()) > 0
    return False


def _unclean(devices: list[Path]) -> tuple[Path, ...]:
    unclean = []
    for device in devices:
        with suppress(OSError):  # an extended partition, say, which cannot be read
            unclean += [device] if journal.awaits_replay(device) else []
    return tuple(unclean)


def _refuse_hibernated(devices: list[Path]) -> None:
    for device in devices:
        if _type(device) == "swsuspend":
            raise StiefelError(
                f"{device} holds the image of a hibernated system, which would be corrupted",
                hint="start the laptop's own OS, shut it down, and try again",
            )


def _type(device: Path) -> str:
    """What lies on a device, by blkid's names; empty where that is nothing known."""
    probe: list[str | Path] = ["blkid", "-p", "-s", "TYPE", "-o", "value", device]
    return run(probe, check=False, timeout=_TIMEOUT).stdout.strip()


def remove_left_over() -> None:
    """Give up the snapshots of a server that was killed: they hold the boot partition."""
    for device in Path("/dev/mapper").glob(f"{_SNAPSHOT}*"):
        run(["umount", device], check=False, timeout=_TIMEOUT)
        run(["dmsetup", "remove", "--noudevsync", "--retry", device.name], check=False)


@contextmanager
def boot_folder(part: Path) -> Iterator[Path]:
    """The contents of the boot partition, read without changing a byte of the disk.

    It is mounted through a throwaway snapshot, on which a waiting journal is replayed, so that
    what is read is not stale. Of btrfs it is the top, not the subvolume that is mounted by default.
    A folder stands for a boot partition that is already mounted.
    """
    if part.is_dir():
        yield part
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stiefel-boot-")))
        device = stack.enter_context(_snapshot(part))
        options = "ro,nosuid,nodev,noexec"
        if _type(device) == "btrfs":
            options += ",subvolid=5"  # the top's: btrfs(5)
        run(["mount", "-o", options, device, folder], timeout=_TIMEOUT)
        stack.callback(run, ["umount", folder])
        yield folder


@contextmanager
def _snapshot(part: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        # A name of its own: a former client's transfer may not have ended yet.
        name = f"{_SNAPSHOT}{os.urandom(4).hex()}"
        changes = stack.enter_context(tempfile.NamedTemporaryFile(prefix="stiefel-snapshot-"))
        changes.truncate(_SNAPSHOT_SIZE)
        # Nothing asks for these by itself.
        run(["modprobe", "--all", "loop", "dm-snapshot"], timeout=_TIMEOUT)
        find = ["losetup", "--find", "--show", changes.name]
        loop = run(find, timeout=_TIMEOUT).stdout.strip()
        stack.callback(run, ["losetup", "--detach", loop])
        sectors = run(["blockdev", "--getsz", part]).stdout.strip()
        # Not persistent ("N"), in chunks of 8 sectors: dm-snapshot's documentation in Linux.
        table = f"0 {sectors} snapshot {part} {loop} N 8"
        create = ["dmsetup", "create", name, "--noudevsync", "--table", table]
        run(create, timeout=_TIMEOUT)
        stack.callback(run, ["dmsetup", "remove", "--noudevsync", "--retry", name])
        run(["dmsetup", "mknodes", name])
        yield Path("/dev/mapper") / name
