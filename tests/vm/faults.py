"""What happens to a disk at the end of a cable, and how soon its writes go on."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stiefelsystem.host.vm import VirtualMachine
from tests.vm import small
from tests.vm.small import KINDS
from tests.vm.wire import SECONDS, Wire, acknowledged, console, stalls, wait_for_writes

# Generous: how soon it goes on is for bench/ and for who reads what is printed.
_GOES_ON_SECONDS = 120.0
# In which a machine in emulation has settled again, before the next fault.
_CALM_SECONDS = 3.0
# A PCI slot that QEMU does not give away by itself.
_FIRST_SLOT = 0x10
_DAMAGE = (
    r"I/O error|EXT4-fs error|EXT4-fs \(.*\): .*aborting|BTRFS: error|BTRFS (error|critical)"
    r"|XFS .*([Ee]rror|[Cc]orruption|[Ss]hutting|[Ss]hut down)|remounting filesystem read-only"
    r"|Kernel panic|BUG:| fails[:.]"
)


@dataclass
class Session:
    """A desktop that has a laptop's disk, and writes to it."""

    wire: Wire
    laptop: VirtualMachine
    desktop: VirtualMachine
    tell: Callable[[str], None]
    _slots: Iterator[int] = field(default_factory=lambda: itertools.count(_FIRST_SLOT))

    def cable_out(self, seconds: float) -> None:
        """The cable has no signal, at both ends, for so long."""
        self._plug(False)
        time.sleep(seconds)
        self._plug(True)
        self._goes_on(f"cable-{seconds:.0f}s")

    def cable_out_under_pressure(self, seconds: float) -> None:
        """Meanwhile, the target takes nearly all its memory, and writes more than is left."""
        self._plug(False)
        after = self.desktop.position
        self.desktop.type("press\n")
        self.desktop.wait_for("memory is short", SECONDS, after=after)
        time.sleep(seconds)
        self._plug(True)
        self._goes_on(f"pressure-{seconds:.0f}s")
        self.desktop.wait_for(f"{KINDS[-1]} has got much", SECONDS, after=after)

    def move_nic(self, machine: VirtualMachine, seconds: float) -> None:
        """A machine's adapter is pulled, and put into another place after so long."""
        machine.order("device_del", id="nic")
        time.sleep(seconds)
        place = {"addr": hex(next(self._slots)), "mac": machine.hardware.mac}
        machine.order("device_add", driver="virtio-net-pci", netdev="cable", id="nic", **place)
        self._goes_on(f"{machine.name}-nic-{seconds:.0f}s")

    def kill(self, which: str) -> None:
        """Kill nbd-server's process for the `connection`, or `all` of them."""
        after = self.laptop.position
        self.laptop.type(f"kill-{which}\n")
        self.laptop.wait_for(r"killed nbd-server \d+", SECONDS, after=after)
        self._goes_on(f"kill-{which}")

    def set_clock(self, hours: int) -> None:
        """Set the target's clock, forward or back."""
        after = self.desktop.position
        self.desktop.type(f"clock {hours * 3600}\n")
        self.desktop.wait_for(r"clock is set to \d+", SECONDS, after=after)

    def calm(self, name: str, seconds: float, *, stall: float) -> None:
        """Nothing happens for so long, and no write takes longer than `stall`."""
        begin = self.desktop.position
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            wait_for_writes(self.desktop, stall, after=self.desktop.position)
        longest = max(stalls(self.desktop, begin), default=0.0)
        self.tell(f"calm {name}: for {seconds:.0f} s, the longest stall {longest:.1f} s")
        assert longest <= stall

    def end(self) -> None:
        """The target ends the session and powers off; the laptop hears it, and goes."""
        self.desktop.type("end\n")
        self.desktop.wait_for(r"end of session: 0\.", SECONDS)
        self.desktop.wait_until_off(SECONDS)
        self.laptop.wait_for("is done; the disk is closed, and has everything", SECONDS)
        self.laptop.wait_for("the session is over: reboot", SECONDS)
        self.laptop.wait_until_off(SECONDS)

    def _goes_on(self, name: str) -> None:
        """All filesystems are written to again, and soon as calmly as before."""
        over, after = time.monotonic(), self.desktop.position
        wait_for_writes(self.desktop, _GOES_ON_SECONDS, after=after)
        self.tell(f"fault {name}: goes on after {time.monotonic() - over:.1f} s")
        time.sleep(_CALM_SECONDS)

    def _plug(self, on: bool) -> None:
        for machine in (self.laptop, self.desktop):
            machine.order("set_link", name="cable", up=on)


@contextmanager
def session(wire: Wire, tell: Callable[[str], None]) -> Iterator[Session]:
    """Have one, from the two machines' being switched on."""
    begun = time.monotonic()
    with (
        VirtualMachine(wire.laptop(wire.disk.image, "desktop"), wire.folder) as laptop,
        VirtualMachine(wire.desktop("desktop"), wire.folder) as desktop,
    ):
        wait_for_session(desktop)
        tell(f"the target writes {time.monotonic() - begun:.0f} s after switching on")
        yield Session(wire, laptop, desktop, tell)


def wait_for_session(desktop: VirtualMachine) -> None:
    """Wait until the target runs, and writes."""
    desktop.wait_for("starting the laptop's OS", SECONDS)
    wait_for_writes(desktop, SECONDS, after=0)


def assert_nothing_is_damaged(desktop: VirtualMachine) -> None:
    """No write has failed on the target, as far as its kernel has told."""
    found = re.search(rf"^.*({_DAMAGE}).*$", console(desktop), re.M)
    assert not found, found.group(0)


def assert_all_is_there(wire: Wire, *desktops: VirtualMachine) -> None:
    """Every record that any of them was told to be on the medium is on the laptop's disk."""
    assert_holds(wire, *(acknowledged(desktop) for desktop in desktops))


def assert_holds(wire: Wire, *promised: dict[str, int]) -> None:
    """The disk holds these records and all before them, and its filesystems are in order."""
    held = wire.held()
    for one in promised:
        for kind, last in one.items():
            assert held[kind] > last, (
                f"{kind} holds {held[kind]} records, but record {last} was acknowledged"
            )
    small.check(wire.disk)
