"""A desktop, a laptop, and an attacker's machine between them."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.netns.machines import Hub, Machine, fill_laptop
from tests.netns.test_autokexec import autokexec
from tests.processes import Program

NBD_PORT = 10809
SERVING = "serving, waiting for the desktop"
LISTENING = "listening for a desktop"
OPEN = "is open to it, and to nobody else"
ORDERED = "a desktop on eth0 asks for this machine's disk"
FOUND = "found the laptop on eth0; its OS stops in 7 s"


@dataclass(frozen=True)
class Middle:
    """Three machines in a row."""

    desktop: Machine
    relay: Machine
    laptop: Machine
    key: bytes

    @classmethod
    def of(cls, hub: Hub) -> Middle:
        """The machines, joined by two cables, past the hub; the laptop has a disk."""
        desktop, relay, laptop = (
            hub.machine(name, plugged=False) for name in ("desktop", "relay", "laptop")
        )
        hub.join((desktop, "eth0"), (relay, "eth0"))
        hub.join((relay, "eth1"), (laptop, "eth0"))
        for interface in ("eth0", "eth1"):
            relay.bring_up(interface)
        fill_laptop(laptop)
        return cls(desktop, relay, laptop, hub.key)

    def autokexec(self) -> Program:
        """autokexec, whose every order fails, so that it listens again."""
        shutil.rmtree(self.laptop.data / "etc", ignore_errors=True)
        return autokexec(self.laptop, key=self.key)

    def boot(self, *argv: str | Path) -> AbstractContextManager[Programs]:
        """The laptop serves, the desktop searches; the relay has these arguments of relay.py."""
        return self.running(self.laptop.server(), *argv)

    def order(self, *argv: str | Path) -> AbstractContextManager[Programs]:
        """The same, with autokexec on the laptop."""
        return self.running(self.autokexec(), *argv)

    @contextmanager
    def running(self, laptop: Program, *argv: str | Path) -> Iterator[Programs]:
        """The same, with this program on the laptop; all of them are ended, and have met no bug."""
        with laptop:
            # So that it hears all that the relay does.
            laptop.wait_for(f"{SERVING}|{LISTENING}")
            with self.relay.script("relay.py", *argv) as relay, self.desktop.client() as client:
                yield Programs(self, laptop, relay, client)
            for program in (laptop, relay, client):
                assert "Traceback" not in program.output

    def disk_is_open(self) -> bool:
        """Whether the disk is open to the relay, which the laptop takes for the desktop."""
        uri = f"nbd://[{self.laptop.address()}%25eth1]:{NBD_PORT}/{self.laptop.export()}"
        command = self.relay.namespace_command("nbdinfo", "--size", uri)
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        return done.returncode == 0

    def empty_desktop(self) -> None:
        """As if it had got nothing yet."""
        for name in ("kernel", "initrd", "cmdline"):
            (self.desktop.data / name).unlink()
        # Who is in the middle, and tries to use the disk, needs the name that it has.
        (self.desktop.data / "session").rename(self.relay.data / "session")

    def desktop_has_nothing(self) -> bool:
        """Whether the desktop has nothing but its key: no files, and no folder for them."""
        return {path.name for path in self.desktop.data.iterdir()} == {"key"}

    def desktop_has_all(self) -> bool:
        """Whether the desktop has what the laptop has, and no more than that."""
        boot = self.laptop.data / "boot"
        same = (
            (self.desktop.data / name).read_bytes() == (boot / original).read_bytes()
            for name, original in (("kernel", "vmlinuz-6.12"), ("initrd", "initrd.img-6.12"))
        )
        names = {path.name for path in self.desktop.data.iterdir()}
        return names == {"key", "kernel", "initrd", "cmdline", "session"} and all(same)


@dataclass
class Programs:
    """What runs on the three machines."""

    machines: Middle
    laptop: Program
    relay: Program
    desktop: Program

    def end_attack(self) -> None:
        """The attack is over; until now, the desktop has got nothing."""
        assert self.machines.desktop_has_nothing(), list(self.machines.desktop.data.iterdir())
        self.relay.process.send_signal(signal.SIGUSR1)

    def succeed(self, desktop: Program | None = None) -> None:
        """The desktop gets everything, by this program or the one that runs anyway."""
        desktop = desktop or self.desktop
        assert desktop.wait(30) == 0, desktop.output
        assert self.machines.desktop_has_all(), list(self.machines.desktop.data.iterdir())
        self.laptop.wait_for(OPEN)
        assert self.machines.disk_is_open()
