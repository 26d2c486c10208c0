"""Room for connections that wait for a request: some, and each for a short time."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple


class _Visitor(NamedTuple):
    address: str
    since: float


class Lobby:
    """Where connections wait until their requests are complete.

    There is always room for one more. If `size` are in, the oldest of the address that has most
    of them has to go: who opens many pushes out its own, and an honest peer, whose request comes
    at once, hardly ever becomes the oldest of anything. After `seconds`, each has to go.
    """

    def __init__(self, *, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        self._lock = threading.Lock()
        # In the order in which they came.
        self._inside: dict[socket.socket, _Visitor] = {}

    def enter(self, connection: socket.socket, address: str) -> None:
        """Let a connection in; another one may be hung up on for it."""
        with self._lock:
            if len(self._inside) >= self._size:
                self._expel(self._most_expendable())
            self._inside[connection] = _Visitor(address, time.monotonic())

    def leave(self, connection: socket.socket) -> None:
        """Its request is complete, or it has ended; to be called before it is closed."""
        with self._lock:
            self._inside.pop(connection, None)

    def expire(self) -> None:
        """Hang up on all whose time is over; to be called now and then."""
        with self._lock:
            start = time.monotonic() - self._seconds
            for connection in [one for one, it in self._inside.items() if it.since < start]:
                self._expel(connection)

    def _most_expendable(self) -> socket.socket:
        counts = Counter(it.address for it in self._inside.values())
        # Of equals, max() takes the first.
        return max(self._inside, key=lambda one: counts[self._inside[one].address])

    def _expel(self, connection: socket.socket) -> None:
        """Its thread is woken up, finds the end of the stream, and closes it."""
        del self._inside[connection]
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
