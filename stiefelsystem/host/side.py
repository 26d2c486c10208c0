"""One side on a virtual machine, in the user's terminal; the other side runs in another one."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

from stiefelsystem import cmdline, config
from stiefelsystem.console import StiefelError, say
from stiefelsystem.host import pack, vm

_MACS = {"server": "52:54:00:00:00:11", "client": "52:54:00:00:00:12"}


def run_side(
    side: str,
    *,
    settings: config.Config,
    kernel: Path | None,
    initrd: Path | None,
    disk: Path | None,
    words: str,
    graphical: bool,
) -> int:
    """Boot the ramdisk as `server` or `client` and return QEMU's status.

    The sockets of the cable lie in the workdir, so both terminals find them. `disk` is served as
    /dev/vda; its settings for the server stand on the command line, where more `words` follow.
    """
    image = settings.paths.cpio
    with ExitStack() as stack:
        ramdisk = initrd or stack.enter_context(vm.whole_ramdisk(image))
        folder = settings.paths.workdir
        if not os.access(folder, os.W_OK):
            raise StiefelError(
                f"cannot write to {folder}, where the ends of the virtual cable lie",
                hint=f"sudo chown $USER {folder}",
            )
        cable = vm.cable(folder, "server", "client")[side]
        stack.callback(cable[0].unlink, missing_ok=True)
        cable[0].unlink(missing_ok=True)
        unit = cmdline.SERVER_UNIT if side == "server" else cmdline.CLIENT_UNIT
        hardware = vm.Hardware(
            name=side,
            kernel=kernel or pack.kernel_of(image),
            initrd=ramdisk,
            cmdline=" ".join((unit, _settings(side, settings, disk), "console=ttyS0", words)),
            mac=_MACS[side],
            cable=cable,
            disk=disk,
            screen=vm.Screen.WINDOW if graphical else vm.Screen.NONE,
        )
        say(f"the {side} starts on this terminal; Ctrl-A X switches it off")
        return vm.run_in_terminal(hardware)


def _settings(side: str, settings: config.Config, image: Path | None) -> str:
    """What stiefel-autokexec, or the stick, would put on the command line.

    An image's disk has another name than the laptop's; its partition has the same number.
    """
    boot = settings.boot
    if side == "client":
        return f"stiefel_innercmdline={cmdline.encode(boot.cmdline)}"
    number = re.search(r"\d*$", str(boot.part.block if boot.part else ""))
    part = Path(f"/dev/vda{(number and number.group()) or 1}")
    if not image:
        part = boot.part.block if boot.part else boot.disk
    kernel, initrd = settings.load_names
    target = cmdline.ServerSettings(
        disk=Path("/dev/vda") if image else boot.disk,
        part=part,
        kernel=kernel,
        initrd=initrd,
        cmdline=boot.load.cmdline or "",
    )
    return target.words()
