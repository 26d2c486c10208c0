"""Virtual machines: QEMU with a serial console that can be watched, typed on, and logged."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from stiefelsystem import cpio
from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian, firmware
from stiefelsystem.host.firmware import Firmware, escaped
from stiefelsystem.host.pack import secrets_of
from stiefelsystem.run import environment, missing, run

_SETTLE = 5.0
# The translated code (MiB) of the kernel that a kexec replaces is thrown away page by page when the
# new one overwrites it. With the default, a share of the host's memory, that took 40 s.
# One processor: the emulation of two at once has made a guest's kernel panic, once in some dozen
# boots, and with two machines on two cores it is no faster.
_TCG = ("-accel", "tcg,tb-size=128", "-smp", "1")
# In emulation, the kernel's self-tests of its ciphers take one or two seconds of every boot.
TCG_WORDS = "cryptomgr.notests"
_KVM = ("-accel", "kvm", "-smp", "2")
# A kernel on KVM comes to its panic in one or two seconds.
_KVM_SECONDS = 8.0
# The last ten of the 32 flags are always zero (Intel's Software Developer's Manual, volume 1,
# "EFLAGS Register"). In some hundred boots, QEMU 7.2's emulation has once or twice left other bits
# in them, and the direction flag set, with which the kernel's own memset() runs backwards.
_IMPOSSIBLE_FLAGS = re.compile(rb"EFLAGS: (?!00[0-3])[0-9a-f]{8}")


class Screen(Enum):
    """What a VM has beside its serial line."""

    NONE = "none"
    UNSEEN = "unseen"  # a graphics card, which nobody looks at
    WINDOW = "window"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a VM is made of."""

    name: str
    # With a stick or by network, the kernel is only that by which KVM is tried out.
    kernel: Path
    initrd: Path | None = None
    cmdline: str = ""
    stick: Path | None = None
    # A boot server's folder, and what is booted from it; the server is what the NIC leads to, then.
    netboot: tuple[Path, str] | None = None
    firmware: Firmware = Firmware.BIOS
    mac: str
    cable: tuple[Path, Path]  # the sockets of its own end, and of the other
    second: tuple[Path, Path] | None = None  # another cable, in a NIC of its own
    disk: Path | str | None = None  # an image, or the URI of an NBD server
    sector: int = 512  # the disk's logical ones, in bytes
    memory: int = 1536  # MiB
    screen: Screen = Screen.NONE


def _qemu() -> str:
    """The QEMU for the ramdisk's architecture, which is the host's."""
    if debian.architecture() != "amd64":
        raise StiefelError("virtual machines are PCs in this version: amd64 hosts only")
    return "qemu-system-x86_64"


@functools.cache
def accelerator(kernel: Path) -> tuple[str, ...]:
    """QEMU's options for KVM where it really works, else for TCG, which emulates.

    /dev/kvm may exist, and even start a VM, and still fail at some instruction, as inside of other
    VMs. So a kernel without a root is booted: it panics, reboots, and thereby ends QEMU.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return _TCG
    command = [_qemu(), "-nodefaults", "-no-reboot", "-display", "none"]
    command += ["-accel", "kvm", "-cpu", "max", "-m", "512", "-kernel", str(kernel)]
    command += ["-append", "panic=-1 quiet"]
    try:
        done = run(command, check=False, timeout=_KVM_SECONDS)
    except StiefelError:
        return _TCG
    return _KVM if done.returncode == 0 else _TCG


def qemu_command(
    hardware: Hardware, *, serial: str = "stdio", control: Path | None = None
) -> list[str]:
    """The argv for QEMU: `serial` is what its console is connected to, `control` its QMP socket.

    The cable is a pair of datagram sockets: no bridge, no root, and each end may come and go.
    """
    command = [_qemu(), "-name", hardware.name, "-nodefaults", "-no-reboot"]
    command += [*accelerator(hardware.kernel), "-cpu", "max"]
    command += ["-m", str(hardware.memory), "-device", "virtio-rng-pci"]
    command += [] if hardware.netboot else _nic("", hardware.cable, hardware.mac)
    if hardware.second:
        command += _nic("2", hardware.second, _second(hardware.mac))
    if hardware.disk:
        drive = f"file={escaped(hardware.disk)},format=raw,if=none,id=disk,discard=unmap"
        sector = f"logical_block_size={hardware.sector},physical_block_size={hardware.sector}"
        command += ["-drive", drive, "-device", f"virtio-blk-pci,drive=disk,{sector}"]
    command += [*_booted(hardware, emulated="kvm" not in command), "-serial", serial]
    command += [] if hardware.screen is Screen.NONE else ["-device", "VGA"]
    command += [] if hardware.screen is Screen.WINDOW else ["-display", "none"]
    if control:
        command += ["-qmp", f"unix:{escaped(control)},server=on,wait=off"]
    return command


def _booted(hardware: Hardware, *, emulated: bool) -> list[str]:
    """The options for what the machine starts from: a kernel, or what its firmware finds."""
    if hardware.stick:
        drive = f"file={escaped(hardware.stick)},format=raw,if=none,id=stick,readonly=on"
        device = ["-device", "qemu-xhci", "-device", "usb-storage,drive=stick,bootindex=0"]
        return [*firmware.options(hardware.firmware), "-drive", drive, *device]
    if hardware.netboot:
        folder, name = (escaped(part) for part in hardware.netboot)
        network = f"user,id=boot,restrict=on,tftp={folder},bootfile={name}"
        # Without the card's own program, the one of the firmware for UEFI is used.
        rom = "" if hardware.firmware is Firmware.BIOS else ",romfile="
        card = ["-device", f"virtio-net-pci,netdev=boot,bootindex=0,mac={hardware.mac}{rom}"]
        return [*firmware.options(hardware.firmware), "-netdev", network, *card]
    command = ["-kernel", str(hardware.kernel)]
    command += ["-initrd", str(hardware.initrd)] if hardware.initrd else []
    words = f"{hardware.cmdline} {TCG_WORDS if emulated else ''}".strip()
    return [*command, "-append", words]


def _nic(number: str, cable: tuple[Path, Path], mac: str) -> list[str]:
    """The options for a NIC called nic, or nic2, and the cable in it."""
    own, other = map(escaped, cable)
    ends = f"local.type=unix,local.path={own},remote.type=unix,remote.path={other}"
    device = f"virtio-net-pci,id=nic{number},netdev=cable{number},mac={mac}"
    return ["-netdev", f"dgram,id=cable{number},{ends}", "-device", device]


def _second(mac: str) -> str:
    """The second NIC's MAC, made of the first one's."""
    return f"{mac[:-2]}{int(mac[-2:], 16) ^ 0x80:02x}"


def run_in_terminal(hardware: Hardware) -> int:
    """Run a VM on this terminal, where Ctrl-A X ends it; returns QEMU's status."""
    command = qemu_command(hardware, serial="mon:stdio")
    try:
        return subprocess.run(command, env=environment(), check=False).returncode
    except FileNotFoundError as error:
        raise missing(command[0]) from error


class VirtualMachine:
    """A running VM. Leaving the `with` block ends it, however; if an error leaves it, and the
    emulation is to blame, raises a `StiefelError` that says so."""

    def __init__(self, hardware: Hardware, folder: Path) -> None:
        self.name, self.hardware = hardware.name, hardware
        self.log = folder / f"{hardware.name}.log"
        self._control = folder / f"{hardware.name}.qmp"
        self._sockets = [self._control, hardware.cable[0]]
        if hardware.second:
            self._sockets.append(hardware.second[0])
        self._remove_sockets()
        self._log = self.log.open("wb")
        self._seen = bytearray()
        self._news = threading.Condition()
        self._ended = False
        self._watcher: int | None = None
        command = qemu_command(hardware, control=self._control)
        try:
            self._process = subprocess.Popen(
                command,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C on the terminal is for us, not for QEMU
            )
        except FileNotFoundError as error:
            raise missing(command[0]) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_SETTLE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(_SETTLE)
        self._log.close()
        self._remove_sockets()
        if isinstance(error, Exception) and _IMPOSSIBLE_FLAGS.search(self._seen):
            raise StiefelError(
                f"QEMU's emulation of the {self.name} has failed: flags that no processor has",
                hint=f"run it again; see {self.log}",
            ) from error

    @property
    def running(self) -> bool:
        """Whether QEMU has not ended."""
        return self._process.poll() is None

    def copy_output_to(self, descriptor: int | None) -> None:
        """Copy the console's output to a file descriptor from now on; None ends that."""
        self._watcher = descriptor

    def wait_for(self, pattern: str, seconds: float, *, after: int = 0) -> re.Match[bytes]:
        """Wait until `pattern` stands in the console's output behind position `after`.

        Raises `StiefelError`, with the last line seen, when it does not come in time or at all.
        """
        wanted = re.compile(pattern.encode())
        deadline = time.monotonic() + seconds
        with self._news:
            while not (match := wanted.search(self._seen, after)):
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"has not come to it in {seconds:.0f} s"
                    raise StiefelError(
                        f"waited for {pattern!r}, but the {self.name} {why}; "
                        f"its last words: {self._last_line()!r}",
                        hint=f"see {self.log}",
                    )
                self._news.wait(left)
            return match

    @property
    def position(self) -> int:
        """The end of the console's output so far, for `wait_for(after=…)`."""
        return len(self._seen)

    def type(self, text: str) -> None:
        """Type on the console."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()

    def press_ctrl_alt_delete(self) -> None:
        """What ends the server on a real laptop, too: systemd stops everything and reboots.

        A VM is off then, since QEMU runs with -no-reboot.
        """
        keys = [{"type": "qcode", "data": name} for name in ("ctrl", "alt", "delete")]
        self.order("send-key", keys=keys)

    def order(self, command: str, **arguments: Any) -> Any:
        """Have QEMU obey a command of its QMP, and return what it answers.

        Raises `StiefelError` if it does not obey.
        """
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(_SETTLE)
            control.connect(str(self._control))
            with control.makefile("rw", encoding="utf-8") as stream:
                stream.readline()  # the greeting
                _obey(stream, {"execute": "qmp_capabilities"})
                answer = _obey(stream, {"execute": command, "arguments": arguments})
        if "return" not in answer:
            raise StiefelError(f"QEMU does not obey {command} {arguments}: {answer.get('error')}")
        return answer["return"]

    def send_signal(self, number: signal.Signals) -> None:
        """Send QEMU a signal: SIGKILL is a power cut."""
        self._process.send_signal(number)

    def wait_until_off(self, seconds: float) -> None:
        """Wait until the machine has switched itself off. Raises `StiefelError` if it does not."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise StiefelError(
                f"the {self.name} is still on after {seconds:.0f} s; "
                f"its last words: {self._last_line()!r}",
                hint=f"see {self.log}",
            ) from error

    def _remove_sockets(self) -> None:
        """QEMU leaves them behind, and would not take the names again."""
        for path in self._sockets:
            path.unlink(missing_ok=True)

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := self._process.stdout.read1():  # type: ignore[attr-defined]
            self._log.write(data)
            self._log.flush()
            if self._watcher is not None:
                with contextlib.suppress(OSError):
                    os.write(self._watcher, data)
            with self._news:
                self._seen += data
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _last_line(self) -> str:
        lines = self._seen.decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "none"


def _obey(stream: TextIO, command: dict[str, Any]) -> dict[str, Any]:
    """Send a command of QMP, and read its answer; what QEMU tells unasked is passed over."""
    stream.write(json.dumps(command) + "\n")
    stream.flush()
    for line in stream:
        answer: dict[str, Any] = json.loads(line)
        if "event" not in answer:
            return answer
    return {"error": "it has hung up"}


def cable(folder: Path, one: str, other: str) -> dict[str, tuple[Path, Path]]:
    """A cable between two machines: for each, the socket of its own end and of the other."""
    first, second = (folder / f"{name}.cable" for name in (one, other))
    return {one: (first, second), other: (second, first)}


@contextlib.contextmanager
def whole_ramdisk(image: Path, *more: bytes) -> Iterator[Path]:
    """The ramdisk with its secrets, and `more` archives, as one file, which QEMU wants.

    It lies in memory, under a name that is gone with this process, however that ends.
    """
    with os.fdopen(os.memfd_create("stiefel-ramdisk"), "w+b") as file:
        try:
            with image.open("rb") as packed:
                shutil.copyfileobj(packed, file)
            for archive in (secrets_of(image).read_bytes(), *more):
                cpio.append(file, archive)
        except FileNotFoundError as error:
            raise StiefelError(
                f"there is no ramdisk: {error.filename} is missing", hint="run ./create-initrd-cpio"
            ) from error
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
