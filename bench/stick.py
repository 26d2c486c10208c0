"""See bench/stick."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench import alone
from bench.figures import medians, table
from stiefelsystem import cmdline
from stiefelsystem.config import Config
from stiefelsystem.console import step
from stiefelsystem.host import pack
from stiefelsystem.host.firmware import Firmware
from stiefelsystem.host.stick import make
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds

_CLIENT = "this machine will run the laptop's OS"
_CONSOLE = "console=ttyS0 quiet"
_PATIENCE = 300.0
_WAYS: dict[str, Firmware | None] = {
    "QEMU's -kernel and -initrd": None,
    "stick, BIOS": Firmware.BIOS,
    "stick, UEFI": Firmware.UEFI,
    "stick, Secure Boot": Firmware.SECURE_BOOT,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/stick")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    runs = parser.parse_args().runs
    settings = builds.demo_ramdisk()
    # As the demo's: no menu is waited for.
    settings = replace(settings, client_setup=replace(settings.client_setup, timeout=0))
    with tempfile.TemporaryDirectory(prefix="stiefel-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        stick = folder / "stick"
        make.image(stick, settings)
        found = []
        for number in range(runs):
            with step(f"each way of booting: {number + 1} of {runs}"):
                found.append([_seconds(settings, way, stick, folder) for way in _WAYS.values()])
        image = settings.paths.cpio
        ramdisk = image.stat().st_size + pack.kernel_of(image).stat().st_size
        print(_report(medians(found), stick.stat().st_blocks * 512, ramdisk))


def _report(seconds: list[float], stick: int, ramdisk: int) -> str:
    first = seconds[0]
    rows = [["from the machine's start to the client program", "s", "ratio"]]
    for name, figure in zip(_WAYS, seconds, strict=True):
        rows.append([name, f"{figure:.1f}", f"{figure / first:.2f}"])
    rows.append(["", "", ""])
    rows.append(["bytes", "MB", "ratio"])
    rows.append(["kernel and ramdisk", f"{ramdisk / 1e6:.1f}", "1.00"])
    rows.append(["written to the stick", f"{stick / 1e6:.1f}", f"{stick / ramdisk:.2f}"])
    return table(rows)


def _seconds(settings: Config, firmware: Firmware | None, stick: Path, folder: Path) -> float:
    with _hardware(settings, firmware, stick, folder) as hardware:
        began = time.monotonic()
        with VirtualMachine(hardware, folder) as machine:
            machine.wait_for(_CLIENT, _PATIENCE)
            return time.monotonic() - began


@contextmanager
def _hardware(
    settings: Config, firmware: Firmware | None, stick: Path, folder: Path
) -> Iterator[Hardware]:
    words = f"{cmdline.CLIENT_UNIT} {_CONSOLE}"
    with alone.machine(settings.paths.cpio, words, folder) as machine:
        plain = replace(machine, disk=None)
        yield replace(plain, stick=stick, firmware=firmware) if firmware else plain


if __name__ == "__main__":
    main()
