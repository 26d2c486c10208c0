"""The datagrams, byte by byte: what is written, what is read, and what is refused."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.messages import (
    Accepted,
    Hello,
    MessageError,
    Mismatch,
    Offer,
    Order,
    Role,
    Type,
    body_of,
    kind_of,
    prefix,
    prove,
    proved,
)

KEY = b"k" * 32
NONCE = bytes(range(0x20, 0x40))
CHALLENGE = bytes(range(0x80, 0xA0))
HEADS = {  # magic "STFL", version 1, type
    "HELLO": "5354464c0101",
    "OFFER": "5354464c0102",
    "ORDER": "5354464c0103",
    "ACCEPTED": "5354464c0104",
    "MISMATCH": "5354464c0105",
}
READERS: dict[str, Callable[[bytes], object]] = {
    "HELLO": Hello.unpack,
    "OFFER": Offer.unpack,
    "ORDER": Order.unpack,
    "ACCEPTED": Accepted.unpack,
    "MISMATCH": Mismatch.unpack,
}
MESSAGES = {
    "HELLO": Hello(NONCE).pack(),
    "OFFER": Offer(Role.AUTOKEXEC, NONCE, CHALLENGE).pack(KEY),
    "ORDER": Order(NONCE, CHALLENGE).pack(KEY),
    "ACCEPTED": Accepted(NONCE, CHALLENGE, 10).pack(KEY),
    "MISMATCH": Mismatch(NONCE, CHALLENGE).pack(),
}
PROVED = ["OFFER", "ORDER", "ACCEPTED"]

nonces = st.binary(min_size=32, max_size=32)


def with_proof(head: str) -> bytes:
    """The message with its proof, made without the code under test."""
    data = bytes.fromhex(head)
    return data + hmac.new(KEY, data, hashlib.sha256).digest()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HELLO", bytes.fromhex(HEADS["HELLO"]) + NONCE + bytes(65)),
        ("OFFER", with_proof(HEADS["OFFER"] + "02" + NONCE.hex() + CHALLENGE.hex())),
        ("ORDER", with_proof(HEADS["ORDER"] + NONCE.hex() + CHALLENGE.hex())),
        ("ACCEPTED", with_proof(HEADS["ACCEPTED"] + NONCE.hex() + CHALLENGE.hex() + "000a")),
        ("MISMATCH", bytes.fromhex(HEADS["MISMATCH"]) + NONCE + CHALLENGE),
    ],
)
def test_bytes(name: str, expected: bytes) -> None:
    assert MESSAGES[name].hex() == expected.hex()


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("HELLO", "83fbb4a2dc3b9524a71cb8ddaaa7f5d0875187a7b8ac4d9c21d4e4d153a51040"),
        ("OFFER", "4c59b741881ff55a58128e7949a349aa7c05c268467bc75667b8e17b262d5ffb"),
        ("ORDER", "40b055340fa6729a95e23daf84ef8644fdecaaa50007a2d4d36c0a0564c99978"),
        ("ACCEPTED", "b7ec85d9eaabf40de60d519c0b1fb546d677cc36e82c3be585c27c0faabffee5"),
        ("MISMATCH", "ca45429dc63a69249e2e85dd3b2fa42023f6695542dbae6c78c636768bab8460"),
    ],
)
def test_digests(name: str, digest: str) -> None:
    """Beyond what `test_bytes` computes: these were written down once, and stay."""
    assert hashlib.sha256(MESSAGES[name]).hexdigest() == digest


def test_numbers() -> None:
    """The protocol's own numbers."""
    assert {kind.name: kind.value for kind in Type} == {
        "HELLO": 1,
        "OFFER": 2,
        "ORDER": 3,
        "ACCEPTED": 4,
        "MISMATCH": 5,
        "VERSION": 6,
        "SESSION": 16,
        "SESSION_ANSWER": 17,
    }
    assert {role.name: role.value for role in Role} == {"SERVER": 1, "AUTOKEXEC": 2}


@given(nonce=nonces)
def test_hello_roundtrip(nonce: bytes) -> None:
    assert Hello.unpack(Hello(nonce).pack()) == Hello(nonce)


@given(role=st.sampled_from(Role), nonce=nonces, challenge=nonces, key=nonces)
def test_offer_roundtrip(role: Role, nonce: bytes, challenge: bytes, key: bytes) -> None:
    data = Offer(role, nonce, challenge).pack(key)
    assert Offer.unpack(data) == Offer(role, nonce, challenge)
    assert proved(key, data)


@given(nonce=nonces, challenge=nonces, key=nonces)
def test_order_roundtrip(nonce: bytes, challenge: bytes, key: bytes) -> None:
    data = Order(nonce, challenge).pack(key)
    assert Order.unpack(data) == Order(nonce, challenge)
    assert proved(key, data)


@given(nonce=nonces, challenge=nonces, delay=st.integers(0, 3600), key=nonces)
def test_accepted_roundtrip(nonce: bytes, challenge: bytes, delay: int, key: bytes) -> None:
    data = Accepted(nonce, challenge, delay).pack(key)
    assert Accepted.unpack(data) == Accepted(nonce, challenge, delay)
    with pytest.raises(MessageError, match="a delay of"):
        Accepted.unpack(Accepted(nonce, challenge, 3601 + delay).pack(key))
    assert proved(key, data)


@given(nonce=nonces, challenge=nonces)
def test_mismatch_roundtrip(nonce: bytes, challenge: bytes) -> None:
    assert Mismatch.unpack(Mismatch(nonce, challenge).pack()) == Mismatch(nonce, challenge)


def test_answers_are_not_larger_than_the_question() -> None:
    """So that nobody can be flooded with answers to forged HELLOs."""
    assert len(MESSAGES["HELLO"]) >= len(MESSAGES["OFFER"])


def test_hello_is_padded_with_zeros_only() -> None:
    for at in range(38, 103):
        changed = bytearray(MESSAGES["HELLO"])
        changed[at] = 1
        with pytest.raises(MessageError, match="not a whole HELLO message"):
            Hello.unpack(bytes(changed))


@pytest.mark.parametrize("version", [0, 2, 255])
@pytest.mark.parametrize("name", READERS)
def test_other_version_names_both(name: str, version: int) -> None:
    data = bytearray(MESSAGES[name])
    data[4] = version
    with pytest.raises(MessageError) as caught:
        READERS[name](bytes(data))
    assert str(caught.value) == (
        f"the peer speaks version {version} of the protocol, this program speaks 1"
    )
    assert "same version" in caught.value.hint


def test_other_version_may_be_of_any_size_and_type() -> None:
    """What a future version sends is not called garbage."""
    with pytest.raises(MessageError, match="version 7"):
        kind_of(b"STFL\x07\xee")


def test_unknown_type() -> None:
    for kind in set(range(256)) - set(Type):
        with pytest.raises(MessageError, match=f"unknown message type {kind}$"):
            kind_of(b"STFL\x01" + bytes([kind]) + bytes(97))


@pytest.mark.parametrize("data", [b"", b"STFL", b"STFL\x01", b"stfl\x01\x01", bytes(103)])
def test_not_a_message(data: bytes) -> None:
    with pytest.raises(MessageError, match="not a message of stiefelsystem"):
        kind_of(data)


@pytest.mark.parametrize("name", READERS)
def test_every_other_size(name: str) -> None:
    data = MESSAGES[name]
    for size in {*range(len(data)), len(data) + 1, len(data) + 32, 2048}:
        with pytest.raises(MessageError):
            READERS[name](data[:size].ljust(size, b"\0"))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("other", READERS)
def test_every_other_type(name: str, other: str) -> None:
    data = prefix(Type[other]) + MESSAGES[name][6:]
    if name != other:
        with pytest.raises(MessageError, match=f"not a whole {name} message"):
            READERS[name](data)


def test_unknown_role() -> None:
    for role in set(range(256)) - set(Role):
        data = bytearray(MESSAGES["OFFER"])
        data[6] = role
        with pytest.raises(MessageError, match=f"an OFFER from an unknown role {role}$"):
            Offer.unpack(bytes(data))


def test_body_of() -> None:
    assert body_of(prefix(Type.SESSION) + b"abc", Type.SESSION, 3) == b"abc"


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=300), whole=st.booleans())
def test_garbage_raises_message_errors_alone(name: str, data: bytes, whole: bool) -> None:
    if whole:  # of the right size and type, so that it is looked into
        data = MESSAGES[name][:6] + data[: len(MESSAGES[name]) - 6].ljust(
            len(MESSAGES[name]) - 6, b"\x03"
        )
    try:
        READERS[name](data)
    except MessageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", PROVED)
def test_proof_covers_every_bit(name: str) -> None:
    data = MESSAGES[name]
    assert proved(KEY, data)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert not proved(KEY, bytes(changed)), bit


@pytest.mark.parametrize("name", PROVED)
@pytest.mark.parametrize("key", [b"", b"K" + KEY[1:], KEY[:-1], KEY + b"k"])
def test_proof_by_another_key(name: str, key: bytes) -> None:
    assert not proved(key, MESSAGES[name])


def test_proof_of_nearly_nothing() -> None:
    for size in range(33):
        assert not proved(KEY, bytes(size))


def test_prove() -> None:
    """RFC 4231, test case 2, shows that it is HMAC-SHA256."""
    message = b"what do ya want for nothing?"
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert prove(b"Jefe", message) == message + bytes.fromhex(digest)
    assert proved(b"Jefe", message + bytes.fromhex(digest))
