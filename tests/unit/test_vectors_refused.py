"""docs/test-vectors.json: our programs refuse what it has, and for its reasons.

Each field is a keyword argument of what reads it; so one that nobody uses is an error.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stiefelsystem import messages, wrapped
from stiefelsystem.console import StiefelError
from stiefelsystem.framing import FramingError
from stiefelsystem.messages import (
    Accepted,
    Hello,
    MessageError,
    Mismatch,
    Offer,
    Order,
    VersionError,
)
from stiefelsystem.ramdisk import exchange, session
from stiefelsystem.ramdisk.archive import ArchiveError
from stiefelsystem.ramdisk.exchange import WrongKeyError
from tests.unit.one_vector import REFUSED, client, clock, issuer, opened, received, unhexed


class Refused(Exception):
    """For what is refused by returning False."""


def unless(good: bool) -> None:
    if not good:
        raise Refused


def read(reader: Callable[[bytes], object], key: bytes, message: bytes) -> None:
    reader(message)
    unless(messages.proved(key, message))


def read_challenge(*, secret: bytes, now: int, nonce: bytes, peer: bytes, challenge: bytes) -> None:
    with clock(now):
        unless(issuer(secret).issued(challenge, nonce, peer.decode()))


def read_session(*, key: bytes, message: bytes) -> None:
    exchange.read_request(key, message)
    exchange.answer_request(key, message)


def read_session_answer(*, key: bytes, session: bytes, private: bytes, message: bytes) -> None:
    client(key, *exchange.read_request(key, session), private).finish(message)


def read_boot_request(*, key: bytes, stream: bytes) -> None:
    session._tunnel_key(session._parse(session._unsealed(stream, key)))


def read_wrapped_key(*, passphrase: bytes, file: bytes) -> None:
    wrapped.unwrap(file, passphrase.decode())


READERS: dict[str, Callable[..., object]] = {
    "HELLO": lambda *, message: Hello.unpack(message),
    "OFFER": lambda *, key, message: read(Offer.unpack, key, message),
    "ORDER": lambda *, key, message: read(Order.unpack, key, message),
    "ACCEPTED": lambda *, key, message: read(Accepted.unpack, key, message),
    "MISMATCH": lambda *, message: Mismatch.unpack(message),
    "challenge": read_challenge,
    "SESSION": read_session,
    "SESSION_ANSWER": read_session_answer,
    "stream": opened,
    "boot request": read_boot_request,
    "archive": received,
    "wrapped key": read_wrapped_key,
}
REASONS: dict[str, tuple[type[Exception] | tuple[type[Exception], ...], str | None]] = {
    "magic": (MessageError, "not a message of stiefelsystem"),
    "version": (VersionError, "the peer speaks version [23] of the protocol"),
    "type": (MessageError, "unknown message type"),
    "size": (MessageError, "not a whole"),
    "zeros": (MessageError, "not a whole HELLO message"),
    "role": (MessageError, "an OFFER from an unknown role"),
    "proof": ((WrongKeyError, Refused), None),
    "challenge": (Refused, None),
    "share": (MessageError, "not a point of P-256"),
    "frame": (FramingError, "of the stream was altered"),
    "frame header": (FramingError, "an impossible header"),
    "empty frame": (FramingError, "an empty frame stands inside the stream"),
    "cut short": (FramingError, "the stream ended before its last frame"),
    "behind the end": (FramingError, "something behind the end of the stream"),
    "boot request": (MessageError, "the boot request is not its session's"),
    "JSON": ((MessageError, ArchiveError), "is not (a )?JSON"),
    "tunnel": (MessageError, "a malformed key for the tunnel"),
    "member": (ArchiveError, "where kernel belongs"),
    "member missing": (ArchiveError, "the archive ends before"),
    "member size": (ArchiveError, "has an impossible size"),
    "member header": (ArchiveError, "the archive is malformed"),
    "more members": (ArchiveError, "more members than it should"),
    "passphrase": (wrapped.WrongPassphrase, "not the passphrase, or the stick was altered"),
    "no passphrase": (wrapped.WrongPassphrase, "an empty passphrase|cannot be printed"),
    "wrapped size or magic": (StiefelError, "not a wrapped key"),
    "wrapped version": (StiefelError, "in version 2 of the format"),
    "parameters": (StiefelError, "asks for scrypt with N = 2\\^"),
}


def test_form() -> None:
    """No kind or reason that the test below doesn't look at, nor one that it looks for in vain."""
    assert {tuple(one) for one in REFUSED.values()} == {("kind", "given", "because")}
    assert {one["kind"] for one in REFUSED.values()} == set(READERS)
    assert {one["because"] for one in REFUSED.values()} == set(REASONS)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    vector = REFUSED[name]
    error, message = REASONS[vector["because"]]
    with pytest.raises(error, match=message):
        READERS[vector["kind"]](**unhexed(vector["given"]))
