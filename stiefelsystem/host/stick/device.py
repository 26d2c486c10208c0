"""The device that a stick is made of: what it is, why it may not be written, and a last question.

Everything on the device will be lost. So whatever looks as if somebody needs it is refused.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stiefelsystem.console import StiefelError, say
from stiefelsystem.host import consent
from stiefelsystem.run import run

_SECONDS = 30.0
# blkid(8): "ambivalent low-level probing result was detected".
_AMBIVALENT = 8
_SYSFS = Path("/sys/dev/block")
_COLUMNS = (
    "NAME,TYPE,MAJ:MIN,PKNAME,SIZE,LOG-SEC,RO,RM,TRAN,MODEL,VENDOR,SERIAL,FSTYPE,LABEL,MOUNTPOINTS"
)
# lsblk's types of what may be a stick. What else there is lies on others.
_DISKS = ("disk", "loop")
_LAYERS = {"lvm": "LVM", "crypt": "LUKS", "mpath": "multipath", "rom": "a CD or DVD"}
# Where lsblk says that a device is used for swap.
_SWAP = "[SWAP]"
# Filesystem types by libblkid of what is a part of something larger, beside those in `_member`.
_PARTS = {
    "LVM2_member": "a physical volume of LVM",
    "linux_raid_member": "a member of a RAID",
    "zfs_member": "a member of a ZFS pool",
    "bcache": "a part of a bcache",
    "drbd": "a part of a DRBD",
    "stratis": "a member of a Stratis pool",
}
# BIOSes, and the layout of the stick, know no other.
_SECTOR = 512


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is on a device: a partition, what lies on that, or a filesystem without a partition."""

    name: str
    type: str
    number: str
    size: int
    filesystem: str
    label: str
    mounts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Device:
    """A block device; sizes are in bytes.

    `path` is what it was called by, `name` the kernel's, `disk` that of the disk whose partition
    it is, if it is one; `claimed` says that something has it, or a part of it, for itself.
    """

    path: Path
    name: str
    type: str
    number: str
    disk: str
    size: int
    sector_size: int
    read_only: bool
    removable: bool
    transport: str
    model: str
    vendor: str
    serial: str
    contents: tuple[Content, ...]
    claimed: bool


def look(path: Path) -> Device:
    """What a device is, and what is on it, as lsblk and the kernel tell.

    Raises `StiefelError` if there is no such device, or lsblk does not understand it.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = f"cannot find {path}: {error.strerror}"
        raise StiefelError(reason, hint="lsblk lists the devices that are there") from error
    if not stat.S_ISBLK(mode):
        hint = "--image FILE writes an image; lsblk lists the devices that are there"
        raise StiefelError(f"{path} is no block device", hint=hint)
    # With --all, since it is silent else about a card reader without a card.
    command = ["lsblk", "--json", "--bytes", "--paths", "--all", "--output", _COLUMNS, str(path)]
    said = run(command, timeout=_SECONDS).stdout
    return parse(said, path, claimed=_is_claimed(path), probe=_filesystem)


def require_unchanged(device: Device) -> None:
    """Raises `StiefelError` if the device is not what it was when it was looked at. Whether
    somebody has it for themselves, who opens it for us alone finds out; it may be ourselves."""
    if replace(look(device.path), claimed=device.claimed) != device:
        raise _another(device)


def require_opened(device: Device, handle: int) -> None:
    """Raises `StiefelError` if what was opened by the device's name is not what was looked at."""
    opened = os.fstat(handle).st_rdev
    if f"{os.major(opened)}:{os.minor(opened)}" != device.number:
        raise _another(device)


def _another(device: Device) -> StiefelError:
    return StiefelError(
        f"{device.name} is not as it was shown any more: something has changed it, or it is"
        " another device now",
        hint="look again, and begin anew",
    )


def parse(
    text: str, path: Path, *, claimed: bool = False, probe: Callable[[str], str] = lambda _: ""
) -> Device:
    """What lsblk says in JSON about one device; `probe` tells a filesystem that it does not."""
    try:
        (fields,) = json.loads(text)["blockdevices"]
        return _device(fields, path, claimed=claimed, probe=probe)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StiefelError(f"cannot understand what lsblk says about {path}: {error}") from error


def _device(
    fields: dict[str, Any], path: Path, *, claimed: bool, probe: Callable[[str], str]
) -> Device:
    number = _text(fields, "maj:min")
    return Device(
        path=path,
        name=_text(fields, "name"),
        type=_text(fields, "type"),
        number=number,
        disk=_text(fields, "pkname") if _text(fields, "type") == "part" else "",
        size=int(fields["size"] or 0),
        sector_size=int(fields["log-sec"]),
        read_only=_is_set(fields, "ro"),
        removable=_is_set(fields, "rm") or _is_sd_card(number),
        transport=_text(fields, "tran"),
        model=_text(fields, "model"),
        vendor=_text(fields, "vendor"),
        serial=_text(fields, "serial"),
        contents=tuple(one for one in _contents(fields, probe) if _is_something(one, number)),
        claimed=claimed,
    )


def _contents(fields: dict[str, Any], probe: Callable[[str], str]) -> Iterator[Content]:
    yield Content(
        name=_text(fields, "name"),
        type=_text(fields, "type"),
        number=_text(fields, "maj:min"),
        size=int(fields["size"] or 0),
        filesystem=_text(fields, "fstype") or probe(_text(fields, "name")),
        label=_text(fields, "label"),
        mounts=tuple(point for point in fields["mountpoints"] if point),
    )
    for child in fields.get("children", []):
        yield from _contents(child, probe)


def _is_something(content: Content, number: str) -> bool:
    """Not the device itself, unless it is used without partitions."""
    return content.number != number or bool(content.filesystem or content.mounts)


def _text(fields: dict[str, Any], key: str) -> str:
    return str(fields[key] or "").strip()


def _is_set(fields: dict[str, Any], key: str) -> bool:
    return fields[key] in (True, "1")


def _is_sd_card(number: str) -> bool:
    """SD cards are not removable to the kernel, as eMMC is not (Linux, mmc-dev-attrs)."""
    try:
        return (_SYSFS / number / "device/type").read_text().strip() == "SD"
    except OSError:
        return False


def _filesystem(name: str) -> str:
    """By blkid, which looks at the device: lsblk asks udev, which may not run or not know yet."""
    probe = ["blkid", "-p", "-s", "TYPE", "-o", "value", name]
    found = run(probe, check=False, timeout=_SECONDS)
    if found.returncode == _AMBIVALENT:
        raise StiefelError(
            f"{name} has the signatures of several filesystems, or of a pool or RAID beside one:"
            " what it is cannot be told",
            hint=f"`wipefs {name}` lists them; if all of it may go, wipefs --all {name}",
        )
    return found.stdout.strip()


def _is_claimed(path: Path) -> bool:
    """Whether a mount, in whatever namespace, or another device has it for itself: open(2)."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


def partition_path(device: Device, number: int) -> Path:
    """The name of a partition: sda1, but nvme0n1p1, since a digit is the disk's."""
    return Path(f"{device.name}{'p' if device.name[-1].isdigit() else ''}{number}")


def describe(device: Device) -> list[str]:
    """What a person may know the device by, one line for itself and one for each thing on it."""
    kind = ", ".join(
        word
        for word in (
            " ".join(filter(None, (device.vendor, device.model))) or "of unknown make",
            _size(device.size),
            device.transport.upper() if device.transport == "usb" else device.transport,
            "removable" if device.removable else "not removable",
            f"serial {device.serial}" if device.serial else "",
        )
        if word
    )
    lines = [f"{device.name}: {kind}"]
    for content in device.contents:
        words = [content.name, _size(content.size), content.filesystem or content.type]
        words += [f'"{content.label}"'] if content.label else []
        words += [f"mounted at {' and '.join(content.mounts)}"] if content.mounts else []
        lines.append("  " + "  ".join(words))
    return lines if device.contents else [*lines, "  no partitions, and no known filesystem"]


def _size(size: int) -> str:
    """As it is printed on sticks: not by powers of two."""
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def refuse(device: Device, *, boot_disk: Path | None, smallest: int, force_fixed: bool) -> None:
    """Raise `StiefelError` where a device must not become a stick.

    `boot_disk` is the configured one, if there is a configuration; `smallest` the size in bytes
    that a stick needs. `force_fixed` takes one that is neither removable nor USB.
    """
    _refuse_what_is_no_disk(device)
    _refuse_boot_disk(device, boot_disk)
    _refuse_used(device)
    _refuse_members(device)
    _refuse_unfit(device, smallest)
    if not (device.removable or device.transport == "usb" or force_fixed):
        raise StiefelError(
            f"{device.name} is neither removable nor connected by USB, so it may be this"
            " machine's own",
            hint="--force-fixed takes it all the same",
        )


def _refuse_what_is_no_disk(device: Device) -> None:
    if device.type == "part":
        raise StiefelError(
            f"{device.name} is a partition, and the stick has to be a whole disk",
            hint=f"the disk is {device.disk}",
        )
    if device.type not in _DISKS:
        raise StiefelError(
            f"{device.name} is {_LAYERS.get(device.type, device.type)}, and no disk",
            hint="name the device of a stick; lsblk lists those that are there",
        )


def _refuse_boot_disk(device: Device, boot_disk: Path | None) -> None:
    """By number: the configuration may have any link, or the name of a partition."""
    try:
        found = boot_disk.stat() if boot_disk else None
    except OSError:
        return  # it is not in this machine
    if not found or not stat.S_ISBLK(found.st_mode):
        return
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    if number in (device.number, *(content.number for content in device.contents)):
        raise StiefelError(
            f"{device.name} is boot.disk ({boot_disk}) of the configuration: the disk that is to"
            " be served, not the stick",
            hint="choose another device",
        )


def _refuse_used(device: Device) -> None:
    # That the machine runs from it tells more than that /boot is on it.
    for content in sorted(device.contents, key=lambda content: "/" not in content.mounts):
        _refuse_mounted(content)
    for content in device.contents:
        if content.type != "part" and content.number != device.number:
            kind = _LAYERS.get(content.type, content.type)
            raise StiefelError(
                f"{device.name} is in use: {content.name} ({kind}) lies on it",
                hint=f"close {content.name}, if it really is to go",
            )
    if device.claimed:
        raise StiefelError(
            f"{device.name} is in use: something on this machine has it for itself",
            hint="close what uses it: a mount in a container, a btrfs or ZFS of several devices",
        )


def _refuse_mounted(content: Content) -> None:
    if _SWAP in content.mounts:
        hint = f"swapoff {content.name} ends that, if it really is to go"
        raise StiefelError(f"{content.name} is in use as swap", hint=hint)
    if content.mounts:
        where = " and ".join(content.mounts)
        hint = f"umount {content.name}, if it really is to go"
        if "/" in content.mounts:
            hint = "this machine runs from it: choose another device"
        raise StiefelError(f"{content.name} is mounted at {where}", hint=hint)


def _refuse_members(device: Device) -> None:
    """Not in use, but somebody may want it again."""
    for content in device.contents:
        if member := _member(content.filesystem):
            raise StiefelError(
                f"{content.name} is {member} ({content.filesystem})",
                hint=f"wipefs --all {content.name} makes it none, if it really is to go",
            )


def _member(filesystem: str) -> str:
    """In words, what a thing is a part of; empty where it is whole."""
    # All of libblkid's for RAIDs and volumes end like this.
    general = "a member of a RAID or volume" if filesystem.endswith("_member") else ""
    return _PARTS.get(filesystem, general)


def _refuse_unfit(device: Device, smallest: int) -> None:
    if device.size == 0:
        hint = "insert a card or stick, or choose another device"
        raise StiefelError(f"there is no medium in {device.name}", hint=hint)
    if device.read_only:
        hint = "some cards and sticks have a switch for that"
        raise StiefelError(f"{device.name} is read-only", hint=hint)
    if device.size < smallest:
        raise StiefelError(
            f"{device.name} is too small: it has {_size(device.size)}, and needs {_size(smallest)}",
            hint="choose a larger one",
        )
    if device.sector_size != _SECTOR:
        raise StiefelError(
            f"{device.name} has sectors of {device.sector_size} bytes, and a stick that boots"
            f" every PC needs {_SECTOR}",
            hint="choose another device",
        )


def confirm(device: Device, *, ask: Callable[[str], str] = consent.answer) -> None:
    """Show what would be lost, and have the device's name typed.

    `ask` takes the question and returns the answer. Raises `StiefelError` for any other answer, and
    where there is none.
    """
    for line in describe(device):
        say(line)
    say(f"Everything on {device.name} will be lost.")
    short = device.name.removeprefix("/dev/")
    answer = ask(f"Type the device's name, {short}, to go on: ").strip()
    if answer not in (short, device.name):
        typed = f"{answer!r} was typed" if answer else "nothing was typed"
        raise StiefelError(f"{typed}, not {short}: nothing has been written")
