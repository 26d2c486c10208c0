"""Images that mkinitcpio would make, booted: a laptop's OS, on a desktop, in both flavours.

In one go: the laptop serves microcode and the image of the first flavour, whose session puts that
of the second into its place, as an update does. The first has a shell for an OS, the second the
laptop's own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from stiefelsystem import cmdline, config
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.host import pack, vm
from stiefelsystem.host.laptop import Laptop
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import capabilities, images
from tests.vm import composed
from tests.vm.console import ask, log_in
from tests.vm.two import CONSOLE, ENDED, SECONDS, look_at_keeper, parts, verify
from tests.vm.wire import teller

# Without what our settings leave out: there is nothing in arch/ for these words of HOOKS.
_BUSYBOX = "base udev autodetect filesystems resume shutdown"
_SYSTEMD = "base systemd autodetect filesystems sd-shutdown"
_MAC = "52:54:00:00:00:4"  # and a digit
_LINK = "/run/initramfs/stiefelsystem/stiefel-link"
_KERNEL, _IMAGE = config._LOAD["system-arch"]
_MICROCODE = "intel-ucode.img"
# The second session's image, until it takes the place of the first one's.
_NEXT = "next.img"


@dataclass(frozen=True)
class Machines:
    """What the laptop and its desktops are made of."""

    disk: Path
    kernel: Path
    ramdisk: Path
    laptop: Laptop

    def server(self) -> Hardware:
        settings = ServerSettings(
            disk=Path("/dev/vda"),
            part=Path("/dev/vda1"),
            kernel=_KERNEL,
            initrd=f"{_MICROCODE},{_IMAGE}",
            cmdline=self.laptop.cmdline,
            after="wait",
        )
        words = f"{cmdline.SERVER_UNIT} {settings.words()}"
        return self._hardware("server", words, "0", disk=self.disk)

    def desktop(self, name: str, digit: str, own: str = "") -> Hardware:
        """A desktop that adds some words to the OS's command line."""
        words = f"{cmdline.CLIENT_UNIT} stiefel_innercmdline={cmdline.encode(own)}"
        return self._hardware(name, words, digit)

    def _hardware(self, name: str, words: str, digit: str, disk: Path | None = None) -> Hardware:
        # One cable, which only one desktop at a time is plugged into.
        cable = vm.cable(self.disk.parent, "server", "desktop")
        return Hardware(
            name=name,
            kernel=self.kernel,
            initrd=self.ramdisk,
            cmdline=f"{words} {CONSOLE}",
            mac=f"{_MAC}{digit}",
            cable=cable["server" if disk else "desktop"],
            disk=disk,
            memory=1024,
        )


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """A laptop that serves from the beginning, with both images on its disk."""
    capabilities.require_tools("busybox", "debugfs")
    ramdisk, laptop = parts(updated=False)
    disk = tmp_path / "disk.img"
    subprocess.run(["cp", "--sparse=always", laptop.image, disk], check=True)
    first = composed.image(laptop, _BUSYBOX, tmp_path / "busybox")
    second = composed.image(laptop, _SYSTEMD, tmp_path / "systemd")
    microcode = tmp_path / _MICROCODE
    microcode.write_bytes(images.microcode())
    files = {_KERNEL: laptop.kernel, _MICROCODE: microcode, _IMAGE: first, _NEXT: second}
    composed.put_into_boot(disk, files)
    with vm.whole_ramdisk(ramdisk) as whole:
        yield Machines(disk, pack.kernel_of(ramdisk), whole, laptop)


@contextmanager
def logs(folder: Path) -> Iterator[None]:
    """Print all consoles' logs if the block fails."""
    try:
        yield
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-20_000:]}")
        raise


def look_around(desktop: VirtualMachine) -> None:
    """The keeper is in its place, and has no folder of the OS's, either."""
    keeper = look_at_keeper(desktop)
    for name in ("root", "cwd"):
        holds = ask(desktop, f"stat -L -c %d /proc/{keeper}/{name}")
        assert holds != ask(desktop, "stat -c %d /")


def use_a_shell(desktop: VirtualMachine) -> None:
    """The busybox flavour, with a shell as the OS's init; it exchanges the images."""
    desktop.wait_for("root@.*# ", SECONDS)
    look_around(desktop)
    for command in (
        "mount -o remount,rw /",
        "echo first >/root/twice",
        "mount /dev/nbd0p1 /boot",
        f"mv /boot/{_NEXT} /boot/{_IMAGE}",
        "umount /boot",
        "mount -o remount,ro /",
        f"{_LINK} end",
    ):
        assert ask(desktop, f"({command}) >/dev/null && echo well") == "well"
    desktop.type("echo o >/proc/sysrq-trigger\n")
    desktop.wait_until_off(SECONDS)


def use_the_whole_os(desktop: VirtualMachine) -> None:
    """The systemd flavour, from the initrd's systemd to the OS's, and to its end."""
    log_in(desktop)
    look_around(desktop)
    assert ask(desktop, "cat /proc/$(pidof @stiefel-link)/cgroup") == "0::/init.scope"
    assert ask(desktop, "cat /root/twice") == "first"
    ask(desktop, "echo second >>/root/twice")
    desktop.type("systemctl poweroff\n")
    desktop.wait_until_off(SECONDS)


def test_both_flavours(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    tell, begun = teller(capsys), time.monotonic()
    folder = machines.disk.parent
    with logs(folder), VirtualMachine(machines.server(), folder) as server:
        with VirtualMachine(machines.desktop("busybox", "1", "init=/bin/bash"), folder) as desktop:
            use_a_shell(desktop)
        server.wait_for(ENDED, SECONDS)
        tell(f"busybox: the session is over after {time.monotonic() - begun:.0f} s")
        at = server.position
        with VirtualMachine(machines.desktop("systemd", "2"), folder) as desktop:
            use_the_whole_os(desktop)
        server.wait_for(ENDED, SECONDS, after=at)
        tell(f"systemd: the session is over after {time.monotonic() - begun:.0f} s")
    verify(machines.disk, "/root/twice", "first\nsecond\n")
    machines.disk.unlink()
