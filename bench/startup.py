"""Seconds from the start of the laptop's kernel to its login: on the desktop, and on the laptop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import medians, table
from stiefelsystem import cmdline
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.console import step
from stiefelsystem.host import pack, vm
from stiefelsystem.host.demo import MACS
from stiefelsystem.host.laptop import Laptop
from stiefelsystem.host.vm import Hardware, VirtualMachine
from stiefelsystem.run import run
from tests import builds
from tests.vm.console import ask, log_in

_CONSOLE = "console=ttyS0 quiet panic=1"
_PATIENCE = 300.0
_COPY_SECONDS = 120.0


@dataclass(frozen=True)
class Virtual:
    """The demo's laptop and its ramdisk, and a folder for what runs of them leave behind."""

    laptop: Laptop
    image: Path
    folder: Path

    @contextmanager
    def disk(self) -> Iterator[Path]:
        """A copy of the laptop's disk, as long as the block runs."""
        copy = self.folder / "disk.img"
        copy.unlink(missing_ok=True)
        copy.touch(mode=0o600)  # which cp keeps: the laptop holds the key
        try:
            run(["cp", "--sparse=always", self.laptop.image, copy], timeout=_COPY_SECONDS)
            yield copy
        finally:
            copy.unlink()


def build(folder: Path) -> Virtual:
    """Build whatever of both there is not yet."""
    settings, laptop = builds.virtual_laptop()
    return Virtual(laptop, settings.paths.cpio, folder)


def report(virtual: Virtual, runs: int) -> str:
    """Medians of several boots of each kind."""
    found = []
    for number in range(runs):
        with step(f"boot from a local disk, and over the link: {number + 1} of {runs}"):
            found.append((_local(virtual), _over_the_link(virtual)))
    local, over = medians(found)
    rows = [
        ["the laptop's kernel, from its start to the login", "s", "ratio"],
        ["local virtio disk", f"{local:.1f}", f"{1:.2f}"],
        ["over the link, in WireGuard", f"{over:.1f}", f"{over / local:.2f}"],
    ]
    return table(rows)


def _local(virtual: Virtual) -> float:
    """The laptop, as it boots without a desktop."""
    with virtual.disk() as disk:
        hardware = Hardware(
            name="local",
            kernel=virtual.laptop.kernel,
            initrd=virtual.laptop.initrd,
            cmdline=virtual.laptop.cmdline,
            mac=MACS["laptop"],
            cable=(virtual.folder / "unplugged", virtual.folder / "nobody"),
            disk=disk,
        )
        with VirtualMachine(hardware, virtual.folder) as machine:
            return _seconds_to_login(machine)


def _over_the_link(virtual: Virtual) -> float:
    """The desktop, from its kexec on. The laptop serves from its start: what it does before that
    is no part of this."""
    serve = ServerSettings(
        disk=Path("/dev/vda"),
        part=Path("/dev/vda1"),
        kernel="vmlinuz-*",
        initrd="initrd.img-*",
        cmdline=virtual.laptop.cmdline,
    )
    cable = vm.cable(virtual.folder, "laptop", "desktop")
    with ExitStack() as stack:
        ramdisk = stack.enter_context(vm.whole_ramdisk(virtual.image))
        sides = (
            (
                "laptop",
                f"{cmdline.SERVER_UNIT} {serve.words()}",
                stack.enter_context(virtual.disk()),
            ),
            ("desktop", cmdline.CLIENT_UNIT, None),
        )
        machines = []
        for name, words, disk in sides:
            hardware = Hardware(
                name=name,
                kernel=pack.kernel_of(virtual.image),
                initrd=ramdisk,
                cmdline=f"{words} {_CONSOLE}",
                mac=MACS[name],
                cable=cable[name],
                disk=disk,
            )
            machines.append(stack.enter_context(VirtualMachine(hardware, virtual.folder)))
        desktop = machines[1]
        desktop.wait_for("starting the laptop's OS", _PATIENCE)
        return _seconds_to_login(desktop)


def _seconds_to_login(machine: VirtualMachine) -> float:
    """By the kernel's own clock, which is asked later: when it starts, it says nothing yet."""
    machine.wait_for("laptop login: ", _PATIENCE)
    at = time.monotonic()
    log_in(machine)
    asked = time.monotonic()
    uptime = float(ask(machine, "cat /proc/uptime").split()[0])
    # The answer came within so long; half of it is the best guess.
    return uptime - ((asked + time.monotonic()) / 2 - at)
