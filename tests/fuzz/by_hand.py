"""What a peer can make and read, with a key or without: by hand, as docs/protocol.md has it.

The targets compare the code with this, so of the code it uses nothing but AES-EAX and the subkeys.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from stiefelsystem import crypto, keys
from stiefelsystem.datagram import Peer

SHARED = bytes(range(32))
SERVER = keys.subkey(SHARED, keys.SERVER)
AUTOKEXEC = keys.subkey(SHARED, keys.AUTOKEXEC)
SESSION = keys.subkey(SHARED, keys.SESSION)
OTHER_KEY = b"o" * 32

# The second is the first, by another port; the interfaces are ones that no machine has.
PEERS = (
    Peer("fe80::1", 40000, 2**30),
    Peer("fe80::1", 40001, 2**30),
    Peer("fe80::2", 40000, 2**30),
    Peer("fe80::1", 40000, 2**30 + 1),
)

PROOF = 32
_HEADER = struct.Struct(">IB")
_PLACE = struct.Struct(">Q")
_MAX_FRAME = 1 << 20

# P-256 (SEC 2, 2.4.2): the prime, b, and the base point.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
# The share of who has 1 as its private key: the secret is then the x of the other one's share.
SHARE_OF_ONE = b"\x04" + b"".join(number.to_bytes(32, "big") for number in _BASE)


def proof(key: bytes, message: bytes) -> bytes:
    """The proof that stands behind `message`."""
    return hmac.new(key, message, hashlib.sha256).digest()


def signed(key: bytes, data: bytes) -> bytes:
    """`data`, with its last 32 bytes replaced by a proof over those before."""
    return data[:-PROOF] + proof(key, data[:-PROOF])


def is_signed(key: bytes, data: bytes, before: bytes = b"") -> bool:
    """Whether `data` ends in a proof by `key` over `before` and itself."""
    return data[-PROOF:] == proof(key, before + data[:-PROOF])


def is_point(share: bytes) -> bool:
    """Whether these are the 65 bytes of a point of P-256, and not the one at infinity."""
    x, y = int.from_bytes(share[1:33], "big"), int.from_bytes(share[33:], "big")
    on_curve = (y * y - (x * x * x - 3 * x + _B)) % _P == 0
    return share[0] == 4 and x < _P and y < _P and on_curve


def _derive(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    return hmac.digest(hmac.digest(salt, ikm, "sha256"), info + b"\x01", "sha256")


def session_keys(request: bytes, answer: bytes, x: bytes) -> tuple[bytes, bytes]:
    """The keys to server and to client, of who knows the `x` of the common point."""
    salt = hashlib.sha256(request + answer).digest()
    return _derive(SESSION + x, salt, b"to server"), _derive(SESSION + x, salt, b"to client")


def secrets(to_client: bytes, request: bytes) -> tuple[bytes, ...]:
    """What belongs to this one sealed request: the key of the archive that answers it, the tunnel's
    preshared key, the end of the session, and the answer to that."""
    salt = hashlib.sha256(request).digest()
    labels = (b"boot archive", b"preshared", b"end", b"ended")
    return tuple(_derive(to_client, salt, label) for label in labels)


def frame(key: bytes, place: int, plain: bytes, *, last: int = 1, excess: int = 0) -> bytes:
    """A sealed frame; its header may say what it likes, and is sealed with it."""
    header = _HEADER.pack(len(plain) + excess, last)
    return header + crypto.seal(key, _PLACE.pack(place), header, plain)


def unframed(key: bytes, stream: bytes) -> tuple[bytes, bool]:
    """The plaintext of a stream up to the first thing that is wrong, and whether nothing is."""
    plain, at, place = b"", 0, 0
    while len(stream) - at >= _HEADER.size:
        length, last = _HEADER.unpack_from(stream, at)
        header = stream[at : at + _HEADER.size]
        at += _HEADER.size + length + crypto.TAG_SIZE
        if length > _MAX_FRAME or last > 1 or at > len(stream) or (length == 0 and not last):
            break
        sealed = stream[at - length - crypto.TAG_SIZE : at]
        try:
            plain += crypto.unseal(key, _PLACE.pack(place), header, sealed)
        except ValueError:
            break
        place += 1
        if last:
            return plain, at == len(stream)
    return plain, False
