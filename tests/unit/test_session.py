"""Sessions: opened for who proves the key, used once, by their owner and nobody else."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Sealer
from stiefelsystem.messages import MessageError, Offer, Role
from stiefelsystem.ramdisk import exchange, session
from stiefelsystem.ramdisk.session import Asked, Sessions

KEY = b"k" * 32
NONCE = b"n" * 32
# Interfaces that no machine has.
PEER = Peer("fe80::1", 40000, 2**30)
OTHER_PORT = Peer("fe80::1", 40001, 2**30)
STRANGERS = [Peer("fe80::2", 40000, 2**30), Peer("fe80::1", 40000, 2**30 - 1)]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(session, "time", clock)
    return clock


def opened(sessions: Sessions, peer: Peer = PEER) -> exchange.Keys:
    """A session, as its client has it."""
    nonce = os.urandom(32)
    challenge = sessions.challenges.issue(nonce, peer.identity)
    client = exchange.Client(KEY, Offer(Role.SERVER, nonce, challenge))
    return client.finish(sessions.open(client.request, peer))


def sealed(keys: exchange.Keys, text: bytes = b"{}") -> bytes:
    out = io.BytesIO()
    with Sealer(out.write, keys.to_server) as request:
        request.write(text)
    return out.getvalue()


def test_a_session_is_used_once() -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    request = sealed(keys)
    asked = sessions.take(keys.id, request, OTHER_PORT)
    assert asked == Asked(OTHER_PORT, keys.secrets(request), None)
    assert sessions.take(keys.id, request, PEER) is None


def test_a_request_to_open_is_taken_once() -> None:
    sessions = Sessions(KEY)
    challenge = sessions.challenges.issue(NONCE, PEER.identity)
    request = exchange.Client(KEY, Offer(Role.SERVER, NONCE, challenge)).request
    sessions.open(request, PEER)
    with pytest.raises(MessageError, match="expired, or was answered before"):
        sessions.open(request, PEER)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_another_peer_cannot_open_with_what_it_saw(stranger: Peer) -> None:
    sessions = Sessions(KEY)
    challenge = sessions.challenges.issue(NONCE, PEER.identity)
    request = exchange.Client(KEY, Offer(Role.SERVER, NONCE, challenge)).request
    with pytest.raises(MessageError):
        sessions.open(request, stranger)
    sessions.open(request, PEER)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_another_peer_can_neither_use_nor_end_a_session(stranger: Peer) -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    request = sealed(keys)
    assert sessions.take(keys.id, request, stranger) is None
    assert sessions.take(keys.id, b"", stranger) is None
    assert sessions.take(keys.id, request, PEER) is not None


FORGERIES: list[Callable[[bytes], bytes]] = [
    lambda request: b"",
    lambda request: request[:-1],
    lambda request: request + b"\0",
    lambda request: request[:7] + bytes([request[7] ^ 1]) + request[8:],
    lambda request: request * 2,
    lambda request: b"\xff" * 1000,
    lambda request: sealed(exchange.Keys(b"", b"t" * 32, b"")),
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_request_does_not_end_a_session(forge: Callable[[bytes], bytes]) -> None:
    """Even one from its own peer's address, which can be forged, too."""
    sessions = Sessions(KEY)
    keys = opened(sessions)
    request = sealed(keys)
    with pytest.raises(MessageError):
        sessions.take(keys.id, forge(request), PEER)
    asked = sessions.take(keys.id, request, PEER)
    assert asked is not None and asked.secrets == keys.secrets(request)


def test_the_request_of_another_session() -> None:
    sessions = Sessions(KEY)
    one, other = opened(sessions), opened(sessions)
    with pytest.raises(MessageError):
        sessions.take(one.id, sealed(other), PEER)


def test_unknown_ids() -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    for identity in (b"", bytes(16), keys.id[:-1], keys.id + b"\0"):
        assert sessions.take(identity, sealed(keys), PEER) is None


def test_a_session_expires(clock: Clock) -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    clock.now += 29.9
    late = opened(sessions)
    clock.now += 0.2
    assert sessions.take(keys.id, sealed(keys), PEER) is None
    assert sessions.take(late.id, sealed(late), PEER) is not None


def test_open_sessions_are_bounded(clock: Clock) -> None:
    sessions = Sessions(KEY)
    for _ in range(8):
        opened(sessions)
    with pytest.raises(MessageError, match="too many"):
        opened(sessions)
    clock.now += 31
    opened(sessions)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"null", b"[" * 60000, b"\xff", b"{} {}"])
def test_a_request_that_is_no_object(text: bytes) -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    with pytest.raises(MessageError, match="JSON"):
        sessions.take(keys.id, sealed(keys, text), PEER)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"{}", None),
        (b'{"tunnel": null}', None),
        (b'{"tunnel": "%s"}' % (b"0f" * 32), bytes([15] * 32)),
        (b'{"tunnel": "%s", "more": [1]}' % (b"ab" * 32), bytes([0xAB] * 32)),
    ],
)
def test_a_tunnels_key(text: bytes, key: bytes | None) -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    asked = sessions.take(keys.id, sealed(keys, text), PEER)
    assert asked is not None and asked.tunnel == key


@pytest.mark.parametrize(
    "value",
    [
        *(
            b'""',
            b"0",
            b"1e64",
            b"true",
            b"[]",
            b"{}",
            b'"%s"' % (b"0" * 63),
            b'"%s"' % (b"0" * 65),
        ),
        *(b'"%s"' % (b"AB" * 32), b'"%s\\n"' % (b"0" * 64), b'"%s"' % (b"\\u0663" * 64)),
    ],
)
def test_a_tunnels_key_that_is_none(value: bytes) -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    with pytest.raises(MessageError, match="a malformed key for the tunnel"):
        sessions.take(keys.id, sealed(keys, b'{"tunnel": %s}' % value), PEER)


def test_a_request_that_is_too_long() -> None:
    sessions = Sessions(KEY)
    keys = opened(sessions)
    longest = b'{"": "' + b"x" * (65536 - 8) + b'"}'
    assert sessions.take(keys.id, sealed(keys, longest), PEER) is not None
    keys = opened(sessions)
    with pytest.raises(MessageError, match="too long"):
        sessions.take(keys.id, sealed(keys, longest + b" "), PEER)


@given(identity=st.binary(max_size=20), request=st.binary(max_size=100))
def test_garbage(identity: bytes, request: bytes) -> None:
    sessions = Sessions(KEY)
    assert sessions.take(identity, request, PEER) is None
    with pytest.raises(MessageError):
        sessions.open(request, PEER)
