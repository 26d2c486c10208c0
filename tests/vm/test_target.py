"""What the laptop's OS is like on the desktop, and how its sessions end: a real Debian.

In one go: it kexecs the desktop's own ramdisk, which opens a second session, and reboots then. The
laptop waits each time, as its configuration says.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stiefelsystem import cmdline
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.host import pack, vm
from stiefelsystem.host.laptop import PARTITIONS, Laptop
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds, capabilities
from tests.vm.console import ask, log_in

_SECONDS = 300.0
_CONSOLE = "console=ttyS0 quiet panic=1 oops=panic"
_MAC = "52:54:00:00:00:2"  # and a digit
_ENDED = "is done; the disk is closed, and has everything"
_LINK = "/run/initramfs/stiefelsystem/stiefel-link"
# Into the ramdisk that the laptop has for itself, as the desktop's: both are one.
_LOAD = f"""\
import shutil, sys
from pathlib import Path
sys.path.insert(0, "/usr/local/lib/stiefelsystem")
from stiefelsystem import cpio, kexec
with open("/run/ramdisk", "w+b") as out:
    with open("/boot/stiefelsystem/initrd", "rb") as image:
        shutil.copyfileobj(image, out)
    cpio.append(out, Path("/etc/stiefelsystem/ramdisk.key.cpio").read_bytes())
    out.flush()
    kexec.load(Path("/boot/stiefelsystem/vmlinuz"), out, "{cmdline.CLIENT_UNIT} {_CONSOLE}")
"""


@contextmanager
def both(parts: tuple[Path, Laptop], disk: Path) -> Iterator[tuple[VirtualMachine, VirtualMachine]]:
    """A laptop that serves from the beginning, and a desktop; the disk is made anew for them."""
    image, laptop = parts
    subprocess.run(["cp", "--sparse=always", laptop.image, disk], check=True)
    with vm.whole_ramdisk(image) as ramdisk:
        one, other = _hardware(laptop, image, disk, ramdisk)
        folder = disk.parent
        with VirtualMachine(one, folder) as server, VirtualMachine(other, folder) as desktop:
            yield server, desktop


def _hardware(laptop: Laptop, image: Path, disk: Path, ramdisk: Path) -> list[Hardware]:
    settings = ServerSettings(
        disk=Path("/dev/vda"),
        part=Path("/dev/vda1"),
        kernel="vmlinuz-*",
        initrd="initrd.img-*",
        cmdline=laptop.cmdline,
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
            cmdline=f"{words} {_CONSOLE}",
            mac=f"{_MAC}{digit}",
            cable=cable[name],
            disk=its_disk,
        )
        for name, words, digit, its_disk in sides
    ]


def look_around(desktop: VirtualMachine) -> None:
    """Swap, sleep, watchdogs, the keeper's place and rank: on a disk at the end of a cable."""
    assert ask(desktop, "findmnt -n -o SOURCE /") == "/dev/nbd0p2"
    status = json.loads(ask(desktop, f"{_LINK} status --json"))
    assert status["state"] == "connected"
    assert status["encryption"] == "wireguard"
    # Not the disk's swap partition, though /etc/fstab names it.
    assert ask(desktop, "swapon --noheadings --show=NAME") == "/dev/zram0"
    masked = ask(desktop, "systemctl is-enabled suspend.target hibernate.target")
    assert masked == "masked-runtime masked-runtime"
    for unit in ("systemd-journald", "systemd-udevd"):
        assert ask(desktop, f"systemctl show -P WatchdogUSec {unit}") in ("0", "infinity")
    keeper = ask(desktop, "pidof @stiefel-link")
    assert ask(desktop, f"cat /proc/{keeper}/oom_score_adj") == "-1000"
    # It holds nothing of the root filesystem: neither its folder nor its program nor a file.
    assert ask(desktop, f"readlink /proc/{keeper}/exe") == _LINK
    assert "/dev/nbd0" not in ask(desktop, f"ls -l /proc/{keeper}/fd")
    assert ask(
        desktop, "networkctl --no-legend list stiefellink | tr -s ' ' '\\n' | tail -n 1"
    ) == ("unmanaged")
    assert ask(desktop, "cat /sys/block/nbd0/queue/write_cache") == "write back"
    # The secrets are in the keeper's memory, and nowhere else.
    places = "/stiefelsystem/session /run/initramfs/stiefelsystem/session"
    assert ask(desktop, f"ls {places} 2>/dev/null | wc -l") == "0"


def verify(disk: Path, contents: str) -> None:
    """The filesystems are clean, and the file has arrived."""
    for partition in PARTITIONS:
        part = disk.with_suffix(f".{partition.name}")
        with disk.open("rb") as whole, part.open("wb") as out:
            whole.seek(partition.offset)
            left = partition.size
            while left:
                left -= out.write(whole.read(min(left, 16 << 20)))
        checked = subprocess.run(["e2fsck", "-f", "-n", part], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stdout.decode()
        about = subprocess.run(["dumpe2fs", "-h", part], capture_output=True, check=True)
        assert b"needs_recovery" not in about.stdout
    command = ["debugfs", "-R", "cat /root/twice", part]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == contents


@pytest.fixture
def parts() -> tuple[Path, Laptop]:
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn", "dumpe2fs")
    settings, laptop = builds.virtual_laptop()
    return settings.paths.cpio, laptop


def test_two_sessions(parts: tuple[Path, Laptop], tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    with both(parts, disk) as (server, desktop):
        log_in(desktop)
        look_around(desktop)
        ask(desktop, "echo first >/root/twice")
        desktop.type(f"python3 - <<'END'\n{_LOAD}END\n")
        desktop.type("systemctl kexec\n")
        server.wait_for(_ENDED, _SECONDS)

        at, seen = server.position, desktop.position
        desktop.wait_for("the laptop serves on", _SECONDS, after=seen)
        log_in(desktop, after=seen)
        assert ask(desktop, "cat /root/twice") == "first"
        ask(desktop, "echo second >>/root/twice")
        desktop.type("systemctl reboot\n")
        desktop.wait_until_off(_SECONDS)
        server.wait_for(_ENDED, _SECONDS, after=at)
        server.press_ctrl_alt_delete()
        server.wait_until_off(_SECONDS)
    verify(disk, "first\nsecond\n")
    disk.unlink()
