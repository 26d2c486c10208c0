"""Sessions: opened for who proves the key, used once by who opened them, ended by nobody else.

Each step is a request. Bits: 0-1 time that passes before; 2-3 the sender; 4 which kind it is:

0   to open a session. Bits: 5 whether a challenge is issued to the sender before; 6 whether its
    nonce and challenge are the last ones; 7 whether it is proved
1   for a boot archive. Bits: 5 whether it is sealed by the last session; 6-7 whether the id is that
    of the last session, of the first one, or what the request begins with
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

from stiefelsystem import challenges
from stiefelsystem.datagram import Peer
from stiefelsystem.messages import MessageError
from stiefelsystem.ramdisk import exchange, session
from stiefelsystem.ramdisk.session import Sessions
from tests.fuzz import by_hand
from tests.fuzz.by_hand import PEERS, SESSION, SHARE_OF_ONE, is_point, is_signed
from tests.fuzz.inline import without_threads
from tests.fuzz.steps import Step, steps

SECONDS = (0, 1, 9, 30)
CHALLENGE_SECONDS, OPEN_SECONDS, MAX_OPEN = 10, 30, 8
NONCE = b"n" * 32


class Open(NamedTuple):
    """What is known about an open session; no keys, unless the client's share was that of one."""

    owner: str = ""
    until: float = 0.0
    to_server: bytes = b""
    to_client: bytes = b""


class Model:
    """Sessions, and what is known about them."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock = clock
        self.sessions = Sessions(SESSION)
        # By nonce and challenge, as they stand in a request.
        self.issued: dict[bytes, tuple[str, float]] = {}
        self.redeemed: set[bytes] = set()
        self.open: dict[bytes, Open] = {}

    def issue(self, peer: Peer) -> bytes:
        offered = NONCE + self.sessions.challenges.issue(NONCE, peer.identity)
        self.issued[offered] = peer.identity, self.clock.now
        return offered

    def ask_to_open(self, request: bytes, peer: Peer) -> bytes:
        """Have a session opened, or not, as it should be; returns its id."""
        may_open = self._may_open(request, peer)
        try:
            answer = self.sessions.open(request, peer)
        except MessageError as error:
            assert not may_open, "a good request is refused"
            whole = len(request) == exchange.REQUEST_SIZE and request[:6] == b"STFL\x01\x10"
            wrong_key = whole and not is_signed(SESSION, request)
            assert isinstance(error, exchange.WrongKeyError) == wrong_key
            return b""
        assert may_open, "a session is opened for what is no proved, fresh request"
        assert len(answer) == 119
        assert answer[:6] == b"STFL\x01\x11"
        assert is_point(answer[22:87])
        assert is_signed(SESSION, answer, before=request)
        known = request[70:135] == SHARE_OF_ONE
        keys = by_hand.session_keys(request, answer, x=answer[23:55]) if known else (b"", b"")
        self.open[answer[6:22]] = Open(peer.identity, self.clock.now + OPEN_SECONDS, *keys)
        return answer[6:22]

    def _may_open(self, request: bytes, peer: Peer) -> bool:
        offered = request[6:70]
        identity, then = self.issued.get(offered, ("", 0.0))
        fresh = identity == peer.identity and self.clock.now - then < CHALLENGE_SECONDS
        if offered in self.redeemed or not fresh or not is_signed(SESSION, request):
            return False
        if len(request) != 167 or request[:6] != b"STFL\x01\x10":
            return False
        self.redeemed.add(offered)
        if not is_point(request[70:135]):
            return False
        self.open = {name: one for name, one in self.open.items() if one.until > self.clock.now}
        return len(self.open) < MAX_OPEN

    def ask_for_archive(self, identity: bytes, request: bytes, peer: Peer) -> bool:
        """Have a boot request answered, as it should be; returns whether it was good."""
        one = self.open.get(identity, Open())
        reached = one.owner == peer.identity and one.until >= self.clock.now
        text, whole = by_hand.unframed(one.to_server or bytes(32), request)
        expected = None
        if reached and whole:
            del self.open[identity]
            if _is_good(text):
                tunnel = json.loads(text).get("tunnel")
                key = tunnel and bytes.fromhex(tunnel)
                expected = peer, by_hand.secrets(one.to_client, request), key
        try:
            asked = self.sessions.take(identity, request, peer)
        except MessageError:
            assert reached, "a stranger learns that there is such a session"
            asked = None
        assert asked == expected, "secrets for what is no good request, or none for what is"
        return asked is not None


def _is_good(text: bytes) -> bool:
    """Whether it is a JSON object whose `tunnel`, if there is one, is a key."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(said, dict) or said.get("tunnel") is None:
        return isinstance(said, dict)
    digits = said["tunnel"]
    return isinstance(digits, str) and len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def _play(model: Model, data: bytes) -> bool:
    offered, ids, good = bytes(64), [bytes(16)], False
    for step in steps(data):
        model.clock.now += SECONDS[step.bits(0, 2)]
        peer = PEERS[step.bits(2, 2)]
        if step.bits(4):
            identity, request = _boot_request(model, step, ids)
            good |= model.ask_for_archive(identity, request, peer)
            continue
        if step.bits(5):
            offered = model.issue(peer)
        request = step.data
        if step.bits(6):
            request = request[:6] + offered + request[70:]
        if step.bits(7):
            request = by_hand.signed(SESSION, request)
        if identity := model.ask_to_open(request, peer):
            ids.append(identity)
    return good


def _boot_request(model: Model, step: Step, ids: list[bytes]) -> tuple[bytes, bytes]:
    request = step.data
    key = model.open.get(ids[-1], Open()).to_server
    if step.bits(5) and key:
        request = by_hand.frame(key, 0, request)
    return (ids[-1], ids[1 % len(ids)], request[:16], b"")[step.bits(6, 2)], request


def fuzz(data: bytes) -> bool:
    """Returns whether an archive's key, and what belongs to it, was handed out."""
    clock = SimpleNamespace(now=1000.0)
    time = SimpleNamespace(monotonic=lambda: clock.now)
    with (
        without_threads(),
        mock.patch.object(challenges, "_now", lambda: clock.now),
        mock.patch.object(session, "time", time),
    ):
        return _play(Model(clock), data)
