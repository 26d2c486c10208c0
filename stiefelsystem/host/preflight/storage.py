"""Block devices and mounts, as lsblk and findmnt tell them: what lies on what."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stiefelsystem.console import StiefelError
from stiefelsystem.run import run

_SECONDS = 30.0
_BTRFS = Path("/sys/fs/btrfs")
# Filesystems that lie on several devices, each of which has the UUID of all.
_SPANNING = ("btrfs", "bcachefs")
_COLUMNS = "NAME,KNAME,TYPE,FSTYPE,UUID,LABEL,PARTUUID,PARTLABEL,MAJ:MIN"
_MOUNT_COLUMNS = "TARGET,SOURCE,FSTYPE,MAJ:MIN,OPTIONS"
_FSTAB_COLUMNS = "TARGET,SOURCE,FSTYPE,OPTIONS"
# fstab's words for a device, and lsblk's columns.
_TAGS = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}
_LINKS = {f"/dev/disk/by-{column}/": column for column in _TAGS.values()}
_KINDS = {
    "LVM2_member": "physical volume of LVM",
    "linux_raid_member": "member of a RAID",
    "isw_raid_member": "member of a firmware RAID",
    "ddf_raid_member": "member of a firmware RAID",
    "crypto_LUKS": "LUKS",
    "btrfs": "device of a btrfs",
    "bcachefs": "device of a bcachefs",
}
_LAYERS = {"lvm": "LVM", "crypt": "LUKS", "part": "the partition", "mpath": "multipath"}


@dataclass(frozen=True, kw_only=True)
class Device:
    """A block device; `parents` are the kernel's names of the devices that it lies on."""

    name: str
    kernel_name: str
    type: str
    filesystem: str
    number: str
    tags: tuple[tuple[str, str], ...]
    parents: tuple[str, ...]

    @property
    def uuid(self) -> str:
        """The UUID of the filesystem."""
        return dict(self.tags).get("uuid", "")

    @property
    def layer(self) -> str:
        """In words, what it adds to what is below."""
        kind = _LAYERS.get(self.type) or (
            f"RAID ({self.type})" if self.type.startswith("raid") else self.type
        )
        return f"{kind} {self.name}"

    @property
    def volume_group(self) -> str:
        """LVM's volume group that this is a volume of; its hyphens are doubled in names."""
        match = re.match(r"/dev/mapper/((?:[^-]|--)+)-(?!-)", self.name)
        return match[1].replace("--", "-") if match and self.type == "lvm" else ""

    @property
    def role(self) -> str:
        """In words, what it is to what lies on it."""
        return _KINDS.get(self.filesystem, "")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A mounted filesystem, or a line of fstab: `source` may be a tag, such as `UUID=…`."""

    point: str
    source: str
    filesystem: str
    number: str = ""
    options: tuple[str, ...] = ()


class Devices:
    """All block devices of this machine."""

    def __init__(self, text: str) -> None:
        self._devices: dict[str, Device] = {}
        parents: dict[str, dict[str, None]] = {}
        for fields, parent in _flat(_parsed("lsblk", text, "blockdevices"), ""):
            name = _text(fields, "kname")
            # What lies on several devices is listed below each of them.
            parents.setdefault(name, {}).update({parent: None} if parent else {})
            self._devices[name] = Device(
                name=_text(fields, "name"),
                kernel_name=name,
                type=_text(fields, "type"),
                filesystem=_text(fields, "fstype"),
                number=_text(fields, "maj:min"),
                tags=tuple((column, _text(fields, column)) for column in _TAGS.values()),
                parents=tuple(parents[name]),
            )

    def named(self, source: str, number: str = "") -> list[Device]:
        """The devices of a mount's source; several where a filesystem spans them. Empty where the
        source is none."""
        device = self._find(source) or self._by_number(number)
        if device is None:
            return []
        together = _together(device.kernel_name)
        return [
            one
            for one in self._devices.values()
            if one == device
            or one.kernel_name in together
            or (one.filesystem in _SPANNING and one.uuid and one.uuid == device.uuid)
        ]

    def paths(self, device: Device, disk: Device | None) -> Iterator[list[Device]]:
        """Each way from a device down to a physical one, or to `disk` if that is on the way."""
        if not device.parents or device == disk:
            yield [device]
            return
        for parent in device.parents:
            for path in self.paths(self._devices[parent], disk):
                yield [device, *path]

    def all(self) -> list[Device]:
        """All of them."""
        return list(self._devices.values())

    def _find(self, source: str) -> Device | None:
        tag, equals, value = source.partition("=")
        if equals and tag in _TAGS:
            return self._tagged(_TAGS[tag], value.strip("\"'"))
        for folder, column in _LINKS.items():
            if source.startswith(folder):
                return self._tagged(column, source.removeprefix(folder)) or self.at(source)
        # bcachefs names all its devices.
        return self.at(source.partition(":")[0] if source.startswith("/dev/") else source)

    def at(self, path: str) -> Device | None:
        """The device at a path, whatever links lead to it."""
        names = (path, os.path.realpath(path)) if path.startswith("/") else ()
        found = (one for one in self._devices.values() if {one.name, one.kernel_name} & {*names})
        return next(found, None)

    def _tagged(self, column: str, value: str) -> Device | None:
        tag = (column, value)
        return next((one for one in self._devices.values() if value and tag in one.tags), None)

    def _by_number(self, number: str) -> Device | None:
        # As in /dev/root, which is no device. btrfs has numbers of its own.
        known = (one for one in self._devices.values() if one.number == number)
        return next(known, None) if number else None


def _together(name: str) -> set[str]:
    """The kernel's names of all devices of a mounted btrfs that has this one (sysfs)."""
    for folder in _BTRFS.glob("*/devices"):
        names = {f"/dev/{path.name}" for path in folder.iterdir()}
        if name in names:
            return names
    return set()


def devices() -> Devices:
    """The block devices of this machine."""
    command = ["lsblk", "--json", "--paths", "--output", _COLUMNS]
    return Devices(run(command, timeout=_SECONDS).stdout)


def mounts() -> list[Mount]:
    """What is mounted."""
    command = ["findmnt", "--json", "--list", "--nofsroot", "--output", _MOUNT_COLUMNS]
    return parse_mounts(run(command, timeout=_SECONDS).stdout)


def fstab(path: str | os.PathLike[str]) -> list[Mount]:
    """The lines of an fstab; none if there is no such file."""
    if not os.path.isfile(path):
        return []
    command = ["findmnt", "--json", "--list", "--tab-file", str(path), "--output", _FSTAB_COLUMNS]
    # It fails for a file without lines.
    done = run(command, timeout=_SECONDS, check=False)
    return parse_mounts(done.stdout) if done.stdout.strip() else []


def parse_mounts(text: str) -> list[Mount]:
    """What findmnt tells in JSON."""
    return [
        Mount(
            point=_text(fields, "target"),
            source=_text(fields, "source"),
            filesystem=_text(fields, "fstype"),
            number=_text(fields, "maj:min"),
            options=tuple(_text(fields, "options").split(",")),
        )
        for fields, _ in _flat(_parsed("findmnt", text, "filesystems"), "")
    ]


def _flat(nodes: list[dict[str, Any]], parent: str) -> Iterator[tuple[dict[str, Any], str]]:
    for node in nodes:
        yield node, parent
        yield from _flat(node.get("children", []), _text(node, "kname"))


def _parsed(program: str, text: str, key: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text or "{}").get(key, [])
    except (ValueError, AttributeError) as error:
        raise StiefelError(f"cannot understand what {program} says: {error}") from error
    return list(found)


def _text(fields: dict[str, Any], key: str) -> str:
    """A field; what a device has not is null. Names that are not there are not asked for."""
    return str(fields.get(key) or "")
