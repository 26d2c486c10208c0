"""What would be missing on the desktop, by what lsblk and findmnt tell.

The form of the JSON is that of util-linux 2.38: numbers as text, `null` for what is not there, what
lies on several devices below each of them. test_preflight_storage meets it for real. The disks are
none of a real machine: types and filesystems are those that lsblk(8) and libblkid name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from stiefelsystem.host.preflight import disks, storage
from stiefelsystem.host.preflight.disks import Layout
from stiefelsystem.host.preflight.finding import Finding
from stiefelsystem.host.preflight.storage import Devices, Mount
from stiefelsystem.host.setup.root import Root
from tests.unit.preflight_tree import levels, settings, texts

WANTED = Path("/dev/disk/by-id/nvme-one")
NVME = "/dev/nvme9n1"


def device(
    name: str, kind: str, filesystem: str | None = None, *children: dict[str, Any], **more: str
) -> dict[str, Any]:
    """A node of lsblk's tree; device-mapper's devices get a kernel's name of their own."""
    kernel_name = f"/dev/dm-{crc32(name.encode())}" if name.startswith("/dev/mapper/") else name
    found: dict[str, Any] = {"name": name, "kname": kernel_name, "type": kind, "fstype": filesystem}
    found |= dict.fromkeys(("uuid", "label", "partuuid", "partlabel"))
    number = f"259:{crc32(name.encode())}"
    found |= {"maj:min": number, **more}
    return found | ({"children": list(children)} if children else {})


def laptop(*last: dict[str, Any]) -> dict[str, Any]:
    """A disk with an EFI system partition, a boot partition, and what is given."""
    return device(
        NVME,
        "disk",
        None,
        device(f"{NVME}p1", "part", "vfat", uuid="ABCD-EF01"),
        device(f"{NVME}p2", "part", "ext4", uuid="b-b"),
        *last,
    )


def layout(*nodes: dict[str, Any], mounts: dict[str, str], fstab: str = "") -> Layout:
    """Mounts as `{point: source}`, ext4 all, or `source type`; fstab as it is written."""
    mounted = []
    for point, what in mounts.items():
        source, _, filesystem = what.partition(" ")
        mounted.append({"target": point, "source": source, "fstype": filesystem or "ext4"})
    lines = []
    for line in fstab.splitlines():
        source, point, filesystem, options = line.split()[:4]
        lines.append(
            Mount(
                point=point, source=source, filesystem=filesystem, options=tuple(options.split(","))
            )
        )
    return Layout(
        devices=Devices(json.dumps({"blockdevices": nodes})),
        mounts=tuple(storage.parse_mounts(json.dumps({"filesystems": mounted}))),
        fstab=tuple(lines),
    )


def judged(found: Layout, real: str = NVME) -> list[Finding]:
    return disks.judge(found, WANTED, real)


USUAL = {"/boot": f"{NVME}p2", "/boot/efi": f"{NVME}p1 vfat"}


def test_plain() -> None:
    found = layout(
        laptop(device(f"{NVME}p3", "part", "ext4", uuid="r-r")),
        mounts={"/": f"{NVME}p3", **USUAL, "/proc": "proc proc", "/run": "tmpfs tmpfs"},
        fstab=f"UUID=r-r / ext4 defaults\nUUID=b-b /boot ext4 defaults\n{NVME}p9 /gone ext4 nofail",
    )
    (finding,) = judged(found)
    assert finding.level == "ok"
    assert finding.text == (
        f"/ is ext4 on the partition {NVME}p3, on {NVME}, which is boot.disk ({WANTED})"
    )


def luks_and_lvm() -> dict[str, Any]:
    """As Debian's installer makes it."""
    root = device("/dev/mapper/my--vg-root", "lvm", "ext4")
    swap = device("/dev/mapper/my--vg-swap_1", "lvm", "swap")
    crypt = device("/dev/mapper/nvme9n1p3_crypt", "crypt", "LVM2_member", root, swap)
    return device(f"{NVME}p3", "part", "crypto_LUKS", crypt)


def test_lvm_on_luks() -> None:
    found = layout(laptop(luks_and_lvm()), mounts={"/": "/dev/mapper/my--vg-root", **USUAL})
    (finding,) = judged(found)
    assert finding.level == "ok"
    assert (
        "ext4 on LVM /dev/mapper/my--vg-root, on LUKS /dev/mapper/nvme9n1p3_crypt, on the partition"
        f" {NVME}p3, on {NVME}," in finding.text
    )


def test_by_number() -> None:
    """/dev/root is no device; its number is that of one."""
    found = layout(laptop(device(f"{NVME}p3", "part", "ext4")), mounts={"/": "/dev/root"})
    number = f"259:{crc32(f'{NVME}p3'.encode())}"
    root = Mount(point="/", source="/dev/root", filesystem="ext4", number=number)
    assert levels(judged(found)) == ["obstacle"]
    assert levels(judged(Layout(devices=found.devices, mounts=(root,)))) == ["ok"]


def test_disk_that_is_not_there() -> None:
    found = layout(laptop(luks_and_lvm()), mounts={"/": "/dev/mapper/my--vg-root"})
    (finding,) = judged(found, "/dev/disk/by-id/nvme-one")
    assert finding.level == "obstacle"
    assert "there is no /dev/disk/by-id/nvme-one, which is boot.disk" in finding.text
    assert finding.hint == f"boot: disk: {NVME}"


def test_another_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What to write is said by the name that tells most."""
    for name in ("wwn-0x500", "usb-Some_Disk_SN1", "usb-Some_Disk_SN1_1", "nvme-eui.00"):
        (tmp_path / name).symlink_to(NVME)
    (tmp_path / "ata-Another").symlink_to("/dev/sda")
    monkeypatch.setattr(disks, "_BY_ID", tmp_path)
    other = device("/dev/sdx", "disk", None, device("/dev/sdx1", "part", "ntfs"))
    found = layout(laptop(luks_and_lvm()), other, mounts={"/": "/dev/mapper/my--vg-root"})
    (finding,) = judged(found, "/dev/sdx")
    assert finding.level == "obstacle"
    assert f"not on boot.disk ({WANTED}, /dev/sdx), but on {NVME}p3 (LUKS)" in finding.text
    assert finding.hint == f"boot: disk: {tmp_path}/usb-Some_Disk_SN1"


def test_the_disk_of_another_machine_is_not_suggested() -> None:
    remote = device("/dev/nbd0", "disk", None, device("/dev/nbd0p3", "part", "ext4"))
    (finding,) = judged(layout(remote, mounts={"/": "/dev/nbd0p3"}))
    assert finding.level == "obstacle"
    assert finding.hint == "run this on the machine that has the disk"


def test_partition_as_the_disk() -> None:
    found = layout(
        laptop(device(f"{NVME}p3", "part", "ext4")),
        mounts={"/": f"{NVME}p3", **USUAL},
        fstab="UUID=b-b /boot ext4 defaults\nUUID=ABCD-EF01 /boot/efi vfat nofail",
    )
    findings = judged(found, f"{NVME}p3")
    assert levels(findings) == ["ok", "note", "obstacle", "note"]
    assert findings[1].hint == f"boot: disk: {NVME}"
    assert "/boot would be missing" in findings[2].text


def test_names_of_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvme-Some").symlink_to(NVME)
    monkeypatch.setattr(disks, "_BY_ID", tmp_path)
    found = layout(laptop(device(f"{NVME}p3", "part", "ext4")), mounts={"/": f"{NVME}p3"})
    findings = disks.judge(found, Path(NVME), NVME)
    assert levels(findings) == ["ok", "note"]
    assert findings[1].hint == f"boot: disk: {tmp_path}/nvme-Some"


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ("defaults", "obstacle"),
        ("rw,nofail", "note"),
        ("x-systemd.automount", "note"),
        ("nofailure", "obstacle"),
    ],
)
@pytest.mark.parametrize("source", ["UUID=h-h", "/dev/disk/by-uuid/h-h", "/dev/sdx1", "LABEL=home"])
def test_separate_home(options: str, level: str, source: str) -> None:
    other = device("/dev/sdx1", "part", "xfs", uuid="h-h", label="home")
    found = layout(
        laptop(device(f"{NVME}p3", "part", "ext4")),
        device("/dev/sdx", "disk", None, other),
        mounts={"/": f"{NVME}p3", **USUAL},
        fstab=f"{source} /home xfs {options} 0 2",
    )
    finding = judged(found)[-1]
    assert finding.level == level
    assert finding.text.startswith("/home would be missing on the desktop: /dev/sdx1 is not on")
    assert ("write nofail" in finding.hint) == (level == "obstacle")


def test_automount_that_nobody_has_used() -> None:
    found = layout(
        laptop(device(f"{NVME}p3", "part", "ext4")),
        device("/dev/sdx", "disk", None, device("/dev/sdx1", "part", "vfat", uuid="e-e")),
        mounts={"/": f"{NVME}p3", "/efi": "systemd-1 autofs"},
        fstab="UUID=e-e /efi vfat x-systemd.automount",
    )
    assert "/efi would be missing on the desktop: /dev/sdx1" in texts(judged(found))


def test_usr_elsewhere() -> None:
    other = device("/dev/sdx", "disk", None, device("/dev/sdx1", "part", "ext4", uuid="u-u"))
    found = layout(
        laptop(device(f"{NVME}p3", "part", "ext4")),
        other,
        mounts={"/": f"{NVME}p3", "/usr": "/dev/sdx1"},
        fstab="UUID=u-u /usr ext4 nofail",
    )
    assert levels(judged(found)) == ["ok", "obstacle"]


def test_what_is_only_mounted_now() -> None:
    stick = device("/dev/sdx", "disk", None, device("/dev/sdx1", "part", "vfat", uuid="s-s"))
    found = layout(
        laptop(device(f"{NVME}p3", "part", "ext4")),
        stick,
        device("/dev/loop3", "loop", "squashfs"),
        device("/dev/sr0", "rom", "iso9660"),
        mounts={
            "/": f"{NVME}p3",
            "/media/stick": "/dev/sdx1 vfat",
            "/snap/core/1": "/dev/loop3 squashfs",
            "/media/cd": "/dev/sr0 iso9660",
            "/srv/nas": "nas:/srv nfs4",
            "/efi": "systemd-1 autofs",
        },
        fstab="UUID=s-s /other vfat noauto\nLABEL=gone /x ext4 defaults\n/dev/sdx1 none swap sw",
    )
    findings = judged(found)
    assert levels(findings) == ["ok", "note"]
    assert "/media/stick would be missing on the desktop: /dev/sdx1" in findings[1].text


def test_other_filesystems_that_are_not_known() -> None:
    found = layout(
        laptop(device(f"{NVME}p3", "part", "ext4")),
        mounts={"/": f"{NVME}p3", "/srv/nas": "nas:/srv nfs4", "/tank": "tank zfs"},
        fstab="nas:/srv /srv/nas nfs4 _netdev",
    )
    findings = judged(found)
    assert levels(findings) == ["ok", "note", "note"]
    assert "nas:/srv" in findings[1].text
    assert "/tank is on ZFS" in findings[2].text


def test_second_physical_volume_of_the_root() -> None:
    root = device("/dev/mapper/vg-root", "lvm", "ext4")
    found = layout(
        laptop(device(f"{NVME}p3", "part", "LVM2_member", root)),
        device("/dev/sdx", "disk", None, device("/dev/sdx2", "part", "LVM2_member", root)),
        device("/dev/sdy", "disk", "LVM2_member", root),
        mounts={"/": "/dev/mapper/vg-root"},
    )
    (finding,) = judged(found)
    assert finding.level == "obstacle"
    assert (
        "has only a part of /: on the desktop, /dev/sdx2 (physical volume of LVM) and /dev/sdy"
        " (physical volume of LVM) would be missing" in finding.text
    )


def test_second_physical_volume_of_the_group() -> None:
    root = device("/dev/mapper/my--vg-root", "lvm", "ext4")
    home = device("/dev/mapper/my--vg-home", "lvm", "ext4", uuid="h-h")
    other = device("/dev/mapper/my-vg--home", "lvm", "ext4")
    found = layout(
        laptop(device(f"{NVME}p3", "part", "LVM2_member", root)),
        device("/dev/sdx", "disk", "LVM2_member", home),
        device("/dev/sdy", "disk", "LVM2_member", other),
        mounts={"/": "/dev/mapper/my--vg-root", "/home": "/dev/mapper/my--vg-home"},
        fstab="/dev/mapper/my--vg-home /home ext4 nofail",
    )
    findings = judged(found)
    assert levels(findings) == ["ok", "obstacle", "note"]
    assert "group my-vg, which / is in, has a part on /dev/sdx (physical" in findings[1].text
    assert "/dev/sdy" not in texts(findings)


@pytest.mark.parametrize("level", ["raid0", "raid1", "raid5"])
def test_raid(level: str) -> None:
    root = device("/dev/md0", level, "ext4")
    found = layout(
        laptop(device(f"{NVME}p3", "part", "linux_raid_member", root)),
        device("/dev/sdx", "disk", None, device("/dev/sdx1", "part", "linux_raid_member", root)),
        mounts={"/": "/dev/md0"},
    )
    (finding,) = judged(found)
    assert finding.level == "obstacle"
    assert "/dev/sdx1 (member of a RAID) would be missing" in finding.text


def test_raid_on_one_disk() -> None:
    root = device("/dev/md0", "raid1", "ext4")
    members = [device(f"{NVME}p{n}", "part", "linux_raid_member", root) for n in (3, 4)]
    (finding,) = judged(layout(laptop(*members), mounts={"/": "/dev/md0"}))
    assert finding.level == "ok"
    assert f"on RAID (raid1) /dev/md0, on the partition {NVME}p3" in finding.text


def test_btrfs_of_several_devices() -> None:
    """findmnt names one of them; a number of its own is that of none."""
    both = {"uuid": "bt-rfs"}
    found = layout(
        laptop(device(f"{NVME}p3", "part", "btrfs", **both)),
        device("/dev/sdx", "disk", None, device("/dev/sdx1", "part", "btrfs", **both)),
        mounts={"/": f"{NVME}p3 btrfs", "/home": f"{NVME}p3 btrfs"},
    )
    first, *others = judged(found)
    assert first.level == "obstacle"
    assert "/dev/sdx1 (device of a btrfs) would be missing" in first.text
    assert levels(others) == ["note"]


def test_subvolumes() -> None:
    found = layout(
        laptop(device(f"{NVME}p3", "part", "btrfs", uuid="bt-rfs")),
        mounts={
            "/": f"{NVME}p3 btrfs",
            "/home": f"{NVME}p3 btrfs",
            "/.snapshots": f"{NVME}p3 btrfs",
        },
        fstab="UUID=bt-rfs / btrfs subvol=@\nUUID=bt-rfs /home btrfs subvol=@home",
    )
    assert levels(judged(found)) == ["ok"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("overlay overlay", "as in a container or a live system"),
        ("rpool/ROOT/debian zfs", "on ZFS"),
        ("server:/roots/laptop nfs4", "over the network"),
        ("root 9p", "over the network"),
        ("tmpfs tmpfs", "in memory"),
        ("/dev/fuse fuse.something", "fuse.something"),
    ],
)
def test_no_disk_below_the_root(source: str, said: str) -> None:
    (finding,) = judged(layout(laptop(), mounts={"/": source}))
    assert finding.level == "obstacle"
    assert said in finding.text


def test_chroot() -> None:
    (finding,) = judged(layout(laptop(), mounts={"/proc": "proc proc"}))
    assert finding.level == "obstacle"
    assert "chroot" in finding.text


def test_the_last_mount_is_seen() -> None:
    """The initrd's root may still be listed below the real one."""
    nodes = laptop(device(f"{NVME}p3", "part", "ext4"))
    found = layout(nodes, mounts={"/": f"{NVME}p3"})
    first = Mount(point="/", source="rootfs", filesystem="rootfs")
    assert levels(judged(Layout(devices=found.devices, mounts=(first, *found.mounts)))) == ["ok"]


def test_folder(tmp_path: Path) -> None:
    (finding,) = disks.look(Root(tmp_path), settings())
    assert finding.level == "note"
    assert "is a folder, not a mounted system" in finding.text
