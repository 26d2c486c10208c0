"""The server's HTTP side: it reads one bounded request, and gives nothing without a proof.

The first byte tells the peer: 0 to 3 are neighbours, the others are not. The rest is what it
sends, in which `{SESSION}`, `{ID}` and `{SEALED}` stand for a good request for a session, and for
the id and the good boot request of one that is open.
"""

from __future__ import annotations

import io
import re
from typing import Any

from stiefelsystem.challenges import Challenges
from stiefelsystem.datagram import Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.framing import Sealer
from stiefelsystem.messages import Role
from stiefelsystem.ramdisk import http
from stiefelsystem.ramdisk.admission import Lobby
from stiefelsystem.ramdisk.session import Asked, Sessions
from tests.fuzz import by_hand
from tests.fuzz.inline import without_threads

OWNER = by_hand.PEERS[0]
STRANGER = Peer("2001:db8::1", 40000, 0)
HEAD = re.compile(
    rb"HTTP/1\.0 (200 OK|400 Bad Request|403 Forbidden|404 Not Found|501 Not Implemented)\r\n"
    rb"Content-Type: application/octet-stream\r\n\r\n"
)
MAX_TAKEN = (1 << 13) + (1 << 17)
ARCHIVE = b"the archive"


class Sent(io.BytesIO):
    """What a peer has sent; afterwards, `taken` tells how much of it was read."""

    taken = 0

    def close(self) -> None:
        self.taken = self.tell()
        super().close()


class Connection:
    """A connection to a peer that has sent everything, and takes everything."""

    def __init__(self, data: bytes) -> None:
        self.sent = Sent(data)
        self.answer = b""

    def makefile(self, *_: object) -> Sent:
        return self.sent

    def settimeout(self, _: float) -> None:
        pass

    def getsockname(self) -> tuple[str, int, int, int]:
        return "fe80::9%9", 4644, 0, 9

    def sendall(self, data: Any) -> None:
        self.answer += bytes(data)


class Watched(Sessions):
    """Sessions that note what comes to them, and what good comes of it."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.bodies: list[bytes] = []
        self.answer = b""
        self.key: bytes | None = None

    def open(self, request: bytes, peer: Peer) -> bytes:
        self.bodies.append(request)
        self.answer = super().open(request, peer)
        return self.answer

    def take(self, identity: bytes, request: bytes, peer: Peer) -> Asked | None:
        self.bodies.append(request)
        asked = super().take(identity, request, peer)
        self.key = asked.secrets.archive if asked else None
        return asked


class Server:
    """What a request's handler finds in its server."""

    def __init__(self) -> None:
        self.sessions = Watched(by_hand.SESSION)
        self.responder = Responder(Role.SERVER, by_hand.SERVER, Challenges())
        self.lobby = Lobby(size=1, seconds=1.0)
        self.handover = self

    def boot(self, out: Sealer, *_: object) -> None:
        """As the handover."""
        out.write(ARCHIVE)

    def request(self, nonce: bytes) -> bytes:
        challenge = self.sessions.challenges.issue(nonce, OWNER.identity)
        unsigned = b"STFL\x01\x10" + nonce + challenge + by_hand.SHARE_OF_ONE
        return by_hand.signed(by_hand.SESSION, unsigned + bytes(by_hand.PROOF))

    def filled_in(self, text: bytes) -> bytes:
        """What stands for something is replaced by it."""
        if b"{ID}" in text or b"{SEALED}" in text:
            request = self.request(b"1" * 32)
            answer = Sessions.open(self.sessions, request, OWNER)
            to_server, _ = by_hand.session_keys(request, answer, x=answer[23:55])
            text = text.replace(b"{ID}", answer[6:22].hex().encode())
            text = text.replace(b"{SEALED}", by_hand.frame(to_server, 0, b"{}"))
        return text.replace(b"{SESSION}", self.request(b"2" * 32))


def fuzz(data: bytes) -> bool:
    """Returns whether the peer was given something."""
    who = by_hand.PEERS[data[0]] if data and data[0] < len(by_hand.PEERS) else STRANGER
    server = Server()
    text = server.filled_in(data[1:])
    connection = Connection(text)
    address = f"{who.address}%9", who.port, 0, who.ifindex
    with without_threads():
        http._Handler(connection, address, server)  # type: ignore[arg-type]
    assert connection.sent.taken <= MAX_TAKEN
    head = HEAD.match(connection.answer)
    assert head, "not an answer"
    _came_through_whole(text, server.sessions.bodies)
    assert who is not STRANGER or not server.sessions.bodies
    body = connection.answer[head.end() :]
    good = head[1] == b"200 OK"
    if server.sessions.key:
        assert good
        assert by_hand.unframed(server.sessions.key, body) == (ARCHIVE, True)
    else:
        assert body == server.sessions.answer
        assert good == bool(body)
    return good


def _came_through_whole(text: bytes, bodies: list[bytes]) -> None:
    """What the sessions saw stands behind the head, and is as long as that says."""
    for body in bodies:
        head = re.match(rb"(?s)[^\n]*POST[^\n]*\n(.*?)(?<=\n)\r?\n", text)
        assert head, "no request, or something else than a POST"
        assert body == text[head.end() :][: len(body)]
        lines = head[1].decode("latin-1").lower().split("\n")
        sizes = [line[15:].strip() for line in lines if line.startswith("content-length:")]
        assert [int(size) for size in sizes] == [len(body)]
