"""See bench/disk, which starts this."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stiefelsystem.console import run_main, step

if TYPE_CHECKING:
    from bench.load import Findings, Found, Load
    from bench.rig import Image

_MEGABYTE = _MEGABIT = 10**6
_GIGABIT = 10**9
# Of the fastest NICs that are common in desktops.
_RATE = 2.5 * _GIGABIT
# A slower link is shaped to this share of what it carries, so that it is the link that counts.
_SHARE = 0.5


def main() -> int:
    args = arguments()

    from stiefelsystem.host import requirements

    requirements.require_root("bench/disk builds systems, which")
    needed = (requirements.BUILD, requirements.PACK, requirements.IMAGE, requirements.VM)
    requirements.require(sum(needed, ()))

    from bench import rig, startup
    from bench.figures import processor_seconds, share_of_others
    from stiefelsystem import files
    from tests import builds

    folder = builds.REPO / "workdir/bench"
    files.make_folder(folder)
    with files.locked(folder):
        # All that needs a network, first.
        image = rig.build(folder, builds.CACHE, args.debian_mirror) if args.what != "boot" else None
        virtual = startup.build(folder) if args.what != "rates" else None
        rig.lengthen_cables()
        before = processor_seconds()
        if image:
            rates(image, folder, args)
        if virtual:
            print(f"\n{startup.report(virtual, args.runs)}", flush=True)
        print(f"\n{share_of_others(before)}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/disk", description="what the wire costs the disk, between two virtual machines"
    )
    parser.add_argument("what", nargs="?", choices=("rates", "boot"), help="(default: both)")
    parser.add_argument("--runs", type=int, default=3, help="of each; medians are printed")
    parser.add_argument("--seconds", type=int, default=2, help="that each run takes")
    parser.add_argument("--debian-mirror", metavar="URL", help="for the machines of the rates")
    args = parser.parse_args()
    if args.runs < 1 or args.seconds < 1:
        parser.error("it takes one run of one second at least")
    return args


def rates(image: Image, folder: Path, args: argparse.Namespace) -> None:
    """Print what goes over the link: unshaped, and shaped."""
    from stiefelsystem.host import vm

    how = "KVM" if "kvm" in vm.accelerator(image.kernel) else "emulated (no KVM)"
    print(f"two machines, {how}, on {os.cpu_count()} cores; median of {args.runs} runs")
    print("1 MiB blocks in sequence, 8 at once; 4 KiB blocks at random places, 1 and 32 at once")
    unshaped = _measure(image, folder, None, args)
    print(f"\n{_tables('link unshaped', unshaped, None)}\n", flush=True)
    rate, name = _shape(unshaped)
    print(f"\n{_tables(name, _measure(image, folder, rate, args), rate)}", flush=True)


def _shape(unshaped: Findings) -> tuple[float, str]:
    """The rate for the shaped link in bits per second, and what to call that."""
    from bench.load import LOADS, RAW

    found = [unshaped.median(RAW, load) for load in LOADS]
    carried = 8 * min(one.bytes for one in found if one)
    if carried > _RATE:
        return _RATE, f"link shaped to {_RATE / _GIGABIT:g} Gbit/s"
    rate = _SHARE * carried
    print(
        f"this link carries {carried / _MEGABIT:.0f} Mbit/s, less than {_RATE / _GIGABIT:g} Gbit/s;"
        f" so it is shaped to {_SHARE:.0%} of that: {rate / _MEGABIT:.0f} Mbit/s"
    )
    return rate, f"link shaped to {rate / _MEGABIT:.0f} Mbit/s"


def _measure(image: Image, folder: Path, rate: float | None, args: argparse.Namespace) -> Findings:
    """Every load over every way, on a fresh pair of machines."""
    from bench import load, rig
    from bench.ways import WAYS, Link

    findings = load.Findings()
    with rig.switched_on(image, folder) as (laptop, desktop):
        link = Link(laptop, desktop, rate=rate)
        for run in range(args.runs):
            with step(f"run {run + 1} of {args.runs}"):
                for way in WAYS:
                    with step(way.name):
                        load.measure(link, way, findings, args.seconds)
    return findings


def _tables(name: str, findings: Findings, rate: float | None) -> str:
    """What was carried, with its ratios to raw TCP and to the link's rate; and how busy the
    processors were."""
    from bench.figures import table
    from bench.load import LOADS

    carried, busy = [[name]], [["busy, desktop / laptop"]]
    for load in LOADS:
        ratios = ["of TCP", *(["of link"] if rate else [])] if load.sequential else []
        carried[0] += [f"{load.name}: {'MB/s' if load.sequential else 'IOPS'}", *ratios]
        busy[0].append(load.name)
    for row in findings.rows:
        carried.append([row])
        busy.append([row])
        for load in LOADS:
            found = findings.median(row, load)
            carried[-1] += _cells(found, load, rate)
            busy[-1].append(f"{found.desktop:.0%} / {found.laptop:.0%}" if found else "–")
    return f"{table(carried)}\n\n{table(busy)}"


def _cells(found: Found | None, load: Load, rate: float | None) -> list[str]:
    if found is None:
        return ["–"]
    if not load.sequential:
        return [f"{found.requests:.0f}"]
    ratios = [found.of_tcp, *([8 * found.bytes / rate] if rate else [])]
    return [f"{found.bytes / _MEGABYTE:.1f}", *(f"{ratio:.2f}" for ratio in ratios)]


if __name__ == "__main__":
    run_main(main)
