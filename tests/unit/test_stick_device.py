"""Which devices may become a stick: by what lsblk says of each kind."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import device as devices
from stiefelsystem.host.stick.device import Device

GB = 10**9
# As lsblk of util-linux 2.38.1 writes it, character by character.
RECORDED = """{
   "blockdevices": [
      {
         "name": "/dev/loop0",
         "type": "loop",
         "maj:min": "7:0",
         "pkname": null,
         "size": 83886080,
         "log-sec": 512,
         "ro": false,
         "rm": false,
         "tran": null,
         "model": null,
         "vendor": null,
         "serial": null,
         "fstype": null,
         "label": null,
         "mountpoints": [
             null
         ],
         "children": [
            {
               "name": "/dev/loop0p1",
               "type": "part",
               "maj:min": "259:0",
               "pkname": "/dev/loop0",
               "size": 82837504,
               "log-sec": 512,
               "ro": false,
               "rm": false,
               "tran": null,
               "model": null,
               "vendor": null,
               "serial": null,
               "fstype": "ext4",
               "label": "MINE",
               "mountpoints": [
                   "/mnt/a", "/mnt/b"
               ]
            }
         ]
      }
   ]
}
"""


def node(name: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What lsblk says of one device, with its columns' keys; `-` is `_` here."""
    said = {
        "name": f"/dev/{name}",
        "type": "part",
        "maj:min": "8:17",
        "pkname": None,
        "size": 15 * GB,
        "log-sec": 512,
        "ro": False,
        "rm": False,
        "tran": None,
        "model": None,
        "vendor": None,
        "serial": None,
        "fstype": None,
        "label": None,
        "mountpoints": [None],
    }
    said |= {{"log_sec": "log-sec", "number": "maj:min"}.get(k, k): v for k, v in fields.items()}
    return {**said, "children": [*children]} if children else said


def read(top: dict[str, Any], path: str = "", *, claimed: bool = False) -> Device:
    text = json.dumps({"blockdevices": [top]})
    return devices.parse(text, Path(path or top["name"]), claimed=claimed)


def stick(*children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A USB stick, such as there are many."""
    of_a_stick = {
        "type": "disk",
        "number": "8:16",
        "rm": True,
        "tran": "usb",
        "model": "Ultra Fit",
        "vendor": "SanDisk ",
        "serial": "4C530001",
    }
    return node("sdb", *children, **{**of_a_stick, **fields})


def refusal(device: Device, *, force_fixed: bool = False, smallest: int = GB) -> tuple[str, str]:
    """Message and hint; both empty where the device is taken."""
    try:
        devices.refuse(device, boot_disk=None, smallest=smallest, force_fixed=force_fixed)
    except StiefelError as error:
        return str(error), error.hint
    return "", ""


def test_recorded() -> None:
    device = devices.parse(RECORDED, Path("link"))
    assert (device.path, device.name, device.number) == (Path("link"), "/dev/loop0", "7:0")
    assert (device.size, device.sector_size, device.disk) == (83886080, 512, "")
    (part,) = device.contents
    assert (part.name, part.filesystem, part.label) == ("/dev/loop0p1", "ext4", "MINE")
    assert part.mounts == ("/mnt/a", "/mnt/b")
    assert refusal(device)[0] == "/dev/loop0p1 is mounted at /mnt/a and /mnt/b"


@pytest.mark.parametrize("mountpoints", [[], [None]])
def test_a_stick(mountpoints: list[None]) -> None:
    """Its partition is mounted nowhere; versions of lsblk differ in how they say that."""
    part = node("sdb1", fstype="vfat", label="DATA", mountpoints=mountpoints, pkname="/dev/sdb")
    device = read(stick(part, mountpoints=mountpoints))
    assert refusal(device) == ("", "")
    assert devices.describe(device) == [
        "/dev/sdb: SanDisk Ultra Fit, 15.0 GB, USB, removable, serial 4C530001",
        '  /dev/sdb1  15.0 GB  vfat  "DATA"',
    ]


def test_numbers_as_text() -> None:
    """Some versions of lsblk put them into quotes."""
    device = read(stick(size="15000000000", rm="1", ro="0", **{"log-sec": "512"}))
    assert (device.size, device.removable, device.read_only) == (15 * GB, True, False)
    assert refusal(device) == ("", "")


def test_what_is_described() -> None:
    bare = read(stick(model=None, vendor=None, serial=None, size=64 * 10**6, rm=False))
    assert devices.describe(bare) == [
        "/dev/sdb: of unknown make, 64.0 MB, USB, not removable",
        "  no partitions, and no known filesystem",
    ]
    whole = read(stick(fstype="iso9660", label="Debian 13", mountpoints=["/media/x", "/y"]))
    assert devices.describe(whole)[1:] == [
        '  /dev/sdb  15.0 GB  iso9660  "Debian 13"  mounted at /media/x and /y'
    ]
    unknown = read(stick(node("sdb1"), node("sdb2", fstype="crypto_LUKS", number="8:18")))
    assert devices.describe(unknown)[1:] == [
        "  /dev/sdb1  15.0 GB  part",
        "  /dev/sdb2  15.0 GB  crypto_LUKS",
    ]


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
        stick(node("sdb1"), node("sdb2", fstype="ext4", mountpoints=["/run/netns", "/"])),
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


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("sda", "/dev/sda3"),
        ("sdaa", "/dev/sdaa3"),
        ("vdb", "/dev/vdb3"),
        ("nvme0n1", "/dev/nvme0n1p3"),
        ("mmcblk0", "/dev/mmcblk0p3"),
        ("loop12", "/dev/loop12p3"),
    ],
)
def test_partition_path(name: str, part: str) -> None:
    """Also where the device was called by a link."""
    device = read(node(name, type="disk"), "/dev/disk/by-id/usb-SanDisk_4C53-0:0")
    assert devices.partition_path(device, 3) == Path(part)


@pytest.mark.parametrize(
    "said", ["", "[]", "no JSON", "{}", '{"blockdevices": []}', '{"blockdevices": [{}]}']
)
def test_ugly_answers(said: str) -> None:
    with pytest.raises(StiefelError, match="cannot understand what lsblk says about /dev/sdb"):
        devices.parse(said, Path("/dev/sdb"))


def test_no_device(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match=r"cannot find .*/sdz: No such file") as caught:
        devices.look(tmp_path / "sdz")
    assert "lsblk" in caught.value.hint
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path, Path("/dev/null")):
        with pytest.raises(StiefelError, match=f"{path} is no block device") as caught:
            devices.look(path)
        assert "--image FILE" in caught.value.hint


def test_boot_disk_that_is_not_there() -> None:
    """Nor a device: a container's configuration may name a file."""
    for boot_disk in (Path("/dev/disk/by-id/none"), Path("/dev/null")):
        devices.refuse(read(stick()), boot_disk=boot_disk, smallest=GB, force_fixed=False)


@pytest.mark.parametrize("typed", ["sdb", "/dev/sdb", " sdb \n"])
def test_confirmed(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    part = node("sdb1", fstype="vfat", label="my \033[2J photos")
    device = read(stick(part), "/dev/disk/by-id/usb-x")
    devices.confirm(device, ask=lambda question: asked.append(question) or typed)
    assert asked == ["Type the device's name, sdb, to go on: "]
    shown = capsys.readouterr().err
    assert "/dev/sdb: SanDisk Ultra Fit, 15.0 GB" in shown
    assert '"my ?[2J photos"' in shown
    assert shown.endswith("Everything on /dev/sdb will be lost.\n")


@pytest.mark.parametrize("typed", ["", "y", "yes", "sda", "sdb1", "SDB", "/dev/disk/by-id/usb-x"])
def test_not_confirmed(typed: str) -> None:
    device = read(stick(), "/dev/disk/by-id/usb-x")
    with pytest.raises(StiefelError, match="nothing has been written"):
        devices.confirm(device, ask=lambda _: typed)


@pytest.mark.parametrize(("typed", "taken"), [("sdb\n", True), ("yes\n", False), ("", False)])
def test_confirmed_on_stdin(
    typed: str, taken: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question is on stderr, as all that is said; the end of input is a no."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    if taken:
        devices.confirm(read(stick()))
    else:
        with pytest.raises(StiefelError, match="nothing has been written"):
            devices.confirm(read(stick()))
    out, shown = capsys.readouterr()
    assert out == ""
    assert "Type the device's name, sdb, to go on: " in shown


def test_this_machine() -> None:
    """The real lsblk, of a disk that runs this machine, if there is one."""
    number = os.stat("/").st_dev
    path = Path(f"/dev/block/{os.major(number)}:{os.minor(number)}")
    found = Path("/sys/dev/block") / path.name
    if not found.exists() or not (disk := Path("/dev") / found.resolve().name).is_block_device():
        pytest.skip("/ lies on no block device")
    message, _ = refusal(devices.look(disk), force_fixed=True)
    assert "mounted at" in message or "is a partition" in message or "no disk" in message
