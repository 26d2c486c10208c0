"""The desktop that has the disk: what it does with it, and how it loses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk import link
from stiefelsystem.ramdisk.grant import Grant
from stiefelsystem.ramdisk.session import Asked

# How long a desktop may take from its kexec to its first NBD connection.
_BOOT_SECONDS = 300.0
# How long a transfer may take to end.
_HANG_UP_SECONDS = 30.0
# Who has used the disk within so many seconds, uses it.
_ACTIVE_SECONDS = 5.0


class Holder:
    """The client that has the disk, or is just getting what it needs for it.

    `own_address` is this machine's, to which it speaks; `hang_up` ends the connection over which it
    gets its archive.
    """

    def __init__(self, asked: Asked, own_address: str, hang_up: Callable[[], None]) -> None:
        self.asked = asked
        self.peer = asked.peer
        self.own_address = own_address
        self.hang_up = hang_up
        self.since = self.heard_at = time.monotonic()
        self._traffic = 0
        self.handed_over = threading.Event()
        self.grant: Grant | None = None
        self.open = False
        self.came = False
        self.done = False

    def is_over(self) -> bool:
        """Whether it is done, or never came for the disk. Who came and is silent comes back: the
        cable may be out for hours."""
        if self.done:
            return True
        if not self.open or self.came:
            return False  # a transfer ends by the connection's own deadlines
        return time.monotonic() - self.since > _BOOT_SECONDS

    def situation(self) -> str:
        """What it does with the disk, for a person: at this moment, not when last looked after."""
        self._observe()
        now = time.monotonic()
        if not self.open:
            return "is just receiving kernel and initrd"
        if not self.came:
            return f"got it {now - self.since:.0f} s ago, and has not connected yet"
        silent = now - self.heard_at
        if silent < _ACTIVE_SECONDS:
            return "uses it right now"
        return f"has not used it for {silent:.0f} s"

    def look_after(self) -> None:
        """Note what it does; follow this machine's adapter to another port, and mend what has died.

        Raises like `Grant.look_after`.
        """
        if not self.open or not self.grant:
            return
        self._observe()
        places = link.holders(self.own_address)
        if not places:
            return  # the adapter is out: nobody could come
        if self.peer.ifindex not in places:
            self.peer = self.peer._replace(ifindex=places[0])
        self.grant.look_after(self.peer.ifindex)

    def _observe(self) -> None:
        if not self.open or not self.grant:
            return
        self.came = self.came or self.grant.connections() > 0
        traffic = self.grant.traffic()
        if traffic > self._traffic:
            self.heard_at = time.monotonic()
        self._traffic = traffic

    def finish(self) -> None:
        """Close the disk; the tunnel stays, for what is still to be said in it."""
        if self.grant:
            self.grant.close_disk()
        self.done = True

    def end(self) -> None:
        """Fence it off: when this returns, nothing that it sends reaches the disk any more.

        Raises `StiefelError` if the disk reports that something was lost.
        """
        self.hang_up()
        if not self.handed_over.wait(_HANG_UP_SECONDS):
            raise StiefelError("the former client's transfer does not end; the disk may hang")
        if self.grant:
            self.grant.close()
