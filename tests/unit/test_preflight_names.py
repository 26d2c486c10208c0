"""Names that fstab and crypttab have, and that mean another disk on the desktop."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.host.preflight import names
from stiefelsystem.host.setup.root import Root
from tests.unit.preflight_tree import levels, put, settings, texts


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("UUID=b-b /boot ext4 defaults 0 2", ""),
        ("PARTUUID=b-b /boot ext4 defaults 0 2", ""),
        ("/dev/mapper/vg-home /home ext4 defaults 0 2", ""),
        ("/dev/disk/by-uuid/b-b /boot ext4 defaults 0 2", ""),
        ("/dev/disk/by-id/dm-name-vg-home /home ext4 defaults 0 2", ""),
        ("/dev/disk/by-id/lvm-pv-uuid-x /home ext4 defaults 0 2", ""),
        ("tmpfs /tmp tmpfs defaults 0 0", ""),
        ("/dev/sr0 /media/cdrom auto user 0 0", ""),
        ("/dev/sdb1 /media/stick vfat noauto,user 0 0", ""),
        ("#/dev/sda1 /boot ext4 defaults 0 2", ""),
        ("/dev/sda3 none swap sw 0 0", ""),
        ("/dev/sda2 / ext4 defaults 0 1", "note"),
        ("/dev/sda1 /boot ext4 defaults 0 2", "obstacle"),
        ("/dev/sdb1 /data ext4 nofail 0 2", "obstacle"),
        ("/dev/nvme0n1p1 /boot/efi vfat umask=0077 0 1", "obstacle"),
        ("/dev/mmcblk0p1 /boot ext4 defaults 0 2", "obstacle"),
        ("/dev/disk/by-id/ata-DISK_1-part1 /boot ext4 defaults 0 2", "obstacle"),
        ("/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part1 /boot ext4 defaults 0 2", "obstacle"),
    ],
)
def test_fstab(tmp_path: Path, line: str, level: str) -> None:
    put(tmp_path, {"etc/fstab": f"{line}\n"})
    assert levels(names.look(Root(tmp_path), settings())) == ([level] if level else [])


def test_swap_that_is_used(tmp_path: Path) -> None:
    put(tmp_path, {"etc/fstab": "/dev/sda3 none swap sw 0 0\n"})
    used = settings("boot: {disk: /dev/disk/by-id/nvme-one, swap: true}\n")
    assert levels(names.look(Root(tmp_path), used)) == ["obstacle"]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("crypt UUID=b-b none luks", ""),
        ("crypt /dev/sda3 none luks,noauto", ""),
        ("# crypt /dev/sda3 none luks", ""),
        ("crypt", ""),
        ("crypt /dev/sda3", "obstacle"),
        ("swap /dev/nvme0n1p3 /dev/urandom swap,cipher=aes-xts-plain64", "obstacle"),
        ("swap /dev/disk/by-id/ata-DISK_1-part3 /dev/urandom swap", "obstacle"),
    ],
)
def test_crypttab(tmp_path: Path, line: str, level: str) -> None:
    put(tmp_path, {"etc/crypttab": f"{line}\n"})
    assert levels(names.look(Root(tmp_path), settings())) == ([level] if level else [])


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("root=UUID=r-r", ""),
        ("root=/dev/mapper/vg-root", ""),
        ("root=/dev/disk/by-partuuid/x", ""),
        ("rd.luks.uuid=x", ""),
        ("root=/dev/sda2", "/dev/sda2"),
        ("root=/dev/vda1", "/dev/vda1"),
        ("cryptdevice=/dev/nvme0n1p2:crypt:allow-discards", "/dev/nvme0n1p2"),
        ('root="/dev/mmcblk0p2"', "/dev/mmcblk0p2"),
        ("rd.luks.name=/dev/disk/by-id/ata-DISK=x", "/dev/disk/by-id/ata-DISK=x"),
    ],
)
def test_command_line(word: str, named: str) -> None:
    said = texts(names.in_cmdline(f"ro {word} quiet"))
    assert (f"on the desktop, {named} is none or another disk" in said) is bool(named)
