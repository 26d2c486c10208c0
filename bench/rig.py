"""Two virtual machines with a cable between them, and nothing in them but what is measured."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian, pack, tree, vm
from stiefelsystem.host.demo import MACS
from stiefelsystem.host.kernel_modules import KernelModules
from stiefelsystem.host.modules import Class, Contents
from stiefelsystem.host.selection import Selection
from stiefelsystem.host.vm import Hardware, VirtualMachine
from stiefelsystem.run import run

_PACKAGES = (
    "fio",
    "iperf3",
    "linux-image-{architecture}",
    "nbd-client",
    "nbd-server",
    "procps",
    "wireguard-tools",
)
_SYSTEM = Class(
    reason="the machines' system",
    files=(
        "/bin",
        "/etc/group",
        "/etc/ld.so.cache",
        "/etc/nsswitch.conf",
        "/etc/passwd",
        "/lib",
        "/lib64",
        "/sbin",
        "/usr/lib64",
        *(
            f"/usr/bin/{name}"
            for name in ("cat", "dd", "grep", "mkdir", "mount", "pgrep", "sh", "sleep", "stty")
        ),
        *(f"/usr/bin/{name}" for name in ("fio", "iperf3", "nbd-server", "umount", "wg")),
        *(f"/usr/sbin/{name}" for name in ("ip", "modprobe", "nbd-client", "tc")),
    ),
    kernel_modules=(
        "drivers/block/nbd.ko*",
        "drivers/net/virtio_net.ko*",
        "drivers/net/wireguard",
        "net/sched/sch_tbf.ko*",
    ),
)
# Quick to unpack, also where that is emulated.
_COMPRESSOR = ("zstd", "-T0", "-3")
_MEMORY = 1024  # MiB
_CLONE_NEWNET = 0x40000000  # linux/sched.h; Python has it from 3.12 on
_QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")
_FRAMES = 512
_BOOT_SECONDS = 120.0
_SECONDS = 60.0


@dataclass(frozen=True)
class Image:
    """What both machines boot."""

    kernel: Path
    initrd: Path


def build(folder: Path, cache: Path, mirror: str | None) -> Image:
    """Make the machines' image in `folder`; Debian's part is made once."""
    source = folder / "tree"
    packages = [name.format(architecture=debian.architecture()) for name in _PACKAGES]
    debian.packaged_tree(source, packages, debian.Supply(cache, mirror))
    # As it travels with the ramdisk, and of the sources that are here now.
    keeper = folder / "keeper"
    run(["make", "-C", tree.SOURCE / "nbd-hook/keeper", f"BUILD={keeper.resolve()}"])
    nothing: tuple[str, ...] = ()
    contents = Contents(nothing, nothing, (_SYSTEM,), (), {}, nothing, {})
    selection = Selection(source, contents, apart={})
    version = tree.kernel_version(source)
    modules = folder / "modules"
    debian.remove_tree(modules)
    files.make_folder(modules)
    reasons = KernelModules(source, version, contents.take).lay_out(modules)
    own = {"init": tree.SOURCE / "bench/guest-init", "stiefel-link": keeper / "stiefel-link"}
    image = folder / "image.cpio"
    parts = pack.Parts(selection, modules, reasons, own)
    pack.write_image(parts, image, _COMPRESSOR, cache=folder)
    return Image(tree.kernel(source, version), image)


def lengthen_cables() -> None:
    """Let cables hold as much as they do where systemd is PID 1: 512 frames, else it is 10, and
    each would wait for the other machine. It is a setting of a network namespace: from now on,
    this program is in one of its own, and reaches no network."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise StiefelError(f"cannot make a network namespace: {os.strerror(number)}")
    _QUEUE.write_text(f"{_FRAMES}\n")


class Guest:
    """A machine that does what it is told."""

    def __init__(self, machine: VirtualMachine) -> None:
        self._machine = machine
        machine.wait_for("ready", _BOOT_SECONDS)

    def sh(self, command: str, seconds: float = _SECONDS, *, text: str = "") -> str:
        """Run a line of shell, which reads `text`, and return its output.

        Raises `StiefelError` if it fails, or has not ended in time.
        """
        word, before = secrets.token_hex(8), self._machine.position
        lines = shlex.join(text.splitlines())
        source = f"printf '%s\\n' {lines} | " if text else ""
        self._machine.type(f"{word} {source}{command}\n")
        pattern = rf"(?s){word}\{{(.*?){word}\}}(\d+)"
        done = self._machine.wait_for(pattern, seconds, after=before)
        output, status = (part.decode(errors="replace").strip() for part in done.groups())
        if status != "0":
            raise StiefelError(
                f"{self._machine.name}: {command} failed with status {status}: "
                f"{' / '.join(output.splitlines()[-3:])}",
                hint=f"see {self._machine.log}",
            )
        return output.replace("\r", "")

    def json(self, command: str, seconds: float) -> dict[str, Any]:
        """Run a program whose output is JSON."""
        output = self.sh(command, seconds)
        # Warnings may stand before it.
        try:
            found = json.loads(output[output.index("{") :])
        except ValueError as error:
            raise StiefelError(
                f"{self._machine.name}: {command} did not answer with JSON: {output[:200]!r}"
            ) from error
        assert isinstance(found, dict)
        return found


@contextmanager
def switched_on(image: Image, folder: Path) -> Iterator[tuple[Guest, Guest]]:
    """Laptop and desktop, as long as the block runs; their consoles' logs stay in `folder`."""
    cable = vm.cable(folder, "laptop", "desktop")
    with ExitStack() as stack:
        machines = [
            stack.enter_context(
                VirtualMachine(
                    Hardware(
                        name=name,
                        kernel=image.kernel,
                        initrd=image.initrd,
                        cmdline="console=ttyS0 quiet panic=1",
                        mac=MACS[name],
                        cable=cable[name],
                        memory=_MEMORY,
                    ),
                    folder,
                )
            )
            for name in ("laptop", "desktop")
        ]
        laptop, desktop = map(Guest, machines)
        yield laptop, desktop
