"""The stick, on virtual PCs with UEFI, and with Secure Boot enforced; the demo has one with a BIOS.

Its keys are pressed at the serial line, and its words read there, as on a machine without a screen.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import pack
from stiefelsystem.host.firmware import Firmware
from stiefelsystem.host.stick import make, update
from stiefelsystem.host.stick.layout import KERNEL, SETS, in_set
from stiefelsystem.host.vm import Hardware, Screen, VirtualMachine
from tests import builds, capabilities
from tests.vm import altered, screen

_SECONDS = 300.0
_DOWN = "\x1b[B"
_MENU = "Run the laptop's system on this computer"
_SEARCHING = "searching for the laptop on"
_PASSPHRASE = "six words of no sense"

_BY_NETWORK = {
    Firmware.BIOS: "stiefelsystem/grub/i386-pc/core.0",
    Firmware.SECURE_BOOT: "EFI/BOOT/BOOTX64.EFI",
}


@pytest.fixture(scope="module")
def settings() -> Config:
    """The demo's ramdisk, and a menu that waits for a slow person."""
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn", "mcopy")
    altered.require_secure_boot()
    settings = builds.demo_ramdisk()
    return replace(settings, client_setup=replace(settings.client_setup, timeout=30))


def desktop(settings: Config, stick: Path, firmware: Firmware) -> Hardware:
    """A PC whose cable leads nowhere."""
    return Hardware(
        name="desktop",
        kernel=pack.kernel_of(settings.paths.cpio),
        stick=stick,
        firmware=firmware,
        mac="52:54:00:00:00:51",
        cable=(stick.parent / "cable", stick.parent / "nobody"),
        memory=1024,
    )


def test_uefi_and_a_passphrase(settings: Config, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    make.image(stick, settings, passphrase=lambda: _PASSPHRASE)
    with VirtualMachine(desktop(settings, stick, Firmware.UEFI), tmp_path) as machine:
        machine.wait_for(_MENU, _SECONDS)
        machine.type("\n")
        machine.wait_for("type the passphrase of this stick", _SECONDS)
        machine.type("seven words of no sense\n")
        machine.wait_for("that is not the passphrase", _SECONDS)
        at = machine.position
        machine.wait_for("type the passphrase of this stick", _SECONDS, after=at)
        machine.type(f"{_PASSPHRASE}\n")
        machine.wait_for(_SEARCHING, _SECONDS)
    assert _PASSPHRASE.encode() not in machine.log.read_bytes()


def test_an_altered_kernel(settings: Config, tmp_path: Path) -> None:
    """Secure Boot refuses it; test_secure_boot has one that is as it was signed."""
    stick = tmp_path / "stick"
    make.image(stick, settings)
    alter_kernel(stick, tmp_path)
    hardware = desktop(settings, stick, Firmware.SECURE_BOOT)
    with VirtualMachine(hardware, tmp_path) as machine:
        machine.wait_for(_MENU, _SECONDS)
        machine.type("\n")
        machine.wait_for("bad shim signature", _SECONDS)
        assert _SEARCHING.encode() not in machine.log.read_bytes()
    with VirtualMachine(hardware, tmp_path) as machine:
        machine.wait_for(_MENU, _SECONDS)
        machine.type(3 * _DOWN + "\n")  # nobody can do anything else with it
        machine.wait_until_off(_SECONDS)


def test_a_shell_at_all_consoles(settings: Config, tmp_path: Path) -> None:
    """At the serial line and at the screen, which are used one after the other, and back; from a
    stick for an odd BIOS."""
    stick = tmp_path / "stick"
    setup = replace(settings.client_setup, first_sector=63)
    make.image(stick, replace(settings, client_setup=setup))
    hardware = replace(desktop(settings, stick, Firmware.BIOS), screen=Screen.UNSEEN)
    with VirtualMachine(hardware, tmp_path) as machine:
        machine.wait_for(_MENU, _SECONDS)
        machine.type(2 * _DOWN + "\n")
        machine.wait_for("Press Enter", _SECONDS)
        assert "a shell for looking around" in screen.text(machine, tmp_path)
        press_enter(machine, "# ")
        screen.press_until(machine, "\n", "# ", tmp_path)
        screen.press_until(machine, "id\n", "uid=0(root)", tmp_path)
        assert b"uid=0" not in machine.log.read_bytes()
        at = machine.position
        machine.type("id\n")
        machine.wait_for(r"uid=0\(root\)", _SECONDS, after=at)
        screen.press(machine, "reboot\n")
        machine.wait_until_off(_SECONDS)


@pytest.mark.parametrize("firmware", _BY_NETWORK)
def test_without_a_stick(settings: Config, tmp_path: Path, firmware: Firmware) -> None:
    """Booted by network, by QEMU's own boot server; there is no key yet, and this is said.

    With the menu's entry that shows what the kernel says.
    """
    make.netboot(tmp_path / "net", settings)
    hardware = replace(
        desktop(settings, tmp_path / "none", firmware),
        stick=None,
        netboot=(tmp_path / "net", _BY_NETWORK[firmware]),
    )
    with VirtualMachine(hardware, tmp_path) as machine:
        machine.wait_for(_MENU, _SECONDS)
        machine.type(_DOWN + "\n")
        machine.wait_for("Linux version", _SECONDS)
        machine.wait_for("this ramdisk has no key", _SECONDS)


def press_enter(machine: VirtualMachine, pattern: str) -> None:
    """Until something comes of it: sulogin(8) forgets what was pressed before it began to read."""
    for _ in range(20):
        machine.type("\n")
        with suppress(StiefelError):
            machine.wait_for(pattern, 5)
            return
    machine.wait_for(pattern, 0)


def alter_kernel(stick: Path, folder: Path) -> None:
    """One bit in the middle of the stick's kernel."""
    fat = update.open_stick(stick)
    drive, name = f"{fat.path}@@{fat.offset}", in_set(SETS[0], KERNEL)
    kernel = folder / "kernel"
    subprocess.run(["mcopy", "-i", drive, f"::{name}", kernel], check=True)
    kernel.write_bytes(altered.one_bit(kernel.read_bytes()))
    fat.put(kernel, name)
