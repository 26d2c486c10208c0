"""A laptop and a desktop, joined by a wire, in the ramdisk both: what can happen to them."""

from __future__ import annotations

import re
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stiefelsystem import cmdline, cpio
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.host import pack, vm
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds, capabilities
from tests.vm import small
from tests.vm.small import KINDS, Small

SECONDS = 300.0
_CONSOLE = "console=ttyS0 quiet panic=1 oops=panic"
_SOCKET_SECONDS = 10.0

# On the laptop, an ear on the console, which has what is typed for itself. Whoever is the leader of
# nbd-server's processes listens; the others have a connection each.
_EAR = """\
[Unit]
DefaultDependencies=no
Conflicts=shutdown.target
[Service]
ExecStart=/bin/sh /usr/lib/ear
StandardInput=tty-force
StandardOutput=tty
TTYPath=/dev/ttyS0
"""
_OBEY = """\
while read -r order; do
	ps -C nbd-server -o pid=,pgid= | while read -r pid group; do
		case $order in
		kill-all) ;;
		kill-connection) [ "$pid" != "$group" ] || continue ;;
		*) continue ;;
		esac
		kill -KILL "$pid" && echo "killed nbd-server $pid"
	done
done
"""
_UNITS = "etc/systemd/system"
_WANTS = f"{_UNITS}/stiefel-server.service.wants"
EAR = cpio.archive(
    [
        cpio.Entry(name="usr/lib/ear", mode=0o100644, data=_OBEY.encode()),
        cpio.Entry(name=f"{_UNITS}/ear.service", mode=0o100644, data=_EAR.encode()),
        cpio.Entry(name=_WANTS, mode=0o40755),
        cpio.Entry(name=f"{_WANTS}/ear.service", mode=0o120777, data=b"../ear.service"),
    ]
)


def _mac(name: str) -> str:
    """One that is always the same for a name; the last bytes of a NIC's first half."""
    return f"52:54:00:00:{zlib.crc32(name.encode()) % 256:02x}:30"


@dataclass(frozen=True)
class Wire:
    """What all machines of a test are made of."""

    folder: Path
    disk: Small
    image: Path
    ramdisk: Path

    def laptop(self, disk: Path | str, *desktops: str, name: str = "laptop") -> Hardware:
        """A laptop that serves this disk, an image or a URI, with a cable to each of one or two."""
        settings = ServerSettings(
            disk=Path("/dev/vda"),
            part=Path("/dev/vda1"),
            kernel="vmlinuz-*",
            initrd="initrd.img-*",
            cmdline=self.disk.cmdline,
        )
        cables = [self._cable(desktop)[f"to-{desktop}"] for desktop in desktops]
        return Hardware(
            name=name,
            kernel=pack.kernel_of(self.image),
            initrd=self.ramdisk,
            cmdline=f"{cmdline.SERVER_UNIT} {settings.words()} {_CONSOLE}",
            mac=_mac("laptop"),
            cable=cables[0],
            second=cables[1] if len(cables) > 1 else None,
            disk=disk,
            sector=self.disk.sector,
            memory=512,
        )

    def desktop(self, name: str) -> Hardware:
        """A desktop, at its cable to the laptop."""
        return Hardware(
            name=name,
            kernel=pack.kernel_of(self.image),
            initrd=self.ramdisk,
            cmdline=f"{cmdline.CLIENT_UNIT} {_CONSOLE}",
            mac=_mac(name),
            cable=self._cable(name)[name],
            memory=1024,
        )

    def with_disk(self, image: Path) -> Wire:
        """The same with a copy of the disk."""
        return replace(self, disk=replace(self.disk, image=image))

    def held(self) -> dict[str, int]:
        """How many records each filesystem of the image holds, after its journal was replayed.

        The disk is a local one here, and the OS on it is asked.
        """
        hardware = Hardware(
            name="verifier",
            kernel=self.disk.kernel,
            initrd=self.disk.initrd,
            cmdline=f"{self.disk.cmdline} verify",
            mac=_mac("verifier"),
            cable=(self.folder / "unplugged", self.folder / "nobody"),
            disk=self.disk.image,
            sector=self.disk.sector,
        )
        with VirtualMachine(hardware, self.folder) as machine:
            held = {kind: _number(machine, f"{kind} holds") for kind in KINDS}
            machine.wait_until_off(SECONDS)
        assert " fails:" not in console(machine)
        return held

    def _cable(self, desktop: str) -> dict[str, tuple[Path, Path]]:
        return vm.cable(self.folder, f"to-{desktop}", desktop)


@contextmanager
def wire(folder: Path, *, table: str, sector: int, root: str, ear: bool = False) -> Iterator[Wire]:
    """Have a small disk of this kind, see `small.make`, and the ramdisk, maybe with an ear.

    If the block fails, all consoles' logs are printed.
    """
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn", "nbdkit")
    settings, laptop = builds.virtual_laptop()
    disk = small.make(folder, laptop, table=table, sector=sector, root=root)
    try:
        with vm.whole_ramdisk(settings.paths.cpio, *([EAR] if ear else [])) as ramdisk:
            yield Wire(folder, disk, settings.paths.cpio, ramdisk)
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-20_000:]}")
        raise
    finally:
        for path in (disk.image, disk.initrd):
            path.unlink()


def teller(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """What prints a line at once, whether the test will fail or not."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return tell


@contextmanager
def volatile(image: Path, socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An NBD server with a cache that is lost when it is killed: what was not flushed is gone."""
    command = ["nbdkit", "--exit-with-parent", "-U", str(socket), "--filter=cache"]
    socket.unlink(missing_ok=True)
    server = subprocess.Popen([*command, "file", str(image), "cache=writeback"])
    try:
        deadline = time.monotonic() + _SOCKET_SECONDS
        while not socket.exists():
            assert server.poll() is None and time.monotonic() < deadline, "nbdkit does not listen"
            time.sleep(0.02)
        yield server
    finally:
        server.kill()
        server.wait()
        socket.unlink(missing_ok=True)


def cut_power(machine: VirtualMachine, disk: subprocess.Popen[bytes]) -> None:
    """End a machine and its disk at one moment: it must not see the disk fail, and tell others."""
    machine.send_signal(signal.SIGSTOP)
    disk.kill()
    machine.send_signal(signal.SIGKILL)
    machine.wait_until_off(SECONDS)


def console(machine: VirtualMachine) -> str:
    """All that a machine has shown."""
    return machine.log.read_text(errors="replace")


def acknowledged(machine: VirtualMachine) -> dict[str, int]:
    """The last record of each filesystem that the desktop has been told to be on the medium."""
    text = console(machine)
    found = {kind: re.findall(rf"^{kind} has (\d+)\.\r?$", text, re.M) for kind in KINDS}
    assert all(found.values()), f"nothing was acknowledged: {found}"
    return {kind: max(map(int, numbers)) for kind, numbers in found.items()}


def stalls(machine: VirtualMachine, after: int) -> list[float]:
    """How long writes have taken that took too long, in seconds, as told behind a position."""
    text = machine.log.read_bytes()[after:].decode(errors="replace")
    return [float(seconds) for seconds in re.findall(r" stalled for ([0-9.]+) s\.", text)]


def wait_for_writes(machine: VirtualMachine, seconds: float, *, after: int) -> None:
    """Wait until every filesystem has had three writes behind a position: one may have been told
    late, and one may have been on its way."""
    deadline = time.monotonic() + seconds
    for kind in KINDS:
        left = max(0.1, deadline - time.monotonic())
        machine.wait_for(rf"(?s)(?:\n{kind} has \d+\..*?){{3}}", left, after=after)


def _number(machine: VirtualMachine, words: str) -> int:
    return int(machine.wait_for(rf"{words} (\d+)\.", SECONDS).group(1))
