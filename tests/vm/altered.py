"""Kernels that are not as they were signed, for virtual PCs that insist on signatures."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.host.firmware import Firmware, options
from stiefelsystem.host.laptop import PARTITIONS
from tests import capabilities


def require_secure_boot() -> None:
    """Skip the test where there is no firmware that insists on it."""
    try:
        options(Firmware.SECURE_BOOT)
    except StiefelError as error:
        capabilities.require(False, str(error))


def one_bit(kernel: bytes) -> bytes:
    """A kernel with another bit in its middle, which is packed code."""
    content = bytearray(kernel)
    content[len(content) // 2] ^= 1
    return bytes(content)


def replace_in_boot(disk: Path, file: Path) -> None:
    """Replace the file of this name in the boot partition of a laptop's disk."""
    place = f"{disk}?offset={PARTITIONS[0].offset}"
    for request in (f"rm {file.name}", f"write {file} {file.name}"):
        command = ["debugfs", "-w", "-R", request, place]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Its status tells nothing.
    assert "Allocated inode" in done.stdout, done.stderr
