"""stiefel-autokexec's service on a machine of its own: what a test runs as a program.

    python one_autokexec.py FOLDER [--now|--check]

Stood in for: the programs in FOLDER/bin, the kernel's file about kexec, which boot files there are,
and the triggers: each line of the pipe FOLDER/orders is an order, by a desktop or by hand. As long
as FOLDER/busy exists, an update runs. All else is the program's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stiefelsystem import cmdline, config, kexec, run
from stiefelsystem.console import run_main, say
from stiefelsystem.laptop import obstacles, orders, ramdisk, service, stop
from stiefelsystem.laptop.orders import Order

CONFIG = """\
modules: [system-debian]
boot: {disk: /dev/vda}
autokexec: {delay: DELAY, mac_detection: false}
server-setup: {stiefelsystem-kernel: FOLDER/kernel, stiefelsystem-initrd: FOLDER/initrd}
"""


def main() -> int:
    folder, what = Path(sys.argv[1]), sys.argv[2:]
    run._PATH = f"{folder}/bin:{run._PATH}"
    kexec._LOADED = folder / "kexec_loaded"
    kexec._DISABLED = kexec._LOCKDOWN = folder / "none"
    obstacles.updates.running = lambda *_: ["apt"] if (folder / "busy").exists() else []
    obstacles.inhibitors.SYSTEMD = folder / "none"
    obstacles._KEEPER = folder / "none"
    cmdline.running = lambda: "quiet"
    ramdisk.words = lambda _: "the words"
    stop.command.__defaults__ = (folder,)  # its init is systemd, or none
    orders.wait = lambda _: order(folder / "orders")
    text = (folder / "config.yaml").read_text()
    settings = config.parse(text, name="test")
    places = service.Places(etc=folder, run=folder / "run")
    if what == ["--now"]:
        service.serve_now(settings, places)
    elif what == ["--check"]:
        service.check(settings, places)
    else:
        service.serve_when_asked(settings, places)
    return 0


def order(pipe: Path) -> Order:
    say("waiting for an order")
    return Order("the adapter was plugged in") if "hand" in pipe.read_text() else DESKTOP


DESKTOP = Order("a desktop asks", "fe80::1%2")

if __name__ == "__main__":
    run_main(main)
