"""Which devices may not become a stick: by what lsblk says of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import device as devices
from tests import capabilities
from tests.unit.one_device import GB, node, read, refusal, stick

# A device, and what the message and the hint of its refusal have in them.
REFUSED = {
    "a partition": (
        node("sdb1", pkname="/dev/sdb", rm=True, tran="usb"),
        "/dev/sdb1 is a partition, and the stick has to be a whole disk",
        "the disk is /dev/sdb",
    ),
    "a partition of NVMe": (
        node("nvme0n1p2", pkname="/dev/nvme0n1"),
        "/dev/nvme0n1p2 is a partition",
        "the disk is /dev/nvme0n1",
    ),
    "a volume of LVM": (
        node("mapper/vg-home", type="lvm"),
        "/dev/mapper/vg-home is LVM, and no disk",
        "lsblk",
    ),
    "a RAID": (node("md0", type="raid1"), "/dev/md0 is raid1, and no disk", "lsblk"),
    "a DVD": (node("sr0", type="rom", rm=True), "/dev/sr0 is a CD or DVD, and no disk", ""),
    "mounted": (
        stick(node("sdb1", fstype="vfat", mountpoints=["/media/me/DATA"])),
        "/dev/sdb1 is mounted at /media/me/DATA",
        "umount /dev/sdb1",
    ),
    "mounted without partitions": (
        stick(fstype="vfat", mountpoints=["/mnt"]),
        "/dev/sdb is mounted at /mnt",
        "umount /dev/sdb",
    ),
    "the running system": (
        stick(
            node("sdb1", fstype="ext4", mountpoints=["/boot"]),
            node("sdb2", fstype="ext4", mountpoints=["/run/netns", "/"]),
        ),
        "/dev/sdb2 is mounted at /run/netns and /",
        "this machine runs from it",
    ),
    "swap": (
        stick(node("sdb1", fstype="swap", mountpoints=["[SWAP]"])),
        "/dev/sdb1 is in use as swap",
        "swapoff /dev/sdb1",
    ),
    "swap deep below": (
        stick(node("sdb1", node("mapper/s", type="crypt", number="253:0", mountpoints=["[SWAP]"]))),
        "/dev/mapper/s is in use as swap",
        "swapoff /dev/mapper/s",
    ),
    "LVM in use": (
        stick(node("sdb1", node("mapper/vg-a", type="lvm", number="253:1"), fstype="LVM2_member")),
        "/dev/sdb is in use: /dev/mapper/vg-a (LVM) lies on it",
        "close /dev/mapper/vg-a",
    ),
    "the running system on LVM": (
        stick(
            node(
                "sdb1",
                node("mapper/vg-a", type="lvm", number="253:1", mountpoints=["/"]),
                fstype="LVM2_member",
            )
        ),
        "/dev/mapper/vg-a is mounted at /",
        "this machine runs from it",
    ),
    "LUKS on the whole disk": (
        stick(node("mapper/a", type="crypt", number="253:1"), fstype="crypto_LUKS"),
        "/dev/mapper/a (LUKS) lies on it",
        "close",
    ),
    "RAID in use": (
        stick(node("md0", type="raid1", number="9:0")),
        "/dev/md0 (raid1) lies on it",
        "",
    ),
    "multipath": (
        stick(node("mapper/mpatha", type="mpath", number="253:2")),
        "/dev/mapper/mpatha (multipath) lies on it",
        "",
    ),
    "another mapping": (
        stick(node("mapper/x", type="dm", number="253:3")),
        "/dev/mapper/x (dm) lies on it",
        "",
    ),
    "bcache in use, a disk to lsblk": (
        stick(node("bcache0", type="disk", number="252:0")),
        "/dev/bcache0 (disk) lies on it",
        "",
    ),
    "a physical volume": (
        stick(node("sdb1", fstype="LVM2_member")),
        "/dev/sdb1 is a physical volume of LVM (LVM2_member)",
        "wipefs --all /dev/sdb1",
    ),
    "a physical volume without partitions": (
        stick(fstype="LVM2_member"),
        "/dev/sdb is a physical volume of LVM",
        "wipefs --all /dev/sdb",
    ),
    "a RAID's member": (
        stick(fstype="linux_raid_member"),
        "/dev/sdb is a member of a RAID (linux_raid_member)",
        "wipefs",
    ),
    "a firmware RAID's member": (
        stick(fstype="isw_raid_member"),
        "/dev/sdb is a member of a RAID or volume (isw_raid_member)",
        "wipefs",
    ),
    "a ZFS pool's member": (
        stick(node("sdb1", fstype="zfs_member"), node("sdb9", number="8:25")),
        "/dev/sdb1 is a member of a ZFS pool",
        "wipefs --all /dev/sdb1",
    ),
    "bcache": (stick(fstype="bcache"), "/dev/sdb is a part of a bcache", "wipefs"),
    "no card": (stick(size=0), "there is no medium in /dev/sdb", "insert a card"),
    "nothing known of its size": (stick(size=None), "there is no medium in /dev/sdb", ""),
    "read-only": (stick(ro=True), "/dev/sdb is read-only", "switch"),
    "too small": (
        stick(size=64 * 10**6),
        "/dev/sdb is too small: it has 64.0 MB, and needs 1.0 GB",
        "larger",
    ),
    "large sectors": (stick(log_sec=4096), "/dev/sdb has sectors of 4096 bytes", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """Whether it is forced or not."""
    said, message, hint = REFUSED[name]
    for force_fixed in (False, True):
        found = refusal(read(said), force_fixed=force_fixed)
        assert message in found[0]
        assert hint in found[1]


def test_claimed() -> None:
    """What has the device is not seen by lsblk then."""
    for filesystem in ("btrfs", "zfs_member"):
        device = read(stick(fstype=filesystem), claimed=True)
        assert "/dev/sdb is in use: something" in refusal(device)[0]


FIXED = {
    "SATA": node("sda", type="disk", number="8:0", tran="sata"),
    "NVMe": node("nvme0n1", type="disk", number="259:0", tran="nvme"),
    "eMMC": node("mmcblk0", type="disk", number="179:0", tran="mmc"),
    "virtual": node("vda", type="disk", number="254:0", vendor="0x1af4", tran="virtio"),
    "loop": node("loop0", type="loop", number="7:0"),
}


@pytest.mark.parametrize("name", FIXED)
def test_fixed(name: str) -> None:
    device = read(FIXED[name])
    message, hint = refusal(device)
    assert f"{device.name} is neither removable nor connected by USB" in message
    assert "--force-fixed" in hint
    assert refusal(device, force_fixed=True) == ("", "")


REMOVABLE = {
    "a USB disk": node("sdc", type="disk", number="8:32", tran="usb"),
    "a card in a reader": node("sdd", type="disk", number="8:48", rm=True, tran="usb"),
    "a hot-plugged SATA disk": node("sde", type="disk", number="8:64", rm=True, tran="sata"),
}


@pytest.mark.parametrize("name", REMOVABLE)
def test_removable(name: str) -> None:
    assert refusal(read(REMOVABLE[name])) == ("", "")


@pytest.mark.parametrize(("kind", "removable"), [("SD\n", True), ("MMC\n", False)])
def test_cards(kind: str, removable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel calls neither removable."""
    folder = tmp_path / "179:0/device"
    folder.mkdir(parents=True)
    (folder / "type").write_text(kind)
    monkeypatch.setattr(devices, "_SYSFS", tmp_path)
    part = node("mmcblk0p1", number="179:1", pkname="/dev/mmcblk0", fstype="vfat")
    device = read(node("mmcblk0", part, type="disk", number="179:0"))
    assert device.removable == removable
    assert (refusal(device) == ("", "")) == removable


def test_boot_disk_that_is_not_there() -> None:
    """Nor a device: a container's configuration may name a file."""
    for boot_disk in (Path("/dev/disk/by-id/none"), Path("/dev/null")):
        devices.refuse(read(stick()), boot_disk=boot_disk, smallest=GB, force_fixed=False)


def test_this_machine() -> None:
    """The real lsblk, of a disk that runs this machine, if there is one."""
    number = os.stat("/").st_dev
    path = Path(f"/dev/block/{os.major(number)}:{os.minor(number)}")
    found = Path("/sys/dev/block") / path.name
    if not found.exists() or not (disk := Path("/dev") / found.resolve().name).is_block_device():
        pytest.skip("/ lies on no block device")
    message, _ = refusal(devices.look(disk), force_fixed=True)
    assert "mounted at" in message or "is a partition" in message or "no disk" in message


def test_signatures_of_several_filesystems(tmp_path: Path) -> None:
    """Those of FAT and of btrfs, by its magic (btrfs' on-disk format): nothing to be overlooked."""
    capabilities.require_tools("blkid", "mkfs.vfat")
    image = tmp_path / "stick.img"
    image.touch()
    os.truncate(image, 64 << 20)
    subprocess.run(["mkfs.vfat", "-F32", image], check=True, capture_output=True)
    assert devices._filesystem(str(image)) == "vfat"
    with image.open("r+b") as file:
        file.seek(0x10040)
        file.write(b"_BHRfS_M")
    with pytest.raises(StiefelError, match="signatures of several filesystems") as caught:
        devices._filesystem(str(image))
    assert "wipefs" in caught.value.hint


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is closed."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(StiefelError, match="nothing was typed"):
        devices.confirm(read(stick()))


def test_another_device_by_the_name_that_was_shown() -> None:
    other = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(StiefelError, match="not as it was shown"):
        devices.require_opened(read(stick()), other)
    os.close(other)
