"""Secure Boot at both ends: a laptop that may only kexec what is trusted does so, and a desktop is
given a kernel that is not.

The laptop's disk has no boot loader, since QEMU plays its part elsewhere. Here it boots from a
stick: Debian's signed shim and GRUB with a menu of one line, and the laptop's own kernel.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.host import vm
from stiefelsystem.host.firmware import Firmware
from stiefelsystem.host.laptop import Laptop
from stiefelsystem.host.stick import make, update
from stiefelsystem.host.stick.layout import INITRD, KERNEL, MENU, SETS, in_set
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds, capabilities
from tests.vm import altered, two
from tests.vm.console import ask, log_in

_SECONDS = 300.0
_FILE = "/root/written"
_ON_STICK = {part: in_set(SETS[0], part) for part in (KERNEL, INITRD)}
_LOCKED_DOWN = "cat /sys/kernel/security/lockdown"


@pytest.fixture
def parts() -> tuple[Config, Laptop]:
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn", "mcopy")
    altered.require_secure_boot()
    return builds.virtual_laptop()


def boot_medium(stick: Path, settings: Config, laptop: Laptop) -> None:
    """What a laptop's EFI partition has, on a stick of its own."""
    make.image(stick, settings)
    fat = update.open_stick(stick)
    fat.put(laptop.kernel, _ON_STICK[KERNEL])
    fat.put(laptop.initrd, _ON_STICK[INITRD])
    linux = f"linux /{_ON_STICK[KERNEL]} {laptop.cmdline} {vm.TCG_WORDS}"
    fat.put_text(f"{linux}\ninitrd /{_ON_STICK[INITRD]}\nboot\n", MENU)


def distrust(disk: Path, laptop: Laptop, folder: Path) -> None:
    """Alter the kernel that the laptop will serve: its signature is not that of these bytes."""
    (kernel,) = laptop.tree.glob("boot/vmlinuz-*")
    copy = folder / kernel.name
    copy.write_bytes(altered.one_bit(kernel.read_bytes()))
    altered.replace_in_boot(disk, copy)


def machine(name: str, digit: str, stick: Path, laptop: Laptop, disk: Path | None) -> Hardware:
    return Hardware(
        name=name,
        kernel=laptop.kernel,
        stick=stick,
        firmware=Firmware.SECURE_BOOT,
        mac=f"52:54:00:00:00:6{digit}",
        cable=vm.cable(stick.parent, "laptop", "desktop")[name],
        disk=disk,
    )


def test_a_kernel_that_the_desktop_does_not_trust(
    parts: tuple[Config, Laptop], tmp_path: Path
) -> None:
    settings, laptop = parts
    medium, stick, disk = (tmp_path / name for name in ("medium", "stick", "disk.img"))
    boot_medium(medium, settings, laptop)
    make.image(stick, settings)
    two.copy_disk(laptop, disk)
    distrust(disk, laptop, tmp_path)
    with VirtualMachine(machine("laptop", "1", medium, laptop, disk), tmp_path) as server:
        log_in(server)
        assert ask(server, _LOCKED_DOWN) == "none [integrity] confidentiality"
        assert "could serve now" in ask(server, "stiefel-autokexec --check")
        ask(server, f"echo from the laptop >{_FILE}")
        with VirtualMachine(machine("desktop", "2", stick, laptop, None), tmp_path) as desktop:
            server.wait_for("stopping this OS", _SECONDS)
            server.wait_for("serving, waiting for the desktop", _SECONDS)
            desktop.wait_for("cannot be started with Secure Boot on", _SECONDS)
            desktop.wait_for("switch Secure Boot off in this PC's setup", _SECONDS)
            desktop.wait_for("press Enter to try again", _SECONDS)
            assert b"the laptop has its disk back, unused" in desktop.log.read_bytes()
        server.wait_for("the session is over: reboot", _SECONDS)
        server.wait_until_off(_SECONDS)
    two.verify(disk, _FILE, "from the laptop\n")
    disk.unlink()
