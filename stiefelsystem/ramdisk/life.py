"""When the laptop goes back to its own OS: at the end of a session, or when nobody comes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from stiefelsystem.console import say

# How long the desktop, which goes down itself, may have its farewell confirmed again.
_GOODBYE_SECONDS = 3.0
# What systemd as PID 1 takes for an order: systemd(1), "Signals".
_ORDERS = {"poweroff": signal.SIGRTMIN + 4, "reboot": signal.SIGRTMIN + 5}


class Life:
    """Tells the server how long to go on; `in_use` whether a client has the disk."""

    def __init__(self, *, after: str, wait: int, in_use: Callable[[], bool]) -> None:
        self._after = after
        self._wait = wait
        self._in_use = in_use
        self._used_at = time.monotonic()
        self._ended_at: float | None = None

    def session_ended(self) -> None:
        """A client has said that it is done."""
        self._used_at = time.monotonic()
        if self._after != "wait":
            self._ended_at = self._used_at

    def over(self) -> str:
        """`reboot` or `poweroff` when it is time for that; empty as long as the server goes on."""
        now = time.monotonic()
        if self._in_use():
            self._used_at, self._ended_at = now, None
        if self._ended_at is not None and now - self._ended_at > _GOODBYE_SECONDS:
            say(f"the session is over: {self._after}")
            return self._after
        if now - self._used_at > self._wait:
            say(f"no desktop for {self._wait} s: back to this machine's own OS")
            return "reboot"
        return ""


def leave(how: str) -> None:
    """Have systemd stop everything, and reboot or power off."""
    os.kill(1, _ORDERS[how])
