"""Whether the disk that a desktop gets holds all of the system, and what would be missing there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.config import Config
from stiefelsystem.host.preflight import storage
from stiefelsystem.host.preflight.finding import Finding, note, obstacle, ok
from stiefelsystem.host.preflight.storage import Device, Devices, Mount
from stiefelsystem.host.setup.root import Root

_TOPIC = "disk"
_BY_ID = Path("/dev/disk/by-id")
# Names of a disk that tell a person nothing, though they are as good as the others.
_UGLY = ("wwn-", "nvme-eui.", "nvme-nvme.", "scsi-", "dm-", "lvm-", "md-")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "fuse.sshfs")
# The disk of a stiefeled OS: as good as none, since it is another machine's.
_REMOTE = "/dev/nbd"
# Without these a system does not start, whatever fstab allows.
_ESSENTIAL = ("/", "/usr", "/var", "/etc")
# A boot goes on without a mount that has one of these in fstab: systemd.mount(5).
_OPTIONAL = {"nofail", "x-systemd.automount"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What lies where: `mounts` and `fstab` are those of the system, by its own paths."""

    devices: Devices
    mounts: tuple[Mount, ...]
    fstab: tuple[Mount, ...] = ()


def look(root: Root, config: Config) -> list[Finding]:
    """What `/` and the other filesystems lie on, and whether that is `boot.disk`.

    Raises `StiefelError` if this cannot be found out.
    """
    wanted = config.boot.disk
    if root.path != Path("/"):
        if not os.path.ismount(root.path):
            text = f"{root.path} is a folder, not a mounted system: its disks are not known"
            return [note(_TOPIC, text)]
        if not wanted.is_relative_to("/dev/disk"):
            text = (
                f"boot.disk is {wanted}, a name that only the system itself gives:"
                f" not compared with what {root.path} lies on"
            )
            return [note(_TOPIC, text)]
    return judge(layout(root), wanted, os.path.realpath(wanted))


def layout(root: Root) -> Layout:
    """What lies where on this machine, for the system in a tree."""
    mounted = (_inside(root, mount) for mount in storage.mounts())
    return Layout(
        devices=storage.devices(),
        mounts=tuple(mount for mount in mounted if mount),
        fstab=tuple(storage.fstab(root.place(root.resolve("/etc/fstab")))),
    )


def _inside(root: Root, mount: Mount) -> Mount | None:
    point = Path(mount.point)
    if not point.is_relative_to(root.path):
        return None
    inside = Path("/") / point.relative_to(root.path)
    return Mount(
        point=str(inside),
        source=mount.source,
        filesystem=mount.filesystem,
        number=mount.number,
        options=mount.options,
    )


def judge(found: Layout, wanted: Path, real: str) -> list[Finding]:
    """Compare what lies where with `boot.disk`, which is `wanted`, and `real` without links."""
    # Of several at one place, the last one is seen.
    root = next((mount for mount in reversed(found.mounts) if mount.point == "/"), None)
    if root is None:
        text = "nothing is mounted at /, as in a chroot: what it lies on cannot be known"
        return [obstacle(_TOPIC, text, "run this on the laptop's own OS, or use --root")]
    holding = found.devices.named(root.source, root.number)
    if not holding:
        return [_without_disk(root)]
    disk = found.devices.at(real)
    if disk is None:
        text = f"there is no {wanted}, which is boot.disk, on this machine"
        return [obstacle(_TOPIC, text, _suggestion(found, holding))]
    here, elsewhere = _split(found, holding, disk)
    if not here:
        text = f"/ is not on boot.disk ({_names(wanted, real)}), but on {_listed(elsewhere)}"
        return [obstacle(_TOPIC, text, _suggestion(found, holding))]
    findings = []
    if elsewhere:
        text = f"boot.disk ({_names(wanted, real)}) has only a part of /: on the desktop, "
        text += f"{_listed(elsewhere)} would be missing"
        findings.append(obstacle(_TOPIC, text, "move / onto one disk"))
    else:
        text = f"{_described(found, root, holding, disk)}, which is boot.disk ({wanted})"
        findings.append(ok(_TOPIC, text))
        findings += _incomplete_groups(found, holding, disk)
    if disk.type == "part":
        text = f"boot.disk is the partition {disk.name}: the desktop gets that, and no other"
        findings.append(note(_TOPIC, text, _suggestion(found, holding)))
    elif not wanted.is_relative_to("/dev/disk") and (name := _by_id(disk.name)):
        text = f"boot.disk is {wanted}, which may be another disk when the ramdisk runs"
        findings.append(note(_TOPIC, text, f"boot: disk: {name}"))
    return [*findings, *_others(found, disk)]


def _without_disk(root: Mount) -> Finding:
    reasons = {
        "overlay": "as in a container or a live system",
        "tmpfs": "in memory",
        "zfs": "on ZFS, of whose disks this program knows nothing",
    }
    reason = reasons.get(root.filesystem, f"({root.filesystem})")
    if root.filesystem in _NETWORK:
        reason = "which comes over the network itself"
    return obstacle(_TOPIC, f"/ is {root.source}, {reason}: no disk that a desktop could get")


def _others(found: Layout, disk: Device) -> list[Finding]:
    """What else is mounted, or would be at each start, and is not on the disk."""
    lines = {
        mount.point: mount
        for mount in found.fstab
        if mount.point.startswith("/") and "noauto" not in mount.options
    }
    # An automount that nobody has used is known by its line in fstab.
    mounted = {mount.point: mount for mount in found.mounts if mount.filesystem != "autofs"}
    others = sorted({**lines, **mounted}.items())
    findings = [_other(found, mount, lines.get(point), disk) for point, mount in others]
    return [finding for finding in findings if finding]


def _other(found: Layout, mount: Mount, line: Mount | None, disk: Device) -> Finding | None:
    point = mount.point
    if point == "/":
        return None
    if mount.filesystem == "zfs":
        return note(_TOPIC, f"{point} is on ZFS: whether all of that is on boot.disk is not known")
    if mount.filesystem in _NETWORK:
        text = f"{point} comes over the network ({mount.source}): the desktop has to have that"
        return note(_TOPIC, text) if line else None
    holding = found.devices.named(mount.source, mount.number)
    # The file of a loop device lies on one of the others.
    if any(device.type in ("loop", "rom") for device in holding):
        return None
    _, elsewhere = _split(found, holding, disk)
    return _missing(point, elsewhere, line) if elsewhere else None


def _missing(point: str, elsewhere: list[str], line: Mount | None) -> Finding:
    text = f"{point} would be missing on the desktop: {_listed(elsewhere)} is not on boot.disk"
    if point in _ESSENTIAL:
        return obstacle(_TOPIC, text, "move it onto boot.disk")
    if line and not _OPTIONAL.intersection(line.options):
        return obstacle(
            _TOPIC,
            f"{text}, and fstab has the boot wait for it, and fail",
            f"write nofail to the options of {point} in /etc/fstab, or move it onto boot.disk",
        )
    return note(_TOPIC, text)


def _split(found: Layout, holding: Iterable[Device], disk: Device) -> tuple[bool, list[str]]:
    """Whether something of what some devices lie on is on the disk, and what is not, in words."""
    here = False
    elsewhere: dict[str, None] = {}
    for device in holding:
        for path in found.devices.paths(device, disk):
            if path[-1] == disk:
                here = True
            else:
                elsewhere[_member(path)] = None
    return here, list(elsewhere)


def _member(path: list[Device]) -> str:
    """The part of the physical disk at the end of a path that is used, and what for."""
    used = path[-2] if len(path) > 1 and path[-2].type == "part" else path[-1]
    return f"{used.name} ({used.role})" if used.role else used.name


def _incomplete_groups(found: Layout, holding: list[Device], disk: Device) -> list[Finding]:
    """The volume groups of LVM that / is in, as far as other volumes of theirs lie elsewhere."""
    paths = [path for device in holding for path in found.devices.paths(device, disk)]
    groups = {device.volume_group for path in paths for device in path} - {""}
    findings = []
    for group in sorted(groups):
        members = [one for one in found.devices.all() if one.volume_group == group]
        _, elsewhere = _split(found, members, disk)
        if elsewhere:
            text = f"the volume group {group}, which / is in, has a part on {_listed(elsewhere)},"
            text += " not on boot.disk: LVM does not start an incomplete group by itself"
            findings.append(obstacle(_TOPIC, text, "vgsplit or pvmove, and vgreduce, part them"))
    return findings


def _described(found: Layout, root: Mount, holding: list[Device], disk: Device) -> str:
    """What / lies on, from the filesystem down to the disk."""
    layers: dict[str, None] = {}
    for device in holding:
        for path in found.devices.paths(device, disk):
            layers |= {one.layer: None for one in path if one != disk}
    return f"/ is {root.filesystem} on {', on '.join([*layers, disk.name])}"


def _names(wanted: Path, real: str) -> str:
    return f"{wanted}, {real}" if str(wanted) != real else real


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def _suggestion(found: Layout, holding: list[Device]) -> str:
    """What to write to config.yaml, if / lies on one disk."""
    disks = {path[-1].name for device in holding for path in found.devices.paths(device, None)}
    if len(disks) != 1:
        return f"/ lies on several disks: {_listed(sorted(disks))}"
    name = disks.pop()
    if name.startswith(_REMOTE):
        return "run this on the machine that has the disk"
    return f"boot: disk: {_by_id(name) or name}"


def _by_id(disk: str) -> str:
    """The disk's name in /dev/disk/by-id that tells most."""
    try:
        links = sorted(_BY_ID.iterdir())
    except OSError:
        return ""
    found = [link for link in links if os.path.realpath(link) == disk]
    found.sort(key=lambda link: (link.name.startswith(_UGLY), link.name))
    return str(found[0]) if found else ""
