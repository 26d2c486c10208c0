"""See bench/timeline."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench import alone
from bench.build import SIDES
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds

# What ends each phase, as it stands on the console.
PHASES = (
    ("firmware, and the kernel unpacks itself", r"Linux version"),
    ("kernel, until it unpacks the ramdisk", r"Trying to unpack rootfs"),
    ("ramdisk unpacked", r"Freeing initrd memory"),
    ("kernel, built-in drivers", r"Run /init"),
    ("systemd comes up", r"systemd \d+.* running in system mode"),
    ("systemd, until it starts our program", r"Started stiefel-(client|server)"),
    ("Python, until its first line", r"this machine (will run|serves)"),
    ("drivers, until there is a link", r"searching for the laptop on|serving, waiting"),
)
_WORDS = "systemd.log_level=info systemd.log_target=kmsg printk.devkmsg=on console=ttyS0"
_PATIENCE = 120.0
_WIDTH = 50


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/timeline")
    parser.add_argument("side", nargs="?", choices=sorted(SIDES), default="client")
    side = parser.parse_args().side
    image = builds.ramdisk()
    with tempfile.TemporaryDirectory(prefix="stiefel-bench-") as name:
        folder = Path(name)
        words = f"{SIDES[side][0]} {_WORDS}"
        with alone.machine(image, words, folder, name=side) as hardware:
            times = watch(hardware, folder)
    print(chart(times))


def watch(hardware: Hardware, folder: Path) -> list[float]:
    """Seconds from power-on to the end of each phase."""
    started = time.monotonic()
    times = []
    with VirtualMachine(hardware, folder) as machine:
        for _, pattern in PHASES:
            machine.wait_for(pattern, _PATIENCE)
            times.append(time.monotonic() - started)
    return times


def chart(times: list[float]) -> str:
    """The phases below each other, each a bar at its place."""
    lines = []
    for number, (what, _) in enumerate(PHASES):
        begin, end = times[number - 1] if number else 0.0, times[number]
        left, right = (round(_WIDTH * moment / times[-1]) for moment in (begin, end))
        bar = " " * left + "█" * max(1, right - left)
        lines.append(f"{end:5.1f} s  {end - begin:4.1f} s  {bar:{_WIDTH + 1}} {what}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
