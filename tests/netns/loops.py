"""Loop devices of a few MiB, which become sticks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import capabilities

MIB = 1 << 20
SIZE = 24 * MIB
OLD = b"what was on it before. ".ljust(64, b".")


def call(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def attached(backing: Path, *options: str) -> Iterator[Path]:
    """A loop device for a file."""
    capabilities.require_root()
    capabilities.require_tools("losetup", "lsblk")
    command = ["losetup", "--find", "--show", "--partscan", *options, backing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    capabilities.require(done.returncode == 0, f"no loop devices: {done.stderr}")
    try:
        yield Path(done.stdout.strip())
    finally:
        call("losetup", "--detach", done.stdout.strip())


@contextmanager
def partitioned(loop: Path) -> Iterator[Path]:
    """A partition on it, also where the kernel reads no tables."""
    call("addpart", loop, "1", "2048", str((16 * MIB) >> 9))
    try:
        yield Path(f"{loop}p1")
    finally:
        call("delpart", loop, "1")


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """What is on a device, which has been in use."""
    path = tmp_path / "device"
    path.write_bytes(OLD * (SIZE // len(OLD)))
    return path


@pytest.fixture
def loop(backing: Path) -> Iterator[Path]:
    with attached(backing) as path:
        yield path


@pytest.fixture
def part(loop: Path) -> Iterator[Path]:
    with partitioned(loop) as path:
        yield path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """As large as the device, sparse, with data up to 8 KiB behind 9 MiB, and a hole before."""
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.write(os.urandom(3 * MIB))
        file.seek(6 * MIB)
        file.write(os.urandom(3 * MIB + 8192))
        file.truncate(SIZE)
    return path


def alter(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
