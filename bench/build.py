"""See bench/build."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import alone
from stiefelsystem import cmdline
from stiefelsystem.host.vm import VirtualMachine

REPO = Path(__file__).resolve().parents[1]
PLAIN = "modules: [system-debian]\nboot: {disk: /dev/vda}\n"
# All that a laptop's disk may need.
LARGE = """\
modules: [system-debian, lvm]
boot: {disk: /dev/vda, part: {type: luks, block: /dev/mapper/boot, luks_block: /dev/vda1}}
"""
BOOTS = 3
SIDES = {
    "server": (
        f"{cmdline.SERVER_UNIT} stiefel_bootdisk=/dev/vda stiefel_bootpart=/dev/vda",
        r"serving, waiting for the desktop",
    ),
    "client": (cmdline.CLIENT_UNIT, r"this machine will run the laptop's OS"),
}
_PATIENCE = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/build")
    parser.add_argument("--debian-mirror", metavar="URL")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    args = parser.parse_args()
    mirror = ["--debian-mirror", args.debian_mirror] if args.debian_mirror else []
    with tempfile.TemporaryDirectory(prefix="stiefel-bench-", dir="/var/tmp") as name:
        ours = measure(REPO, Path(name) / "ours", mirror)
        theirs = measure(args.against, Path(name) / "theirs", mirror) if args.against else {}
    for what, figure in ours.items():
        unit = "MB" if what.startswith("MB") else "s "
        line = f"{what.removeprefix('MB '):45}{figure:8.1f} {unit}"
        if what in theirs:
            line += f"{theirs[what]:10.1f} {unit}{theirs[what] / figure:8.1f} x"
        print(line)


def measure(checkout: Path, folder: Path, mirror: list[str]) -> dict[str, float]:
    """All figures of one checkout, of which a copy is worked with: seconds, and MB."""
    copy = folder / "checkout"
    ignored = shutil.ignore_patterns(".git", "cache", "workdir", "config.yaml", "aes-key")
    shutil.copytree(checkout, copy, ignore=ignored)
    found = {"cold build, packed": build(copy, folder, PLAIN, mirror)}
    image = folder / "workdir/stiefel.cpio"
    found["MB image"] = image.stat().st_size / 1e6
    server = copy / "stiefelsystem/ramdisk/server.py"
    server.write_text(f"{server.read_text()}\n# changed\n")
    found["rebuild after a change in our own files"] = build(copy, folder, PLAIN, mirror)
    for side, (words, proof) in SIDES.items():
        times = [boot(image, folder, words, proof) for _ in range(BOOTS)]
        found[f"power-on to {side} program, median of {BOOTS}"] = statistics.median(times)
    found["rebuild with LVM and LUKS"] = build(copy, folder, LARGE, mirror)
    found["MB image with LVM and LUKS"] = image.stat().st_size / 1e6
    return found


def build(checkout: Path, folder: Path, config: str, mirror: list[str]) -> float:
    """Seconds for a build that takes what is in the folder's cache."""
    path = folder / "config.yaml"
    path.write_text(config)
    started = time.monotonic()
    for script, options in (("create-initrd-nspawn", mirror), ("create-initrd-cpio", [])):
        command = [checkout / script, "--config", path, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(done.stderr)
    return time.monotonic() - started


def boot(image: Path, folder: Path, words: str, proof: str) -> float:
    """Seconds from a virtual machine's power-on to a line on its console."""
    with alone.machine(image, f"{words} console=ttyS0 quiet", folder) as hardware:
        started = time.monotonic()
        with VirtualMachine(hardware, folder) as machine:
            machine.wait_for(proof, _PATIENCE)
            return time.monotonic() - started


if __name__ == "__main__":
    main()
