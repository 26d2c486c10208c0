"""The server's HTTP side: two requests, bounded in size, time and number.

POST /session      a session request; its answer (stiefelsystem.ramdisk.exchange)
POST /boot/ID      a sealed boot request; the sealed boot archive
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from stiefelsystem.console import StiefelError, say
from stiefelsystem.datagram import Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.messages import MessageError
from stiefelsystem.ramdisk import exchange
from stiefelsystem.ramdisk.session import Sessions

PORT = 4644
_MAX_BODY = 1 << 17
_MAX_CONNECTIONS = 16
# A peer that neither sends nor takes anything for so many seconds is dropped.
_IDLE_SECONDS = 20.0
# A request has to be complete within this time.
_REQUEST_SECONDS = 10.0


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread of its own, but not more than a few."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, sessions: Sessions, responder: Responder) -> None:
        self.sessions = sessions
        self.responder = responder
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(("::", PORT), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away in the middle is no event; anything else is a bug, and shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _IDLE_SECONDS

    def setup(self) -> None:
        super().setup()
        # A trickle of bytes never runs into the time limit of a single read.
        self._limit = threading.Timer(_REQUEST_SECONDS, self._cut)
        self._limit.daemon = True
        self._limit.start()

    def finish(self) -> None:
        self._limit.cancel()
        super().finish()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_POST(self) -> None:
        address, port, _, ifindex = cast(tuple[str, int, int, int], self.client_address)
        peer = Peer(address.partition("%")[0], port, ifindex)
        body = self._body() if peer.address.startswith("fe80:") else None
        if body is None:
            self.send_error(400)
        elif self.path == "/session":
            self._session(body, peer)
        elif self.path.startswith("/boot/"):
            self._boot(body, peer)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what matters is said where it happens."""

    def version_string(self) -> str:
        """Nothing that helps a stranger."""
        return "stiefelsystem"

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,8}", length) or int(length) > _MAX_BODY:
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def _session(self, body: bytes, peer: Peer) -> None:
        try:
            answer = self.server.sessions.open(body, peer)
        except exchange.WrongKeyError:
            self.server.responder.wrong_key(peer)
            self.send_error(403)
        except MessageError as error:
            self.server.responder.complain(error, peer)
            self.send_error(400)
        else:
            self._begin()
            self.wfile.write(answer)

    def _boot(self, body: bytes, peer: Peer) -> None:
        try:
            keys = self.server.sessions.take(bytes.fromhex(self.path.removeprefix("/boot/")), peer)
        except ValueError:
            keys = None
        if keys is None:
            self.send_error(404)
            return
        self._limit.cancel()  # it has proved the key; the archive takes as long as it takes
        self._begin()
        own_address = str(self.connection.getsockname()[0]).partition("%")[0]
        try:
            with (
                Opener(io.BytesIO(body).read, keys.to_server) as request,
                Sealer(self.wfile.write, keys.to_client) as out,
            ):
                self.server.sessions.boot(request, out, peer, own_address, self._cut)
        except StiefelError as error:
            say(f"{peer}: {error}")
        except (ConnectionError, TimeoutError) as error:
            say(f"{peer}: went away while it received: {error}")
        except OSError as error:
            say(f"{peer}: cannot read what it is to get: {error}")

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()


@contextlib.contextmanager
def serving(sessions: Sessions, responder: Responder) -> Any:
    """Serve in a thread of its own, as long as the block runs."""
    with Server(sessions, responder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
