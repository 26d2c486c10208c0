"""The datagrams by which client and laptop find each other, byte by byte.

All start with the magic, the protocol's version and a type (docs/protocol.md has the table):

    HELLO     client, to all: the client's nonce, padded to the size of an OFFER
    OFFER     laptop: who it is, the nonce, a challenge of its own, proof that it has the key
    ORDER     client, to autokexec: both nonces, proof that it has the key: reboot
    ACCEPTED  autokexec: both nonces, in how many seconds it stops its OS, proof
    MISMATCH  client: the nonces of an OFFER whose proof was made with another key
    VERSION   laptop, to a HELLO of another version: the prefix alone, which names its own

A proof is HMAC-SHA256 by a subkey over all that stands before it.
"""

from __future__ import annotations

import hmac
import struct
from enum import IntEnum
from typing import NamedTuple, Self

from stiefelsystem.console import StiefelError

MAGIC = b"STFL"
VERSION = 1
NONCE_SIZE = 32
PROOF_SIZE = 32
# The longest countdown, in seconds.
MAX_DELAY = 3600

PREFIX = struct.Struct(">4sBB")
_OFFER = struct.Struct(f">B{NONCE_SIZE}s{NONCE_SIZE}s")
_NONCES = struct.Struct(f">{NONCE_SIZE}s{NONCE_SIZE}s")
_ACCEPTED = struct.Struct(f">{NONCE_SIZE}s{NONCE_SIZE}sH")
# A HELLO is as long as the answer to it, so that nobody can be flooded by answers to forged ones.
_HELLO_SIZE = PREFIX.size + _OFFER.size + PROOF_SIZE


class Type(IntEnum):
    """What a message is; the numbers are the protocol's."""

    HELLO = 1
    OFFER = 2
    ORDER = 3
    ACCEPTED = 4
    MISMATCH = 5
    VERSION = 6
    SESSION = 16
    SESSION_ANSWER = 17


class Role(IntEnum):
    """Who answers a HELLO."""

    SERVER = 1
    AUTOKEXEC = 2


class MessageError(StiefelError):
    """The bytes are not a message of this protocol, or of another version of it."""


class VersionError(MessageError):
    """The message is of another version of the protocol."""


def prefix(kind: Type) -> bytes:
    """What every message starts with."""
    return PREFIX.pack(MAGIC, VERSION, kind)


def kind_of(data: bytes) -> Type:
    """The type of a message. Raises `MessageError`; unknown versions are named."""
    if len(data) < PREFIX.size or data[: len(MAGIC)] != MAGIC:
        raise MessageError("not a message of stiefelsystem")
    _, version, kind = PREFIX.unpack_from(data)
    if version != VERSION:
        raise VersionError(
            f"the peer speaks version {version} of the protocol, this program speaks {VERSION}",
            hint="build both sides from the same version of stiefelsystem",
        )
    try:
        return Type(kind)
    except ValueError as error:
        raise MessageError(f"unknown message type {kind}") from error


def is_hello_of_any_version(data: bytes) -> bool:
    """Whether this asks for an answer: the prefix, and the type of a HELLO, are for ever."""
    return (
        len(data) >= PREFIX.size and data.startswith(MAGIC) and data[PREFIX.size - 1] == Type.HELLO
    )


def body_of(data: bytes, kind: Type, size: int) -> bytes:
    """What follows the prefix of a message that must be of `kind`, with a body of `size` bytes."""
    if kind_of(data) is not kind or len(data) != PREFIX.size + size:
        raise MessageError(f"not a whole {kind.name} message")
    return data[PREFIX.size :]


def prove(key: bytes, message: bytes) -> bytes:
    """`message` and the proof that its sender has `key`."""
    return message + hmac.digest(key, message, "sha256")


def proved(key: bytes, message: bytes) -> bool:
    """Whether `message` ends in a proof by `key`; takes the same time wherever it is wrong."""
    expected = hmac.digest(key, message[:-PROOF_SIZE], "sha256")
    return hmac.compare_digest(expected, message[-PROOF_SIZE:])


class Hello(NamedTuple):
    """A client's question: who is there? It causes nothing but an answer of the same size."""

    nonce: bytes

    def pack(self) -> bytes:
        return (prefix(Type.HELLO) + self.nonce).ljust(_HELLO_SIZE, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        body = body_of(data, Type.HELLO, _HELLO_SIZE - PREFIX.size)
        if any(body[NONCE_SIZE:]):
            raise MessageError("not a whole HELLO message")
        return cls(body[:NONCE_SIZE])


class Offer(NamedTuple):
    """The answer to a HELLO; `challenge` is what the client must answer next."""

    role: Role
    nonce: bytes
    challenge: bytes

    def pack(self, key: bytes) -> bytes:
        message = prefix(Type.OFFER) + _OFFER.pack(self.role, self.nonce, self.challenge)
        return prove(key, message)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read an OFFER; that its proof holds is another question (`proved`)."""
        body = body_of(data, Type.OFFER, _OFFER.size + PROOF_SIZE)
        role, nonce, challenge = _OFFER.unpack_from(body)
        try:
            return cls(Role(role), nonce, challenge)
        except ValueError as error:
            raise MessageError(f"an OFFER from an unknown role {role}") from error


class Order(NamedTuple):
    """The client's order to an autokexec: stop the OS and reboot into the ramdisk."""

    nonce: bytes
    challenge: bytes

    def pack(self, key: bytes) -> bytes:
        return prove(key, prefix(Type.ORDER) + _NONCES.pack(self.nonce, self.challenge))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_NONCES.unpack_from(body_of(data, Type.ORDER, _NONCES.size + PROOF_SIZE)))


class Accepted(NamedTuple):
    """An autokexec's answer to an ORDER: its OS stops in `delay` seconds."""

    nonce: bytes
    challenge: bytes
    delay: int

    def pack(self, key: bytes) -> bytes:
        body = _ACCEPTED.pack(self.nonce, self.challenge, self.delay)
        return prove(key, prefix(Type.ACCEPTED) + body)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        body = body_of(data, Type.ACCEPTED, _ACCEPTED.size + PROOF_SIZE)
        accepted = cls(*_ACCEPTED.unpack_from(body))
        if accepted.delay > MAX_DELAY:
            raise MessageError(f"ACCEPTED with a delay of {accepted.delay} s")
        return accepted


class Mismatch(NamedTuple):
    """The client's remark on an OFFER: it was made with another key."""

    nonce: bytes
    challenge: bytes

    def pack(self) -> bytes:
        return prefix(Type.MISMATCH) + _NONCES.pack(self.nonce, self.challenge)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_NONCES.unpack(body_of(data, Type.MISMATCH, _NONCES.size)))
