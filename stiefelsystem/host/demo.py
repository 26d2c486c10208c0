"""The main job on virtual machines, told as a timeline: a laptop's own OS, on a desktop."""

from __future__ import annotations

import json
import re
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import config, files, keys
from stiefelsystem.console import StiefelError, say, step
from stiefelsystem.host import build, laptop, pack, terminal, tree, vm
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.firmware import Firmware
from stiefelsystem.host.laptop import MIB, PARTITIONS, PASSWORD, Kind, Laptop, Partition
from stiefelsystem.host.stamps import Stamp
from stiefelsystem.host.stick import make
from stiefelsystem.host.vm import Hardware, VirtualMachine
from stiefelsystem.run import run

# The demo needs no configuration of the user's: this is one. A kernel that panics ends its machine
# at once, instead of the patience of who waits for it.
_CONFIG = """\
modules: [base, nbd, system-debian]
boot:
  disk: /dev/vda
  cmdline: loglevel=4
autokexec:
  delay: 3
server-setup:
  cmdline: console=ttyS0 quiet panic=1 oops=panic
client-setup:
  cmdline: panic=1 oops=panic
  timeout: 0
"""
MACS = {"laptop": "52:54:00:00:00:01", "desktop": "52:54:00:00:00:02"}
# Ample for emulation on a slow and busy host; a real machine takes a tenth.
_PATIENCE = 300.0
_FILE = "/root/written-on-the-desktop"


@dataclass(frozen=True)
class Event:
    """A line that a machine's console must show, and what it means."""

    machine: str
    pattern: str
    meaning: str


STORY = (
    Event("desktop", r"searching for the laptop on", "searches on all its interfaces"),
    Event(
        "laptop", r"a desktop on (\S+) asks", "its running OS hears the desktop, and counts down"
    ),
    Event("laptop", r"stopping this OS", "stops its OS cleanly, then kexecs into the ramdisk"),
    Event("laptop", r"serving, waiting for the desktop", "serves"),
    Event("desktop", r"the laptop serves on", "has found the server, and proved the key"),
    Event("laptop", r"is open to it, and to nobody else", "opens its disk to the desktop alone"),
    Event("desktop", r"received and verified", "has received and verified kernel and initrd"),
    Event("desktop", r"starting the laptop's OS", "kexecs into the laptop's kernel"),
    Event("desktop", r"connecting the laptop's disk", "the laptop's initrd connects the disk"),
    Event("desktop", r"the laptop's disk is /dev/nbd0", "has its root on NBD"),
    Event("desktop", r"laptop login: ", "login prompt of the laptop's OS"),
)


def config_text(workdir: Path, cache: Path) -> str:
    """The demo's config.yaml, for these folders."""
    paths = {"workdir": str(workdir), "cache": str(cache), "key": str(workdir / "aes-key")}
    return f"{_CONFIG}paths: {json.dumps(paths)}\n"  # JSON is YAML, with everything quoted


def run_demo(
    workdir: Path,
    cache: Path,
    *,
    mirror: str | None,
    check: bool,
    firmware: Firmware = Firmware.BIOS,
) -> None:
    """The demo. With `check`, verify from outside that what was written has arrived."""
    started = time.monotonic()
    workdir, cache = workdir.resolve(), cache.resolve()
    files.make_folder(workdir)
    text = config_text(workdir, cache)
    settings = config.parse(text, name="demo", base=workdir)
    with ExitStack() as stack:
        stack.enter_context(files.locked(workdir))
        virtual = prepare(settings, text, mirror)
        disk = workdir / "demo-disk.img"
        disk.unlink(missing_ok=True)
        disk.touch(mode=0o600)  # which cp keeps
        run(["cp", "--sparse=always", virtual.image, disk])
        files.belongs_to_invoker(disk)
        machines = _switch_on(stack, settings, virtual, disk, firmware)
        _tell(machines)
        say(f"{time.monotonic() - started:.0f} s in all")
        if check:
            _use_and_check(machines, disk)
        else:
            _hand_over(machines)


def prepare(
    settings: config.Config, text: str, mirror: str | None, kind: Kind = laptop.DEMO
) -> Laptop:
    """Make whatever of the ramdisk and the laptop there is not yet."""
    prepare_ramdisk(settings, text, mirror)
    return laptop.build(settings, text, mirror=mirror, kind=kind)


def prepare_ramdisk(settings: config.Config, text: str, mirror: str | None) -> None:
    """Make the ramdisk, unless it is there."""
    keys.create(settings.paths.key)
    image = settings.paths.cpio
    own_parts = [tree.SOURCE / name for name in ("initrd", "modules", "stiefelsystem")]
    stamp = Stamp(image, text, settings.paths.key, *own_parts)
    if not stamp.is_current():
        stamp.remove()
        build.build(settings, Supply(settings.paths.cache, mirror))
        stamp.write()


def _switch_on(
    stack: ExitStack,
    settings: config.Config,
    virtual: Laptop,
    disk: Path,
    firmware: Firmware,
) -> dict[str, VirtualMachine]:
    """Start both machines, joined by a cable."""
    folder = settings.paths.workdir
    stick = folder / "demo-stick.img"
    make.image(stick, settings)
    cable = vm.cable(folder, "laptop", "desktop")
    hardware = (
        Hardware(
            name="laptop",
            kernel=virtual.kernel,
            initrd=virtual.initrd,
            cmdline=virtual.cmdline,
            mac=MACS["laptop"],
            cable=cable["laptop"],
            disk=disk,
        ),
        Hardware(
            name="desktop",
            kernel=pack.kernel_of(settings.paths.cpio),
            stick=stick,
            firmware=firmware,
            mac=MACS["desktop"],
            cable=cable["desktop"],
        ),
    )
    return {one.name: stack.enter_context(VirtualMachine(one, folder)) for one in hardware}


def _tell(machines: dict[str, VirtualMachine]) -> None:
    """Wait for one event of the story after the other, and say when it came."""
    started = time.monotonic()
    say("   0.0 s  laptop   is switched on, and boots its own OS")
    say("   0.0 s  desktop  is switched on, and boots from the stick")
    for event in STORY:
        machines[event.machine].wait_for(event.pattern, _PATIENCE)
        say(f"{time.monotonic() - started:6.1f} s  {event.machine:7}  {event.meaning}")


def _hand_over(machines: dict[str, VirtualMachine]) -> None:
    if not sys.stdin.isatty():
        say("no terminal to hand over; --check verifies the rest")
        return
    say("")
    say("this is the console of the desktop; the disk is the laptop's")
    say(f"log in as root with the password {PASSWORD!r}; {terminal.LEAVE_NAME} ends the demo")
    machines["desktop"].type("\n")
    terminal.attach(machines["desktop"])


def _use_and_check(machines: dict[str, VirtualMachine], disk: Path) -> None:
    """Write on the desktop, shut everything down, and look for it in the laptop's image."""
    content = secrets.token_hex(32)
    with step("write a file on the desktop, and shut it down"):
        _write_on(machines["desktop"], content)
        machines["desktop"].wait_until_off(_PATIENCE)
    with step("the laptop hears that it is done, and goes back to its own OS"):
        machines["laptop"].wait_for("the session is over: reboot", _PATIENCE)
        machines["laptop"].wait_until_off(_PATIENCE)
    with step("look into the laptop's disk from outside"):
        _verify(disk, content)


def _write_on(desktop: VirtualMachine, content: str) -> None:
    """Log in, see that the root is what it should be, write and sync, and power off."""
    desktop.type("root\n")
    desktop.wait_for(r"Password: ", _PATIENCE)
    at = desktop.position
    desktop.type(f"{PASSWORD}\n")
    desktop.wait_for(r"root@laptop:.*# ", _PATIENCE, after=at)
    at = desktop.position
    # Written in two parts, so that the echo of what is typed is not taken for its result.
    desktop.type("echo root''-is-$(findmnt -n -o SOURCE /)\n")
    desktop.wait_for(r"root-is-/dev/nbd0p2\s", _PATIENCE, after=at)
    desktop.type("echo cache''-is-$(cat /sys/block/nbd0/queue/write_cache)\n")
    desktop.wait_for(r"cache-is-write back\s", _PATIENCE, after=at)
    at = desktop.position
    desktop.type(f"echo {content} > {_FILE} && sync && echo is''-written\n")
    desktop.wait_for(r"is-written", _PATIENCE, after=at)
    desktop.type("systemctl poweroff\n")


def _verify(disk: Path, content: str) -> None:
    """Raises `StiefelError` unless the image holds the file, and both filesystems are clean."""
    with tempfile.TemporaryDirectory(prefix="verify-", dir=disk.parent) as folder:
        boot, root = (_extract(disk, partition, Path(folder)) for partition in PARTITIONS)
        found = run(["debugfs", "-R", f"cat {_FILE}", root]).stdout.strip()
        if found != content:
            raise StiefelError(f"the laptop's disk has {found!r} in {_FILE}, not {content!r}")
        for filesystem in (boot, root):
            state = run(["dumpe2fs", "-h", filesystem]).stdout
            if not re.search(r"Filesystem state: +clean\n", state) or "needs_recovery" in state:
                raise StiefelError(f"the filesystem {filesystem.name} was not unmounted cleanly")
            checked = run(["e2fsck", "-f", "-n", filesystem], check=False)
            if checked.returncode != 0:
                errors = checked.stdout.strip()
                raise StiefelError(f"fsck finds errors in {filesystem.name}: {errors}")
    say("the file has arrived, and both filesystems are clean")


def _extract(disk: Path, partition: Partition, folder: Path) -> Path:
    """A partition as a file: not every release of e2fsprogs takes an offset for all its tools."""
    copy = folder / partition.name
    blocks = [f"skip={partition.offset // MIB}", f"count={partition.size // MIB}"]
    run(["dd", f"if={disk}", f"of={copy}", "bs=1M", *blocks, "conv=sparse", "status=none"])
    return copy
