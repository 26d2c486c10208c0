"""Where files are: by real mounts, and by what lsblk tells of disks that are not here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem import run
from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import partition
from stiefelsystem.laptop.partition import Place
from tests.namespaces import in_own_mounts

KERNEL, INITRD = Path("/boot/vmlinuz"), Path("/boot/initrd.img")
StandIn = Callable[[str, str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A program that prints what the real one prints elsewhere."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(run, "_PATH", f"{folder}:{run._PATH}")

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def lsblk(stand_in: StandIn, **fields: str | None) -> None:
    """lsblk as util-linux 2.38 answers for one device."""
    answer = json.dumps({"blockdevices": [fields]})
    stand_in("lsblk", f"cat <<'END'\n{answer}\nEND")


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


@in_own_mounts
def test_mounted_filesystems(tmp_path: Path) -> None:
    top, boot = tmp_path / "a root", tmp_path / "a root/boot"
    top.mkdir()
    mount("-t", "tmpfs", "of-root", top)
    boot.mkdir()
    (top / "initrd").touch()
    mount("-t", "tmpfs", "hidden", boot)  # as automounts are
    mount("-t", "tmpfs", "of-boot", boot)
    (boot / "sub").mkdir()
    (boot / "sub/vmlinuz").touch()
    (boot / "link").symlink_to("../initrd")
    assert partition.place(top / "initrd") == Place(Path("of-root"), "initrd")
    assert partition.place(boot / "sub/vmlinuz") == Place(Path("of-boot"), "sub/vmlinuz")
    assert partition.place(boot / "link") == Place(Path("of-root"), "initrd")


@in_own_mounts
def test_a_folder_of_a_filesystem(tmp_path: Path) -> None:
    """What is mounted of it is a bind mount here, and is told as a subvolume is."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    mount("-t", "tmpfs", "device", whole)
    (whole / "@/boot").mkdir(parents=True)
    (whole / "@/boot/vmlinuz").touch()
    mount("--bind", whole / "@", part)
    assert partition.place(part / "boot/vmlinuz") == Place(Path("device"), "@/boot/vmlinuz")


def test_a_subvolume(stand_in: StandIn, tmp_path: Path) -> None:
    """findmnt's answer for a btrfs whose default subvolume is mounted."""
    mounted = {"target": str(tmp_path), "source": "/dev/sda2", "fsroot": "/@", "fstype": "btrfs"}
    stand_in("findmnt", f"cat <<'END'\n{json.dumps({'filesystems': [mounted]})}\nEND")
    found = partition.place(tmp_path / "boot/vmlinuz")
    assert found == Place(Path("/dev/sda2"), "@/boot/vmlinuz")


@pytest.mark.parametrize(
    "answer", ["", "{}", "[]", '{"filesystems": []}', '{"filesystems": [{"target": "/nowhere"}]}']
)
def test_findmnt_tells_nothing(stand_in: StandIn, answer: str) -> None:
    stand_in("findmnt", f"echo '{answer}'")
    with pytest.raises(StiefelError, match=r"^cannot find out what holds /etc/passwd"):
        partition.place(Path("/etc/passwd"))


def common(*devices: str) -> Path:
    places = [Place(Path(device), "x") for device in devices]
    return partition.common(places, [KERNEL, INITRD][: len(devices)])


def refused(*devices: str) -> str:
    with pytest.raises(StiefelError) as caught:
        common(*devices)
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize("kind", ["part", "disk"])
def test_a_plain_partition(stand_in: StandIn, kind: str) -> None:
    lsblk(stand_in, type=kind, uuid="12AB-34CD", fstype="vfat")
    assert common("/dev/sda1", "/dev/sda1") == Path("/dev/disk/by-uuid/12AB-34CD")


@pytest.mark.parametrize("kind", ["crypt", "lvm", "raid1", "loop"])
def test_what_the_ramdisk_could_not_read(stand_in: StandIn, kind: str) -> None:
    lsblk(stand_in, type=kind, uuid="1-2", fstype="ext4")
    said = refused("/dev/mapper/boot")
    assert said == f"{KERNEL} is on /dev/mapper/boot, which is {kind} that the ramdisk could read"


def test_no_device() -> None:
    assert "is on overlay, which is nothing that the ramdisk could read" in refused("overlay")


def test_no_uuid(stand_in: StandIn) -> None:
    lsblk(stand_in, type="part", uuid=None, fstype=None)
    assert refused("/dev/sda1") == f"the UUID of /dev/sda1, which holds {KERNEL}, is not known"


def test_two_partitions() -> None:
    said = refused("/dev/sda1", "/dev/sda2")
    assert "/boot/vmlinuz on /dev/sda1 and /boot/initrd.img on /dev/sda2" in said


def test_a_btrfs_of_several_devices(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "_BTRFS", tmp_path / "btrfs")
    lsblk(stand_in, type="part", uuid="1-2", fstype="btrfs")
    devices = tmp_path / "btrfs/1-2/devices"
    (devices / "sda1").mkdir(parents=True)
    assert common("/dev/sda1") == Path("/dev/disk/by-uuid/1-2")
    (devices / "sdb1").mkdir()
    assert "btrfs of several devices" in refused("/dev/sda1")


def test_the_same_device(tmp_path: Path) -> None:
    (tmp_path / "by-uuid").symlink_to("sda1")
    assert partition.is_same(tmp_path / "by-uuid", tmp_path / "sda1")
    assert not partition.is_same(tmp_path / "by-uuid", tmp_path / "sda2")
