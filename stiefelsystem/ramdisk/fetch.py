"""Get the boot archive from a server that was found: one session, one request, one answer."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from stiefelsystem import keys
from stiefelsystem.console import StiefelError, say
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.progress import Progress
from stiefelsystem.ramdisk import archive, exchange
from stiefelsystem.ramdisk.archive import Received
from stiefelsystem.ramdisk.exchange import Secrets
from stiefelsystem.ramdisk.search import Found

_CONNECT_SECONDS = 5.0
# The server may have to wait for its disk before the first byte of an archive.
_READ_SECONDS = 60.0
# More than all files of an archive may have.
_MOST = 1 << 33
# Of an error that quotes the peer; a line of HTTP may have 64 KiB.
_SHOWN = 200
# Of what the laptop has to say about its disk.
_MOST_NOTES = 8


class AskAgain(StiefelError):
    """The laptop may soon give what it refuses now: it is to be asked again, for `seconds`."""

    seconds: float


class NotYet(AskAgain):
    """Its disk is not there yet, but may come."""

    seconds = 60.0


class Unconfirmed(AskAgain):
    """Somebody else has the disk; whoever is at the laptop is asked who is to have it."""

    seconds = 150.0  # it takes an answer for 120


class Fetched(NamedTuple):
    """The server's answer, the archive's files, and the secrets that belong to the request."""

    answer: dict[str, Any]
    received: Received
    secrets: Secrets


def fetch(key: bytes, found: Found, folder: Path, request: dict[str, Any]) -> Fetched:
    """Open a session, make the boot request, and receive the archive into `folder`, verified.

    Raises `StiefelError` for whatever the server or the link do wrong, and where another client
    has the disk; `AskAgain` where it is worth waiting.
    """
    session = _open_session(keys.subkey(key, keys.SESSION), found)
    return _boot(session, found, folder, request)


class _Post:
    """One request to a neighbour, and the body of its answer, to be read; HTTP status 200 only.

    Raises `StiefelError` when the peer goes away, or does not speak HTTP. A trickle of bytes never
    runs into the limit of a single read, so all of it has to be done within that time, until the
    limit is lifted.
    """

    def __init__(self, peer: Peer, path: str, body: bytes) -> None:
        self._peer = peer
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._response: http.client.HTTPResponse | None = None
        self._limit = threading.Timer(_READ_SECONDS, self._cut)
        self._limit.daemon = True
        self._limit.start()
        try:
            with self._naming():
                self._response = self._send(path, body)
            if self._response.chunked:
                # Not in HTTP/1.0, and http.client believes whatever a chunk says of its size.
                raise StiefelError(
                    "the laptop's answer is in chunks, which this version never asks for"
                )
            if self._response.status != 200:
                raise StiefelError(
                    f"the laptop refused the request: HTTP status {self._response.status}"
                )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._limit.cancel()
        self._socket.close()
        if self._response:
            self._response.close()  # it has the socket, too

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the body; none at its end, or where the peer cut it short."""
        assert self._response is not None
        with self._naming():
            return self._response.read(size)

    def lift_limit(self) -> None:
        """Allow any time from here on, as long as something comes."""
        self._limit.cancel()

    def _send(self, path: str, body: bytes) -> http.client.HTTPResponse:
        # Header and body are sent apart, and must not wait for each other.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(_CONNECT_SECONDS)
        # Connected here, by the interface's number: http.client would ask a resolver for its name.
        self._socket.connect((self._peer.address, exchange.PORT, 0, self._peer.ifindex))
        self._socket.settimeout(_READ_SECONDS)
        connection = http.client.HTTPConnection(self._peer.address, exchange.PORT)
        connection.sock = self._socket
        connection.request("POST", path, body)
        return connection.getresponse()

    def _cut(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            reason = str(error)[:_SHOWN]
            raise StiefelError(f"the laptop at {self._peer} went away: {reason}") from error


def _open_session(key: bytes, found: Found) -> exchange.Keys:
    opening = exchange.Client(key, found.offer)
    with _Post(found.peer, "/session", opening.request) as response:
        return opening.finish(response.read(exchange.ANSWER_SIZE + 1))


def _boot(session: exchange.Keys, found: Found, folder: Path, request: dict[str, Any]) -> Fetched:
    body = io.BytesIO()
    with Sealer(body.write, session.to_server) as out:
        out.write(json.dumps(request).encode())
    sealed = body.getvalue()
    secrets = session.secrets(sealed)
    with (
        _Post(found.peer, f"/boot/{session.id.hex()}", sealed) as response,
        Opener(response.read, secrets.archive) as stream,
    ):
        receiver = archive.Receiver(stream)
        answer = receiver.answer()
        response.lift_limit()  # it has proved the key; the archive takes as long as it takes
        if answer.get("status") == "ok":
            _show_notes(answer.get("notes"))
            with Progress("receiving", _total(answer.get("size"))) as progress:
                received = receiver.files(folder, progress.advance)
            return Fetched(answer, received, secrets)
        receiver.finish()
    raise _refusal(answer)


def _show_notes(notes: object) -> None:
    for note in notes[:_MOST_NOTES] if isinstance(notes, list) else []:
        say(f"the laptop says: {str(note)[:_SHOWN]}")


def _refusal(answer: dict[str, Any]) -> StiefelError:
    reason, hint = (str(answer.get(name, "")) for name in ("reason", "hint"))
    match answer.get("status"):
        case "not yet":
            return NotYet(f"the laptop is not ready yet: {reason}", hint=hint)
        case "confirm":
            return Unconfirmed(f"not without a yes: {reason}", hint=hint)
        case "in use":
            return StiefelError(f"the laptop refuses: {reason}", hint=hint)
        case _:
            return StiefelError(f"the laptop cannot serve: {reason}", hint=hint)


def _total(size: object) -> int:
    """How many bytes come, as the laptop says; far too many where that cannot be."""
    return size if isinstance(size, int) and 0 < size <= _MOST else _MOST
