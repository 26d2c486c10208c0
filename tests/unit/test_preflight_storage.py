"""lsblk and findmnt themselves, on what this machine has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import disks, storage
from stiefelsystem.host.preflight.storage import Devices
from stiefelsystem.host.setup.root import Root
from tests import capabilities
from tests.unit.preflight_tree import levels, put, settings

WANTED = Path("/dev/disk/by-id/nvme-one")


@pytest.mark.parametrize("said", ["", "[]", "no JSON", '{"blockdevices": []}'])
def test_ugly_answers(said: str) -> None:
    try:
        assert Devices(said).all() == []
    except StiefelError as error:
        assert "lsblk" in str(error)


def test_fstab(tmp_path: Path) -> None:
    """By the real findmnt."""
    capabilities.require_tools("findmnt")
    put(
        tmp_path,
        {"fstab": "# no\nUUID=a\t/with\\040blank ext4 ro,nofail 0 1\n\nLABEL=x none swap\n"},
    )
    first, second = storage.fstab(tmp_path / "fstab")
    assert (first.point, first.source) == ("/with blank", "UUID=a")
    assert "nofail" in first.options
    assert second.filesystem == "swap"
    put(tmp_path, {"empty": "# nothing\n"})
    assert storage.fstab(tmp_path / "empty") == []
    assert storage.fstab(tmp_path / "not-there") == []


def test_this_machine() -> None:
    """lsblk and findmnt of whatever runs the tests: it is judged, one way or another."""
    capabilities.require_tools("findmnt", "lsblk")
    findings = disks.judge(disks.layout(Root()), Path("/dev/disk/none"), "/dev/disk/none")
    assert "obstacle" in levels(findings)


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[list[str]]:
    """Two loop devices with a btrfs on both, of which a subvolume is mounted."""
    capabilities.require_root()
    capabilities.require_tools("losetup", "btrfs", "mkfs.btrfs", "lsblk", "findmnt")
    found: list[str] = []
    try:
        for name in ("one", "two"):
            with (tmp_path / name).open("wb") as file:
                file.truncate(120 << 20)
            attach = ["losetup", "--find", "--show", tmp_path / name]
            done = subprocess.run(attach, check=False, capture_output=True, text=True)
            capabilities.require(done.returncode == 0, f"no loop devices: {done.stderr}")
            found.append(done.stdout.strip())
        subprocess.run(["mkfs.btrfs", "-q", *found], check=True, capture_output=True)
        (tmp_path / "root").mkdir()
        root = tmp_path / "root"
        mount = ["mount", found[0], root]
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
        capabilities.require(done.returncode == 0, f"cannot mount btrfs: {done.stderr}")
        make = ["btrfs", "subvolume", "create", root / "@"]
        subprocess.run(make, check=True, capture_output=True)
        subprocess.run(["umount", root], check=True)
        subprocess.run([*mount, "-o", "subvol=@"], check=True)
        yield found
    finally:
        if os.path.ismount(tmp_path / "root"):
            subprocess.run(["umount", tmp_path / "root"], check=True)
        for one in found:
            subprocess.run(["losetup", "--detach", one], check=True)


def test_mounted_tree(loops: list[str], tmp_path: Path) -> None:
    """A system on two real devices, mounted somewhere, with the real programs."""
    root = Root(tmp_path / "root")
    put(root.path, {"etc/fstab": f"{loops[0]} / btrfs defaults\n"})
    found = disks.layout(root)
    assert found.fstab[0].point == "/"
    (finding,) = disks.judge(found, WANTED, loops[0])
    assert finding.level == "obstacle"
    assert f"has only a part of /: on the desktop, {loops[1]}" in finding.text
    # Names of this machine's kernel say nothing of another system's.
    config = settings(f"boot: {{disk: {loops[0]}}}\n")
    assert levels(disks.look(root, config)) == ["note"]
    (finding,) = disks.look(root, settings())
    assert "there is no /dev/disk/by-id/nvme-one" in finding.text
