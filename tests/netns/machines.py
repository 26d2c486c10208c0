"""Machines in network namespaces: the real programs, in an unpacked ramdisk, on a real link."""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
import secrets
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.builds import REPO
from tests.processes import Program

_numbers = itertools.count()

# Mounts that end with the namespace in which `ip netns exec` runs its program.
_ENTER = """
root=$1 data=$2; shift 2
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$data" "$root/mnt"
exec chroot "$root" "$@"
"""


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


@dataclass(frozen=True)
class Machine:
    """A machine with one NIC, `eth0`, whose other end lies at the hub."""

    name: str
    root: Path
    data: Path  # appears as /mnt

    def namespace_command(self, *argv: str | Path) -> list[str]:
        """The argv that runs a program of the host's in this machine's network."""
        return ["ip", "netns", "exec", self.name, *map(str, argv)]

    def inside(self, *argv: str) -> list[str]:
        """The argv that runs a program of the ramdisk's on this machine."""
        enter = ["sh", "-e", "-c", _ENTER, "sh", str(self.root), str(self.data)]
        return self.namespace_command(*enter, *argv)

    def server(
        self, more: str = "", *, part: str = "/mnt/boot", disk: str = "/mnt/disk.img"
    ) -> Program:
        """The server program, which serves what `/mnt` holds; `more` is on its command line, too.

        Without encryption, since hardly a machine that runs tests has a kernel with WireGuard. Its
        standard input is what `console` has made, if it was called before.
        """
        words = f"stiefel_bootdisk={disk} stiefel_bootpart={part} stiefel_cmdline=cm9vdD1YIHJv"
        words += f" stiefel_encryption=none {more}"
        return self._program("server", "--cmdline", words, "--folder", "/run/stiefelsystem")

    def client(self) -> Program:
        """The client program, which puts what it receives into /mnt and ends."""
        return self._program("client", "--cmdline", "", "--receive", "/mnt")

    def script(self, name: str, *argv: str | Path) -> Program:
        """A program of the tests', from this folder, in this machine's network."""
        script = Path(__file__).with_name(name)
        command = self.namespace_command(sys.executable, "-u", script, *argv)
        return Program(command, env={**os.environ, "PYTHONPATH": str(REPO)})

    def session(self) -> dict[str, str]:
        """What the client has left for the keeper; empty where there is no session."""
        file = self.data / "session"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split("=") for line in lines)

    def export(self) -> str:
        """The name of the disk that this laptop has given away last, whoever has it."""
        sessions = sorted(
            self.data.parent.glob("*/session"), key=lambda file: file.stat().st_mtime_ns
        )
        return re.findall(r"export=(.*)", sessions[-1].read_text())[0] if sessions else "disk"

    def mac(self, interface: str = "eth0") -> str:
        """The MAC of its NIC."""
        words = _ip("-n", self.name, "-o", "link", "show", "dev", interface).split()
        return words[words.index("link/ether") + 1]

    def address(self, interface: str = "eth0") -> str:
        """Its link-local address, which is made of its MAC (RFC 4291, appendix A)."""
        mac = bytes.fromhex(self.mac(interface).replace(":", ""))
        identifier = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))

    def bring_up(self, interface: str = "eth0") -> None:
        """Switch its NIC on, as our programs do by themselves."""
        script = 'echo 0 >"/proc/sys/net/ipv6/conf/$1/accept_dad"; ip link set "$1" up'
        subprocess.run(self.namespace_command("sh", "-c", script, "sh", interface), check=True)

    def _program(self, side: str, *argv: str) -> Program:
        python = ["python3", "-I", "-u", "-m", f"stiefelsystem.ramdisk.{side}"]
        if (self.data / "console").exists():
            python = ["sh", "-c", 'exec "$@" <>/mnt/console', "sh", *python]
        return Program(self.inside(*python, "--key", "/mnt/key", *argv))

    def console(self) -> Path:
        """A console for the machine's programs; what is written to this file is typed there."""
        os.mkfifo(self.data / "console")
        return self.data / "console"


class Hub:
    """A switch in a namespace of its own, and the machines that are plugged into it."""

    def __init__(self, stack: ExitStack, root: Path, folder: Path) -> None:
        self._stack = stack
        self._root = root
        self._folder = folder
        self.key = secrets.token_bytes(32)
        self.name = self._namespace("hub")
        _ip("-n", self.name, "link", "add", "switch", "type", "bridge")
        _ip("-n", self.name, "link", "set", "switch", "up")

    def machine(self, name: str, *, key: bytes | None = None, plugged: bool = True) -> Machine:
        """A new machine with the hub's key, or another."""
        data = self._folder / name
        data.mkdir()
        (data / "key").write_bytes(key or self.key)
        (data / "key").chmod(0o600)
        machine = Machine(self._namespace(name), self._root, data)
        if plugged:
            self.plug_in(machine)
        return machine

    def plug_in(self, machine: Machine, *, switched: bool = True, mac: str = "") -> str:
        """Give a machine its NIC, with this MAC or any; returns the name of the other end, here at
        the hub."""
        other = f"to{next(_numbers)}"
        there = ["peer", "name", "eth0", *(["address", mac] if mac else []), "netns", machine.name]
        _ip("-n", self.name, "link", "add", other, "type", "veth", *there)
        if switched:
            _ip("-n", self.name, "link", "set", other, "master", "switch")
        _ip("-n", self.name, "link", "set", other, "up")
        return other

    def pull_out(self, machine: Machine) -> str:
        """Take its NIC from a machine; returns the MAC that it had."""
        mac = machine.mac()
        _ip("-n", machine.name, "link", "delete", "eth0")
        return mac

    def join(self, one: tuple[Machine, str], other: tuple[Machine, str]) -> None:
        """A cable between the NICs of two machines, past the hub; both NICs are made here."""
        (first, nic), (second, far) = one, other
        there = ["peer", "name", far, "netns", second.name]
        _ip("-n", first.name, "link", "add", nic, "type", "veth", *there)

    def plug_in_by_cable(self, one: Machine, other: Machine, *options: str) -> Program:
        """Join two machines by a cable that can be slow and flip bits (cable.py)."""
        ends = [self.plug_in(machine, switched=False) for machine in (one, other)]
        for namespace, end in [
            *((self.name, end) for end in ends),
            *((machine.name, "eth0") for machine in (one, other)),
        ]:
            # Frames as they are on a wire: of the MTU's size, with their checksums.
            off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"]
            subprocess.run(
                ["ip", "netns", "exec", namespace, "ethtool", "-K", end, *off],
                check=True,
                capture_output=True,
            )
        script = Path(__file__).with_name("cable.py")
        program = Program(
            ["ip", "netns", "exec", self.name, sys.executable, "-u", str(script), *ends, *options]
        )
        self._stack.enter_context(program)
        program.wait_for("carrying")
        return program

    def _namespace(self, role: str) -> str:
        name = f"stiefel-{os.getpid()}-{next(_numbers)}-{role}"
        _ip("netns", "add", name)
        self._stack.callback(_ip, "netns", "del", name)
        _ip("-n", name, "link", "set", "lo", "up")
        return name


def fill_laptop(laptop: Machine, *, initrd_size: int = 3 << 20) -> None:
    """Give a machine what a laptop has: a disk, and a boot partition (here: a folder)."""
    boot = laptop.data / "boot"
    boot.mkdir()
    (boot / "vmlinuz-6.12").write_bytes(os.urandom(1 << 20))
    (boot / "initrd.img-6.12").write_bytes(os.urandom(initrd_size))
    (laptop.data / "disk.img").write_bytes(os.urandom(8 << 20))
