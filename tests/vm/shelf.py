"""Disks that somebody plugs into a running virtual machine, and pulls out again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from stiefelsystem.host.laptop import MIB
from stiefelsystem.host.vm import VirtualMachine
from tests.vm.console import ask


def blank(path: Path, size: int, *partitions: str) -> Path:
    """An image of `size` MiB, with nothing or with these partitions: lines of sfdisk(8)."""
    path.touch(mode=0o600)
    os.truncate(path, size * MIB)
    if partitions:
        table = "\n".join(("label: gpt", *partitions))
        subprocess.run(["sfdisk", "--quiet", path], input=table, text=True, check=True)
    return path


def plug_in(machine: VirtualMachine, disk: Path, device: str) -> None:
    """Plug a disk in, which is the next that the system has not, and so gets the name `device`."""
    name = disk.stem
    file = {"driver": "file", "filename": str(disk)}
    machine.order("blockdev-add", driver="raw", discard="unmap", file=file, **{"node-name": name})
    machine.order("device_add", driver="virtio-blk-pci", drive=name, id=name)
    there = f"until test -b {device}; do sleep 0.1; done; udevadm settle; echo there"
    assert ask(machine, there) == "there"
