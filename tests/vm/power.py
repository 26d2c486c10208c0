"""A laptop whose power is cut at any moment: what was not flushed to its disk is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.host.vm import VirtualMachine
from tests.vm.faults import wait_for_session
from tests.vm.small import KINDS
from tests.vm.wire import SECONDS, Wire, acknowledged, cut_power, volatile, wait_for_writes

# How long is written before a cut, at least and at most, and how long after a write it comes.
_WRITE_SECONDS = (4.0, 8.0)
_MOMENT_SECONDS = (0.0, 0.2)


@dataclass
class Power:
    """Switches machines on, and a laptop off, again and again."""

    wire: Wire
    chance: random.Random
    stack: ExitStack
    _count: int = 0

    def on(self, *desktops: str) -> None:
        """Switch the laptop on, with a cable to each of one or two desktops."""
        self._count += 1
        socket = self.wire.folder / "disk.socket"
        self._disk = self.stack.enter_context(volatile(self.wire.disk.image, socket))
        hardware = self.wire.laptop(
            f"nbd+unix:///?socket={socket}", *desktops, name=f"laptop-{self._count}"
        )
        self._laptop = self.stack.enter_context(VirtualMachine(hardware, self.wire.folder))

    def desktop(self, name: str) -> VirtualMachine:
        """Switch a desktop on."""
        return self.stack.enter_context(VirtualMachine(self.wire.desktop(name), self.wire.folder))

    def say_yes(self) -> None:
        """Type what the laptop asks for before another desktop gets the disk."""
        self._laptop.wait_for("type yes and Enter here", SECONDS)
        self._laptop.type("yes\n")
        self._laptop.wait_for("confirmed: it gets the disk", SECONDS)

    def writes(self) -> int:
        """How many requests have changed the laptop's disk since it is on."""
        (disk,) = self._laptop.order("query-blockstats")
        return int(disk["stats"]["wr_operations"] + disk["stats"]["unmap_operations"])

    def copy_as_cut(self, desktop: VirtualMachine, copy: Path) -> dict[str, int]:
        """Make a copy of the disk as a power cut at a random moment would leave it, while all goes
        on; what had been acknowledged to the desktop at that moment."""
        self._wait_for_the_moment(desktop)
        self._disk.send_signal(signal.SIGSTOP)
        try:
            # What was acknowledged, and is still on its way to the console.
            time.sleep(1)
            promised = acknowledged(desktop)
            subprocess.run(["cp", "--sparse=always", self.wire.disk.image, copy], check=True)
        finally:
            self._disk.send_signal(signal.SIGCONT)
        return promised

    def cut(self, desktop: VirtualMachine) -> dict[str, int]:
        """Switch the laptop off while a desktop writes; what had been acknowledged to that."""
        self._wait_for_the_moment(desktop)
        cut_power(self._laptop, self._disk)
        time.sleep(1)  # as above
        return acknowledged(desktop)

    def _wait_for_the_moment(self, desktop: VirtualMachine) -> None:
        time.sleep(self.chance.uniform(*_WRITE_SECONDS))
        wait_for_writes(desktop, SECONDS, after=desktop.position)
        time.sleep(self.chance.uniform(*_MOMENT_SECONDS))


@contextmanager
def powered(wire: Wire, tell: Callable[[str], None]) -> Iterator[Power]:
    """All machines that are on are off after the block."""
    seed = int.from_bytes(os.urandom(4))
    tell(f"seed {seed}")
    with ExitStack() as stack:
        yield Power(wire, random.Random(seed), stack)


def begins_with(desktop: VirtualMachine) -> dict[str, int]:
    """With which record a desktop begins, on each filesystem: so many it has found whole."""
    wait_for_session(desktop)
    return {
        kind: int(desktop.wait_for(rf"{kind} goes on with (\d+)\.", SECONDS).group(1))
        for kind in KINDS
    }
