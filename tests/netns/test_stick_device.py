"""Real devices, which are loop devices here: what is seen of them, and what is refused."""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import device as devices
from stiefelsystem.host.stick import write
from tests import capabilities
from tests.namespaces import in_own_mounts
from tests.netns.loops import MIB, SIZE, alter, attached, backing, call, image, loop, part

__all__ = ["backing", "image", "loop", "part"]  # the fixtures


def refusal(path: Path, *, boot_disk: Path | None = None, smallest: int = MIB) -> str:
    """Why it is refused though it is forced; empty where it is not."""
    device = devices.look(path)
    try:
        devices.refuse(device, boot_disk=boot_disk, smallest=smallest, force_fixed=True)
    except StiefelError as error:
        return str(error)
    return ""


def test_a_disk(loop: Path, tmp_path: Path) -> None:
    link = tmp_path / "usb-name"
    link.symlink_to(loop)
    device = devices.look(link)
    assert (device.path, device.name, device.size) == (link, str(loop), SIZE)
    assert (device.sector_size, device.removable, device.contents) == (512, False, ())
    assert refusal(link) == ""
    with pytest.raises(StiefelError, match="neither removable nor connected by USB"):
        devices.refuse(device, boot_disk=None, smallest=MIB, force_fixed=False)
    assert "is too small: it has 25.2 MB, and needs 30.0 MB" in refusal(loop, smallest=30 * 10**6)


def test_a_partition(loop: Path, part: Path) -> None:
    assert devices.partition_path(devices.look(loop), 1) == part
    assert refusal(part).startswith(f"{part} is a partition")
    assert devices.look(part).disk == str(loop)
    assert [content.name for content in devices.look(loop).contents] == [str(part)]
    assert refusal(loop) == ""


def test_boot_disk(loop: Path, part: Path, tmp_path: Path) -> None:
    """By any of its names, or those of its partition."""
    for target in (loop, part):
        link = tmp_path / f"link-to-{target.name}"
        link.symlink_to(target)
        for boot_disk in (target, link):
            wanted = f"{loop} is boot.disk ({boot_disk}) of the configuration"
            assert wanted in refusal(loop, boot_disk=boot_disk)
    assert refusal(loop, boot_disk=Path("/dev/disk/by-id/another")) == ""


@in_own_mounts
def test_mounted(loop: Path, part: Path, image: Path, tmp_path: Path) -> None:
    """It is named, refused, and could not be written either."""
    capabilities.require_tools("mkfs.ext4")
    folder = tmp_path / "mounted here"
    folder.mkdir()
    call("mkfs.ext4", "-q", part)
    call("mount", part, folder)
    try:
        device = devices.look(loop)
        assert f"  ext4  mounted at {folder}" in devices.describe(device)[1]
        assert refusal(loop) == f"{part} is mounted at {folder}"
        assert device.claimed
        with pytest.raises(StiefelError, match="is in use on this machine and cannot be written"):
            write.write(image, device)
    finally:
        call("umount", folder)
    assert refusal(loop) == ""


def test_a_physical_volume(part: Path, loop: Path) -> None:
    """Of LVM, which nobody uses: its label alone, as libblkid looks for it in the second sector."""
    label = b"LABELONE" + (1).to_bytes(8, "little") + bytes(4) + (32).to_bytes(4, "little")
    sector = bytearray((label + b"LVM2 001" + b"x" * 32).ljust(512, b"\0"))
    sector[16:20] = crc_of_lvm(sector[20:]).to_bytes(4, "little")
    alter(part, 512, bytes(sector))
    assert refusal(loop) == f"{part} is a physical volume of LVM (LVM2_member)"


def crc_of_lvm(data: bytes) -> int:
    """CRC-32 with a seed of its own, and not inverted: LVM2's format_text."""
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def test_swap(part: Path, loop: Path) -> None:
    capabilities.require_tools("mkswap", "swapon")
    call("mkswap", part)
    done = subprocess.run(["swapon", part], check=False, capture_output=True, text=True)
    capabilities.require(done.returncode == 0, f"no swap here: {done.stderr}")
    try:
        assert refusal(loop) == f"{part} is in use as swap"
    finally:
        call("swapoff", part)
    assert refusal(loop) == ""


def test_claimed(loop: Path) -> None:
    """By something that lsblk does not tell about."""
    handle = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        assert "is in use: something on this machine has it" in refusal(loop)
    finally:
        os.close(handle)
    assert refusal(loop) == ""


def test_read_only(backing: Path) -> None:
    with attached(backing, "--read-only") as loop:
        assert refusal(loop) == f"{loop} is read-only"


def test_large_sectors(backing: Path) -> None:
    with attached(backing, "--sector-size", "4096") as loop:
        assert refusal(loop).startswith(f"{loop} has sectors of 4096 bytes")


def test_no_medium(backing: Path) -> None:
    with attached(backing) as loop:
        pass
    assert refusal(loop) == f"there is no medium in {loop}"
