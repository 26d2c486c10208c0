"""The opening of a session: equal keys on both sides, or none at all."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stiefelsystem.messages import NONCE_SIZE, PROOF_SIZE, MessageError, Offer, Role
from stiefelsystem.ramdisk import exchange
from stiefelsystem.ramdisk.exchange import (
    ANSWER_SIZE,
    REQUEST_SIZE,
    Client,
    Keys,
    WrongKeyError,
    answer_request,
    read_request,
)

KEY = b"s" * 32
OTHER_KEY = b"t" * 32
OFFER = Offer(Role.SERVER, b"n" * NONCE_SIZE, b"c" * NONCE_SIZE)
# Where the parts of the messages are.
REQUEST_SHARE = slice(6 + 2 * NONCE_SIZE, REQUEST_SIZE - PROOF_SIZE)
ANSWER_SHARE = slice(6 + exchange.ID_SIZE, ANSWER_SIZE - PROOF_SIZE)
# P-256 (SEC 2): the prime, and the base point.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def request_with(share: bytes, key: bytes = KEY) -> bytes:
    """A request with a proof that holds, around any share."""
    body = b"STFL\x01\x10" + OFFER.nonce + OFFER.challenge + share
    return body + hmac.digest(key, body, hashlib.sha256)


def answer_with(request: bytes, share: bytes, key: bytes = KEY) -> bytes:
    """An answer with a proof that holds, around any share."""
    body = b"STFL\x01\x11" + b"i" * exchange.ID_SIZE + share
    return body + hmac.digest(key, request + body, hashlib.sha256)


def point(x: int, y: int) -> bytes:
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


BAD_SHARES = {
    "zeros": bytes(65),
    "point at infinity": b"\x04" + bytes(64),
    "off the curve": point(GX, GY ^ 1),
    "x beyond the field": point(P, GY),
    "y beyond the field": point(GX, GY + P if GY + P < 2**256 else 2**256 - 1),
    "all ones": b"\x04" + b"\xff" * 64,
    "compressed": b"\x02" + GX.to_bytes(32, "big") + bytes(32),
    "hybrid": b"\x07" + point(GX, GY)[1:],
    "DER": b"\x30\x3f" + bytes(63),
    "text": b"-----BEGIN PUBLIC KEY-----".ljust(65, b"\n"),
    "ssh": b"ssh-ed25519 AAAA".ljust(65),
}


def session() -> tuple[Keys, Keys, bytes, bytes]:
    """Both sides' keys of one exchange, and its two messages."""
    client = Client(KEY, OFFER)
    assert read_request(KEY, client.request) == (OFFER.nonce, OFFER.challenge)
    answer, ours = answer_request(KEY, client.request)
    return client.finish(answer), ours, client.request, answer


def test_both_sides_agree() -> None:
    theirs, ours, _, _ = session()
    assert theirs == ours
    assert len(ours.id) == exchange.ID_SIZE
    assert len(ours.to_server) == len(ours.to_client) == 32
    assert ours.to_server != ours.to_client


def test_secrets_belong_to_one_request() -> None:
    theirs, ours, _, _ = session()
    assert theirs.secrets(b"one") == ours.secrets(b"one")
    all_of_them = {one for request in (b"", b"one", b"other") for one in ours.secrets(request)}
    assert len(all_of_them) == 12
    assert {len(one) for one in all_of_them} == {32}
    assert ours.to_client not in all_of_them and ours.to_server not in all_of_them


def test_known_secrets() -> None:
    """By hand; the labels are what keeps one from being taken for another."""
    extracted = hmac.digest(hashlib.sha256(b"request").digest(), b"c" * 32, "sha256")
    assert Keys(b"", b"", b"c" * 32).secrets(b"request")._asdict() == {
        "archive": hmac.digest(extracted, b"boot archive\x01", "sha256"),
        "preshared": hmac.digest(extracted, b"preshared\x01", "sha256"),
        "end": hmac.digest(extracted, b"end\x01", "sha256"),
        "ended": hmac.digest(extracted, b"ended\x01", "sha256"),
    }


def test_every_session_is_another() -> None:
    """Even for the same offer and key, as after a replay."""
    both = [session() for _ in range(8)]
    for part in ("id", "to_server", "to_client"):
        assert len({getattr(keys, part) for keys, *_ in both}) == len(both)
    assert len({request[REQUEST_SHARE] for *_, request, _ in both}) == len(both)
    assert len({answer[ANSWER_SHARE] for *_, answer in both}) == len(both)


def test_each_answer_to_one_request_is_another() -> None:
    request = Client(KEY, OFFER).request
    (_, first), (_, second) = answer_request(KEY, request), answer_request(KEY, request)
    assert first.id != second.id
    assert first.to_client != second.to_client


def test_bytes() -> None:
    _, keys, request, answer = session()
    assert (len(request), len(answer)) == (REQUEST_SIZE, ANSWER_SIZE) == (167, 119)
    assert request[:6] == b"STFL\x01\x10"
    assert request[6:70] == OFFER.nonce + OFFER.challenge
    assert request[70] == 4
    assert request[-32:] == hmac.digest(KEY, request[:-32], hashlib.sha256)
    assert answer[:6] == b"STFL\x01\x11"
    assert answer[6:22] == keys.id
    assert answer[22] == 4
    assert answer[-32:] == hmac.digest(KEY, request + answer[:-32], hashlib.sha256)


def test_keys_do_not_follow_from_the_shared_key() -> None:
    """Both messages and the shared key are not enough: the ECDH secret is in it."""
    _, keys, request, answer = session()
    salt = hashlib.sha256(request + answer).digest()
    derived = hmac.digest(hmac.digest(salt, KEY, "sha256"), b"to client\x01", "sha256")
    assert derived != keys.to_client


@pytest.mark.parametrize("at", range(0, REQUEST_SIZE, 3))
def test_tampered_request_is_refused(at: int) -> None:
    request = Client(KEY, OFFER).request
    with pytest.raises(MessageError) as caught:
        read_request(KEY, flipped(request, at, at % 8))
    # Behind the magic, the version and the type it is the proof that is wrong.
    assert isinstance(caught.value, WrongKeyError) == (at >= 6)


@pytest.mark.parametrize("at", range(0, ANSWER_SIZE, 3))
def test_tampered_answer_is_refused(at: int) -> None:
    client = Client(KEY, OFFER)
    answer, _ = answer_request(KEY, client.request)
    with pytest.raises(MessageError) as caught:
        client.finish(flipped(answer, at, at % 8))
    assert isinstance(caught.value, WrongKeyError) == (at >= 6)


def test_other_sizes_are_refused() -> None:
    client = Client(KEY, OFFER)
    answer, _ = answer_request(KEY, client.request)
    for size in (*range(0, REQUEST_SIZE, 7), REQUEST_SIZE - 1, REQUEST_SIZE + 1):
        with pytest.raises(MessageError):
            read_request(KEY, client.request[:size].ljust(size, b"\0"))
    for size in (*range(0, ANSWER_SIZE, 7), ANSWER_SIZE - 1, ANSWER_SIZE + 1):
        with pytest.raises(MessageError):
            client.finish(answer[:size].ljust(size, b"\0"))


def test_wrong_key() -> None:
    client = Client(KEY, OFFER)
    with pytest.raises(WrongKeyError, match="the client's request does not prove the key"):
        read_request(OTHER_KEY, client.request)
    answer, _ = answer_request(OTHER_KEY, client.request)
    with pytest.raises(WrongKeyError, match="the server's answer does not prove the key"):
        client.finish(answer)


def test_answer_to_another_request_is_refused() -> None:
    """A recorded answer is bound to the request that it was made for."""
    first, second = Client(KEY, OFFER), Client(KEY, OFFER)
    answer, _ = answer_request(KEY, first.request)
    with pytest.raises(WrongKeyError):
        second.finish(answer)


def test_request_is_no_answer() -> None:
    client = Client(KEY, OFFER)
    answer, _ = answer_request(KEY, client.request)
    with pytest.raises(MessageError, match="not a whole SESSION_ANSWER message"):
        client.finish(client.request)
    with pytest.raises(MessageError, match="not a whole SESSION message"):
        read_request(KEY, answer)


@pytest.mark.parametrize("name", BAD_SHARES)
def test_client_share_that_is_no_point_is_refused(name: str) -> None:
    request = request_with(BAD_SHARES[name])
    read_request(KEY, request)
    with pytest.raises(MessageError, match="not a point of P-256"):
        answer_request(KEY, request)


@pytest.mark.parametrize("name", BAD_SHARES)
def test_server_share_that_is_no_point_is_refused(name: str) -> None:
    client = Client(KEY, OFFER)
    with pytest.raises(MessageError, match="not a point of P-256"):
        client.finish(answer_with(client.request, BAD_SHARES[name]))


@settings(max_examples=100)
@given(share=st.binary(min_size=65, max_size=65))
def test_any_share_is_refused(share: bytes) -> None:
    with pytest.raises(MessageError):
        answer_request(KEY, request_with(share))


def test_known_share() -> None:
    """The base point is a point: so the tests above refuse their shares for what they are."""
    answer, keys = answer_request(KEY, request_with(point(GX, GY)))
    # With the base point as the other share, the secret is the x of the server's own.
    server_share = answer[ANSWER_SHARE]
    transcript = request_with(point(GX, GY)) + answer
    salt = hashlib.sha256(transcript).digest()
    extracted = hmac.digest(salt, KEY + server_share[1:33], "sha256")
    assert keys.to_server == hmac.digest(extracted, b"to server\x01", "sha256")
    assert keys.to_client == hmac.digest(extracted, b"to client\x01", "sha256")


@given(data=st.binary(max_size=300), kind=st.sampled_from([16, 17, 1]))
def test_garbage(data: bytes, kind: int) -> None:
    client = Client(KEY, OFFER)
    for garbage in (data, struct.pack(">4sBB", b"STFL", 1, kind) + data):
        with pytest.raises(MessageError):
            read_request(KEY, garbage)
        with pytest.raises(MessageError):
            client.finish(garbage)
