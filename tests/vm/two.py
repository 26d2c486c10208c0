"""Two virtual machines with a cable between them: a laptop that serves its disk, and a desktop."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stiefelsystem import cmdline
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.host import pack, vm
from stiefelsystem.host.laptop import DEMO, MIB, PARTITIONS, Kind, Laptop, Partition
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds, capabilities
from tests.vm.console import ask

CONSOLE = "console=ttyS0 quiet panic=1 oops=panic"
ENDED = "is done; the disk is closed, and has everything"
SECONDS = 300.0
_LINK = "/run/initramfs/stiefelsystem/stiefel-link"
_MAC = "52:54:00:00:00:2"  # and a digit


def parts(kind: Kind = DEMO, *, updated: bool = True) -> tuple[Path, Laptop]:
    """The ramdisk, and a virtual laptop, by default with a kernel that came after the setup; or a
    skipped test where they cannot be made or used."""
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn", "dumpe2fs")
    make = builds.updated_laptop if updated else builds.virtual_laptop
    settings, laptop = make(kind)
    return settings.paths.cpio, laptop


def copy_disk(laptop: Laptop, disk: Path) -> None:
    """A virtual laptop's disk of one's own."""
    subprocess.run(["cp", "--sparse=always", laptop.image, disk], check=True)


@contextmanager
def both(
    parts: tuple[Path, Laptop], disk: Path, *, kernel: str = "", initrd: str = ""
) -> Iterator[tuple[VirtualMachine, VirtualMachine]]:
    """A laptop that serves a disk from the beginning, and a desktop.

    `kernel` and `initrd` are the names that it serves, by default those of the later kernel.
    """
    image, laptop = parts
    version = builds.new_kernel(laptop)
    names = (kernel or f"vmlinuz-{version}", initrd or f"initrd.img-{version}")
    with vm.whole_ramdisk(image) as ramdisk:
        one, other = _hardware(laptop.cmdline, names, image, disk, ramdisk)
        folder = disk.parent
        with VirtualMachine(one, folder) as server, VirtualMachine(other, folder) as desktop:
            yield server, desktop


def _hardware(
    target: str, names: tuple[str, str], image: Path, disk: Path, ramdisk: Path
) -> list[Hardware]:
    settings = ServerSettings(
        disk=Path("/dev/vda"),
        part=Path("/dev/vda1"),
        kernel=names[0],
        initrd=names[1],
        cmdline=target,
        after="wait",
    )
    cable = vm.cable(disk.parent, "server", "client")
    sides = (
        ("server", f"{cmdline.SERVER_UNIT} {settings.words()}", "2", disk),
        ("client", cmdline.CLIENT_UNIT, "3", None),
    )
    return [
        Hardware(
            name=name,
            kernel=pack.kernel_of(image),
            initrd=ramdisk,
            cmdline=f"{words} {CONSOLE}",
            mac=f"{_MAC}{digit}",
            cable=cable[name],
            disk=its_disk,
        )
        for name, words, digit, its_disk in sides
    ]


def look_at_keeper(desktop: VirtualMachine) -> str:
    """The root is the laptop's, and the keeper in its place and rank; returns the keeper's PID."""
    assert ask(desktop, "findmnt -n -o SOURCE /") == "/dev/nbd0p2"
    status = json.loads(ask(desktop, f"{_LINK} status --json"))
    assert status["state"] == "connected"
    assert status["encryption"] == "wireguard"
    keeper = ask(desktop, "pidof @stiefel-link")
    assert ask(desktop, f"cat /proc/{keeper}/oom_score_adj") == "-1000"
    # It holds nothing of the root filesystem: neither its folder nor its program nor a file. Its
    # program by number, since systemd's initrd leaves it with another mount of the filesystem.
    program, place = ask(desktop, f"stat -L -c %d:%i /proc/{keeper}/exe {_LINK}").split()
    assert program == place
    assert "/dev/nbd0" not in ask(desktop, f"ls -l /proc/{keeper}/fd")
    return keeper


def verify(
    disk: Path, path: str, contents: str, *, partitions: Sequence[Partition] = PARTITIONS
) -> None:
    """These filesystems are clean, and a file on the last of them, the root's, has arrived."""
    for partition in partitions:
        part = _extract(disk, partition)
        checked = subprocess.run(["e2fsck", "-f", "-n", part], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stdout.decode()
        about = subprocess.run(["dumpe2fs", "-h", part], capture_output=True, check=True)
        assert b"needs_recovery" not in about.stdout
    command = ["debugfs", "-R", f"cat {path}", part]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == contents


def _extract(disk: Path, partition: Partition) -> Path:
    part = disk.with_suffix(f".{partition.name}")
    place = [f"skip={partition.offset // MIB}", f"count={partition.size // MIB}"]
    command = ["dd", f"if={disk}", f"of={part}", "bs=1M", *place, "conv=sparse", "status=none"]
    subprocess.run(command, check=True)
    return part
