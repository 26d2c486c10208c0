"""The server's HTTP side: two requests, bounded in size, time and number.

POST /session      a session request; its answer (stiefelsystem.ramdisk.exchange)
POST /boot/ID      a sealed boot request; the sealed boot archive

The little HTTP/1.0 that this takes is here: http.server would take a quarter of the time in which
the server starts.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import sys
import threading
from collections.abc import Iterator
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from stiefelsystem.console import StiefelError, say
from stiefelsystem.datagram import Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.framing import Sealer
from stiefelsystem.messages import MessageError
from stiefelsystem.ramdisk import exchange
from stiefelsystem.ramdisk.admission import Lobby
from stiefelsystem.ramdisk.handover import Handover
from stiefelsystem.ramdisk.session import Sessions

_MAX_HEAD = 1 << 13
_MAX_BODY = 1 << 17
_STATUS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    501: "Not Implemented",
}
# So many connections may wait for their requests, each for so long.
_MAX_WAITING = 64
_REQUEST_SECONDS = 10.0
# With those whose requests are complete: what has no proof is answered at once, and in short.
_MAX_CONNECTIONS = _MAX_WAITING + 16
# For a thread that has just been hung up on.
_END_SECONDS = 1.0
# A peer that neither sends nor takes anything for so many seconds is dropped.
_IDLE_SECONDS = 20.0


class Refusal(Exception):
    """A request that is answered with an HTTP status, and nothing else."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


def read_request(file: io.BufferedIOBase) -> tuple[str, bytes]:
    """Path and body of a POST request. Raises `Refusal` for anything else."""
    lines: list[str] = []
    left = _MAX_HEAD
    while (line := file.readline(left)) not in (b"\r\n", b"\n"):
        if not line.endswith(b"\n"):
            raise Refusal(400)
        lines.append(line.decode("latin-1"))
        left -= len(line)
    words = lines[0].split() if lines else []
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refusal(400)
    if words[0] != "POST":
        raise Refusal(501)
    fields = (line.partition(":") for line in lines[1:])
    sizes = [value.strip() for name, _, value in fields if name.lower() == "content-length"]
    if len(sizes) != 1 or not re.fullmatch("[0-9]{1,8}", sizes[0]) or int(sizes[0]) > _MAX_BODY:
        raise Refusal(400)
    body = file.read(int(sizes[0]))
    if len(body) != int(sizes[0]):
        raise Refusal(400)
    return words[1], body


class Server(ThreadingTCPServer):
    """Serves each connection in a thread of its own, but not more than a few."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    # A connection that is not yet complete costs nothing: beyond this, the kernel sends cookies.
    request_queue_size = 1024

    def __init__(self, sessions: Sessions, handover: Handover, responder: Responder) -> None:
        self.sessions = sessions
        self.handover = handover
        self.responder = responder
        self.lobby = Lobby(size=_MAX_WAITING, seconds=_REQUEST_SECONDS)
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(("::", exchange.PORT), _Handler)

    def service_actions(self) -> None:
        """Called several times a second."""
        # A trickle of bytes never runs into the time limit of a single read.
        self.lobby.expire()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.lobby.enter(request, client_address[0])
        if self._free.acquire(timeout=_END_SECONDS):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def shutdown_request(self, request: Any) -> None:
        """Called at the end of each connection."""
        self.lobby.leave(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away in the middle is no event; anything else is a bug, and shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(StreamRequestHandler):
    server: Server
    timeout = _IDLE_SECONDS

    def handle(self) -> None:
        address, port, _, ifindex = self.client_address
        peer = Peer(address.partition("%")[0], port, ifindex)
        try:
            if not peer.address.startswith("fe80:"):
                raise Refusal(400)
            path, body = read_request(self.rfile)
            self.server.lobby.leave(self.connection)
            if path == "/session":
                self._session(body, peer)
            elif path.startswith("/boot/"):
                self._boot(path.removeprefix("/boot/"), body, peer)
            else:
                raise Refusal(404)
        except Refusal as refusal:
            self._begin(refusal.status)

    def _session(self, body: bytes, peer: Peer) -> None:
        try:
            answer = self.server.sessions.open(body, peer)
        except exchange.WrongKeyError:
            self.server.responder.wrong_key(peer)
            raise Refusal(403) from None
        except MessageError as error:
            self.server.responder.complain(error, peer)
            raise Refusal(400) from None
        self._begin(200)
        self.wfile.write(answer)

    def _boot(self, identity: str, body: bytes, peer: Peer) -> None:
        try:
            asked = self.server.sessions.take(bytes.fromhex(identity), body, peer)
        except MessageError as error:
            self.server.responder.complain(error, peer)
            raise Refusal(400) from None
        except ValueError:
            asked = None
        if asked is None:
            raise Refusal(404)
        self._begin(200)
        own_address = str(self.connection.getsockname()[0]).partition("%")[0]
        try:
            with Sealer(self.wfile.write, asked.secrets.archive) as out:
                self.server.handover.boot(out, asked, own_address, self._hang_up)
        except StiefelError as error:
            say(f"{peer}: {error}")
        except (ConnectionError, TimeoutError) as error:
            say(f"{peer}: went away while it received: {error}")
        except OSError as error:
            say(f"{peer}: cannot read what it is to get: {error}")

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _begin(self, status: int) -> None:
        head = f"HTTP/1.0 {status} {_STATUS[status]}\r\nContent-Type: application/octet-stream"
        self.wfile.write(f"{head}\r\n\r\n".encode())


@contextlib.contextmanager
def serving(sessions: Sessions, handover: Handover, responder: Responder) -> Iterator[None]:
    """Serve in a thread of its own, as long as the block runs."""
    with Server(sessions, handover, responder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
