"""Whether a filesystem's journal is found to be waiting; by what their own tools make."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from stiefelsystem.ramdisk import disk
from stiefelsystem.ramdisk.journal import awaits_replay
from tests import capabilities

# linux/btrfs_tree.h: struct btrfs_super_block, which lies here.
_BTRFS_LOG_ROOT = (64 << 10) + 96


def call(*argv: str | Path) -> str:
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    command = [str(word) for word in argv]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout


def image(folder: Path, size: int) -> Path:
    (folder / "image").touch()
    os.truncate(folder / "image", size)
    return folder / "image"


@pytest.mark.parametrize("kind", ["ext3", "ext4"])
def test_ext(tmp_path: Path, kind: str) -> None:
    capabilities.require_tools("mke2fs", "debugfs", "e2fsck")
    one = image(tmp_path, 16 << 20)
    call("mke2fs", "-q", "-t", kind, one)
    assert not awaits_replay(one)
    assert disk.check(one).unclean == ()
    call("debugfs", "-w", "-R", "feature needs_recovery", one)
    assert awaits_replay(one)
    assert disk.check(one).unclean == (one,)
    before = one.read_bytes()
    disk.check(one)
    assert one.read_bytes() == before
    subprocess.run(["e2fsck", "-fy", one], capture_output=True, check=False)
    assert not awaits_replay(one)


def test_btrfs(tmp_path: Path) -> None:
    capabilities.require_tools("mkfs.btrfs", "btrfs")
    one = image(tmp_path, 128 << 20)
    call("mkfs.btrfs", "-q", one)
    assert not awaits_replay(one)
    with one.open("r+b") as file:
        file.seek(_BTRFS_LOG_ROOT)
        file.write(struct.pack("<Q", 5 << 20))
    # As its own tool reads it.
    told = call("btrfs", "inspect-internal", "dump-super", "--force", one)
    assert f"log_root\t\t{5 << 20}" in told
    assert awaits_replay(one)


@pytest.mark.parametrize("content", [b"", b"\0" * 3000, b"\xff" * (1 << 18), os.urandom(1 << 18)])
def test_what_is_no_filesystem(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    assert not awaits_replay(tmp_path / "image")


def test_xfs_does_not_tell(tmp_path: Path) -> None:
    capabilities.require_tools("mkfs.xfs")
    one = image(tmp_path, 320 << 20)
    call("mkfs.xfs", "-q", one)
    assert not awaits_replay(one)
