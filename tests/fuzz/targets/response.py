"""The client's side of HTTP: of whatever answers, no more is taken than was asked for.

An input is what the server's side of a connection sends, and then closes.
"""

from __future__ import annotations

import io
import socket
from typing import Any
from unittest import mock

from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk import exchange, fetch
from tests.fuzz.by_hand import PEERS

# As a session's answer is read, then frames: header, body, tag, more than there is.
SIZES = (exchange.ANSWER_SIZE + 1, 5, 2, 16, 1 << 20)


class Sent(io.BufferedReader):
    """What the peer has sent. It may be without end, so nobody may ask for all of it."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size not in (None, -1), "reads as long as something comes"
        return super().read(size)


class Connection:
    """A socket with a peer that takes everything, and has sent what it will ever send."""

    def __init__(self, data: bytes) -> None:
        self.sent = Sent(io.BytesIO(data))

    def setsockopt(self, *_: int) -> None:
        pass

    def settimeout(self, _: float) -> None:
        pass

    def connect(self, _: Any) -> None:
        pass

    def sendall(self, _: bytes) -> None:
        pass

    def makefile(self, _: str) -> Sent:
        return self.sent

    def shutdown(self, _: int) -> None:
        pass

    def close(self) -> None:
        pass


def fuzz(data: bytes) -> bool:
    """Returns whether there was a body."""
    read = b""
    with mock.patch.object(socket, "socket", lambda *_: Connection(data)):
        try:
            with fetch._Post(PEERS[0], "/session", b"request") as response:
                for size in SIZES:
                    part = response.read(size)
                    assert len(part) <= size, "more is read than was asked for"
                    read += part
        except StiefelError as error:
            assert len(str(error)) < 400
            return False
    return bool(read)
