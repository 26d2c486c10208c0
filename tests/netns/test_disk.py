"""What is found out about the laptop's disk when it is served: here, a loop device."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from stiefelsystem.ramdisk import disk
from tests import capabilities
from tests.namespaces import in_own_mounts
from tests.netns.machines import Hub, Machine, fill_laptop
from tests.netns.test_boot import nbdinfo, receive

# The table has one partition, from here to the end.
_PARTITION = 1 << 20


def call(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def laptop(hub: Hub) -> Machine:
    """A laptop whose disk has a partition, with a filesystem whose journal is waiting."""
    capabilities.require_tools("sfdisk", "mke2fs", "debugfs")
    laptop = hub.machine("laptop")
    fill_laptop(laptop)
    image = laptop.data / "disk.img"
    subprocess.run(["sfdisk", "--quiet", image], input=b"2048,,L\n", check=True)
    part = f"{image}?offset={_PARTITION}"
    kilobytes = (image.stat().st_size - _PARTITION) >> 10
    call("mke2fs", "-q", "-t", "ext4", "-E", f"offset={_PARTITION}", image, f"{kilobytes}k")
    call("debugfs", "-w", "-R", "feature needs_recovery", part)
    return laptop


@contextmanager
def attached(image: Path) -> Iterator[str]:
    """A loop device for a disk."""
    attach = ["losetup", "--find", "--show", "--partscan", image]
    done = subprocess.run(attach, capture_output=True, text=True, check=False)
    capabilities.require(done.returncode == 0, f"no loop devices: {done.stderr}")
    device = done.stdout.strip()
    try:
        if not Path(f"{device}p1").exists():  # a kernel that reads no tables
            sectors = (image.stat().st_size - _PARTITION) >> 9
            call("addpart", device, "1", str(_PARTITION >> 9), str(sectors))
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def device(laptop: Machine) -> Iterator[str]:
    """The laptop's disk."""
    with attached(laptop.data / "disk.img") as device:
        yield device


@pytest.fixture
def without_discard(laptop: Machine) -> Iterator[str]:
    """The same on a filesystem whose files have no holes, so that the disk cannot discard."""
    folder = laptop.data / "ramfs"
    folder.mkdir()
    call("mount", "-t", "ramfs", "ramfs", folder)
    try:
        shutil.copy(laptop.data / "disk.img", folder)
        with attached(folder / "disk.img") as device:
            yield device
    finally:
        call("umount", folder)


def test_a_waiting_journal_is_reported_and_served(hub: Hub, laptop: Machine, device: str) -> None:
    capabilities.require(Path(f"{device}p1").exists(), "no partitions of loop devices")
    desktop = hub.machine("desktop")
    with laptop.server(disk=device) as server:
        server.wait_for("serving, waiting for the desktop")
        client = receive(desktop)
        note = f"{device}p1: was not unmounted; its journal awaits replay"
        server.wait_for(note)
        assert f"the laptop says: {note}" in client.output
        assert nbdinfo(desktop, laptop).returncode == 0


@pytest.mark.parametrize("kind", ["device", "without_discard"])
def test_trim_only_where_the_disk_can(
    hub: Hub, laptop: Machine, kind: str, request: pytest.FixtureRequest
) -> None:
    device = request.getfixturevalue(kind)
    limit = Path(f"/sys/class/block/{Path(device).name}/queue/discard_max_bytes").read_text()
    discards = kind == "device"
    capabilities.require(discards == (limit != "0\n"), f"{device} has another limit: {limit}")
    desktop = hub.machine("desktop")
    with laptop.server(disk=device) as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for("is open to it, and to nobody else")
        assert (nbdinfo(desktop, laptop, "--can", "trim").returncode == 0) == discards
        assert nbdinfo(desktop, laptop, "--can", "flush").returncode == 0


@in_own_mounts
def test_the_top_of_a_btrfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the subvolume that is mounted by default; here without the snapshot, which takes a
    kernel's module."""
    capabilities.require_root()
    capabilities.require_tools("mkfs.btrfs", "btrfs", "losetup")
    image, folder = tmp_path / "image", tmp_path / "mounted"
    image.touch()
    os.truncate(image, 200 << 20)
    call("mkfs.btrfs", "-q", image)
    folder.mkdir()
    device = call("losetup", "--find", "--show", image)
    try:
        call("mount", device, folder)
        call("btrfs", "subvolume", "create", folder / "@")
        call("btrfs", "subvolume", "set-default", folder / "@")
        (folder / "@/vmlinuz").touch()
        call("umount", folder)
        monkeypatch.setattr(disk, "_snapshot", nullcontext)
        with disk.boot_folder(Path(device)) as found:
            assert (found / "@/vmlinuz").is_file()
    finally:
        call("losetup", "--detach", device)
