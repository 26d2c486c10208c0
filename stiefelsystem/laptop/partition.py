"""Where files of the running laptop are for the ramdisk: the partition, and their names on it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stiefelsystem.console import StiefelError
from stiefelsystem.run import run

_TIMEOUT = 30.0
_BTRFS = Path("/sys/fs/btrfs")
_PLAIN = (
    "put kernel and initrd on a plain partition, or name one that has them as boot.part in"
    " config.yaml"
)


class Place(NamedTuple):
    """A file's filesystem, by its device, and the file's name there, from its top."""

    device: Path
    name: str


def place(path: Path) -> Place:
    """Where a file is, by findmnt(8). Raises `StiefelError` if that cannot be known.

    A filesystem's top is not always what is mounted: a subvolume of btrfs is, or a folder of it.
    """
    path = path.resolve()
    columns = "TARGET,SOURCE,FSROOT,FSTYPE"
    findmnt: list[str | Path] = ["findmnt", "--json", "--list", "--nofsroot", "--output", columns]
    told = run([*findmnt, "--target", path], timeout=_TIMEOUT).stdout
    # Of what is mounted at one place, such as a partition over its automount, the last one counts.
    mount = _listed(told, "filesystems", f"what holds {path}")[-1]
    try:
        name = Path(mount["fsroot"]) / path.relative_to(mount["target"])
        return Place(Path(mount["source"]), str(name).lstrip("/"))
    except (KeyError, TypeError, ValueError) as error:
        raise StiefelError(f"cannot find out what holds {path}: findmnt tells {mount}") from error


def common(places: Sequence[Place], paths: Sequence[Path]) -> Path:
    """The partition that has all of them, by a name that is the same in the ramdisk.

    Raises `StiefelError` if they are not on one, or if the ramdisk could not read it.
    """
    devices = {one.device: path for one, path in zip(places, paths, strict=True)}
    if len(devices) > 1:
        where = " and ".join(f"{path} on {device}" for device, path in devices.items())
        raise StiefelError(
            f"the desktop gets kernel and initrd from one partition, but {where} are on two",
            hint="have both in one folder; or name such a pair under boot.load in config.yaml",
        )
    (device,) = devices
    return _by_uuid(device, paths[0])


def is_same(one: Path, other: Path) -> bool:
    """Whether two names are those of one device."""
    return os.path.realpath(one) == os.path.realpath(other)


def _by_uuid(device: Path, path: Path) -> Path:
    lsblk: list[str | Path] = ["lsblk", "--json", "--nodeps", "--output", "TYPE,UUID,FSTYPE"]
    done = run([*lsblk, device], check=False, timeout=_TIMEOUT)
    # It fails on what is no block device: an overlay, ZFS.
    told = _listed(done.stdout, "blockdevices", f"what {device} is") if not done.returncode else []
    found = told[0] if told else {}
    kind, uuid = (str(found.get(name) or "") for name in ("type", "uuid"))
    if kind not in ("part", "disk"):
        raise StiefelError(
            f"{path} is on {device}, which is {kind or 'nothing'} that the ramdisk could read",
            hint=_PLAIN,
        )
    if not uuid:
        raise StiefelError(f"the UUID of {device}, which holds {path}, is not known", hint=_PLAIN)
    if found.get("fstype") == "btrfs" and len(list((_BTRFS / uuid / "devices").glob("*"))) > 1:
        raise StiefelError(
            f"{path} is on a btrfs of several devices, which the ramdisk does not put together",
            hint=_PLAIN,
        )
    return Path("/dev/disk/by-uuid") / uuid


def _listed(told: str, kind: str, what: str) -> list[dict[str, Any]]:
    try:
        listed: list[dict[str, Any]] = json.loads(told)[kind]
    except (ValueError, KeyError, TypeError) as error:
        raise StiefelError(f"cannot find out {what}: {told.strip()!r} was answered") from error
    if not listed:
        raise StiefelError(f"cannot find out {what}")
    return listed
