"""The server's sessions: opened for who proves the key, and used once, by who opened them."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from typing import Any, NamedTuple

from stiefelsystem.challenges import Challenges
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import FramingError, Opener
from stiefelsystem.messages import MessageError
from stiefelsystem.ramdisk import exchange

# An opened session must be used within this time; so many may be open at once. Who opens one has
# proved the key.
_OPEN_SECONDS = 30.0
_MAX_OPEN = 8
_MAX_REQUEST = 1 << 16


class _Open(NamedTuple):
    keys: exchange.Keys
    peer: Peer
    until: float


class Asked(NamedTuple):
    """A boot request: who it is from, the secrets that belong to it, and the desktop's public key
    for the tunnel; None where that has no WireGuard."""

    peer: Peer
    secrets: exchange.Secrets
    tunnel: bytes | None


class Sessions:
    """Opens sessions for clients that prove the key, and lets each ask for one boot archive."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._open: dict[bytes, _Open] = {}
        self.challenges = Challenges()

    def open(self, request: bytes, peer: Peer) -> bytes:
        """Answer a request for a session. Raises `MessageError` unless it proves the key, fresh."""
        nonce, challenge = exchange.read_request(self._key, request)
        if not self.challenges.redeem(challenge, nonce, peer.identity):
            raise MessageError("the challenge has expired, or was answered before")
        answer, keys = exchange.answer_request(self._key, request)
        now = time.monotonic()
        with self._lock:
            self._open = {i: entry for i, entry in self._open.items() if entry.until > now}
            if len(self._open) >= _MAX_OPEN:
                raise MessageError("too many sessions are being opened")
            self._open[keys.id] = _Open(keys, peer, now + _OPEN_SECONDS)
        return answer

    def take(self, identity: bytes, request: bytes, peer: Peer) -> Asked | None:
        """What `request` asks for, the sealed boot request of an open session.

        That ends the session, if it is its owner's request. The id can be seen on the link: None,
        or `MessageError`, for all that others make of it, and the session stays open.
        """
        with self._lock:
            entry = self._open.get(identity)
        if entry is None or entry.peer.identity != peer.identity or entry.until < time.monotonic():
            return None
        text = _unsealed(request, entry.keys.to_server)
        with self._lock:
            if self._open.pop(identity, None) is None:
                return None  # the same request, at the same time
        return Asked(peer, entry.keys.secrets(request), _tunnel_key(_parse(text)))


def _unsealed(request: bytes, key: bytes) -> bytes:
    """What a sealed boot request says. Raises `MessageError`."""
    try:
        with Opener(io.BytesIO(request).read, key) as opened:
            text = opened.read(_MAX_REQUEST + 1)
            opened.finish()
    except FramingError as error:
        raise MessageError(f"the boot request is not its session's: {error}") from error
    if len(text) > _MAX_REQUEST:
        raise MessageError("the boot request is too long")
    return text


def _parse(text: bytes) -> dict[str, Any]:
    """What the client says."""
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError("the boot request is not JSON") from error
    if not isinstance(wanted, dict):
        raise MessageError("the boot request is not a JSON object")
    return wanted


def _tunnel_key(wanted: dict[str, Any]) -> bytes | None:
    text = wanted.get("tunnel")
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{64}", text):
        raise MessageError("the boot request has a malformed key for the tunnel")
    return bytes.fromhex(text)
