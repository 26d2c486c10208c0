"""The opening of a session: both prove the key, bound to fresh nonces, and agree on new keys.

    request   prefix, the client's nonce, the server's challenge, the client's share, proof
    answer    prefix, session id, the server's share, proof over request and answer

The shares are ephemeral P-256 points. All keys of the session come from the shared key, the ECDH
secret and both messages; who learns the shared key later can't read the session.
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import NamedTuple

from stiefelsystem import crypto
from stiefelsystem.messages import (
    NONCE_SIZE,
    PROOF_SIZE,
    MessageError,
    Offer,
    Type,
    body_of,
    prefix,
    prove,
    proved,
)

try:
    from Cryptodome.Protocol.DH import key_agreement
    from Cryptodome.PublicKey import ECC
except ModuleNotFoundError:
    from Crypto.Protocol.DH import key_agreement
    from Crypto.PublicKey import ECC

# Where the server takes requests, by HTTP.
PORT = 4644
# A point of P-256, uncompressed: 4, x, y (SEC 1, 2.3.3).
_POINT = struct.Struct(">B32s32s")
_UNCOMPRESSED = 4
# The field of P-256 (SEC 2, 2.4.2).
_PRIME = (2**256 - 2**224 + 2**192 + 2**96 - 1).to_bytes(32, "big")
_SHARE_SIZE = _POINT.size
ID_SIZE = 16
_REQUEST = struct.Struct(f">{NONCE_SIZE}s{NONCE_SIZE}s{_SHARE_SIZE}s")
_ANSWER = struct.Struct(f">{ID_SIZE}s{_SHARE_SIZE}s")
REQUEST_SIZE = len(prefix(Type.SESSION)) + _REQUEST.size + PROOF_SIZE
ANSWER_SIZE = len(prefix(Type.SESSION_ANSWER)) + _ANSWER.size + PROOF_SIZE


class WrongKeyError(MessageError):
    """The proof was made with another key."""


class Secrets(NamedTuple):
    """What belongs to one boot request: the key of the archive that answers it, the tunnel's
    preshared key, and what is said, once, to end the session, and to confirm that."""

    archive: bytes
    preshared: bytes
    end: bytes
    ended: bytes


class Keys(NamedTuple):
    """A session's id, the key that seals its boot request, and the secret behind all else."""

    id: bytes
    to_server: bytes
    to_client: bytes

    def secrets(self, request: bytes) -> Secrets:
        """What belongs to this one sealed boot request, and no other."""
        salt = hashlib.sha256(request).digest()
        labels = (b"boot archive", b"preshared", b"end", b"ended")
        return Secrets(*(crypto.hkdf(self.to_client, salt=salt, info=it) for it in labels))


class Client:
    """The client's half of one exchange."""

    def __init__(self, key: bytes, offer: Offer) -> None:
        self._key = key
        self._private = ECC.generate(curve="P-256")
        body = _REQUEST.pack(offer.nonce, offer.challenge, _share(self._private))
        self.request = prove(key, prefix(Type.SESSION) + body)

    def finish(self, answer: bytes) -> Keys:
        """Verify the server's answer and derive the session's keys."""
        body = body_of(answer, Type.SESSION_ANSWER, _ANSWER.size + PROOF_SIZE)
        if not proved(self._key, self.request + answer):
            raise WrongKeyError("the server's answer does not prove the key")
        identity, share = _ANSWER.unpack_from(body)
        return _derive(self._key, self._private, share, self.request + answer, identity)


def read_request(key: bytes, request: bytes) -> tuple[bytes, bytes]:
    """The nonce and the challenge of a request whose proof holds.

    Raises `MessageError` for anything else, `WrongKeyError` where only the proof is wrong.
    """
    body = body_of(request, Type.SESSION, _REQUEST.size + PROOF_SIZE)
    if not proved(key, request):
        raise WrongKeyError("the client's request does not prove the key")
    nonce, challenge, _ = _REQUEST.unpack_from(body)
    return nonce, challenge


def answer_request(key: bytes, request: bytes) -> tuple[bytes, Keys]:
    """The server's half, for a request that `read_request` and the challenges have accepted."""
    _, _, share = _REQUEST.unpack_from(request, len(prefix(Type.SESSION)))
    private = ECC.generate(curve="P-256")
    identity = os.urandom(ID_SIZE)
    message = prefix(Type.SESSION_ANSWER) + _ANSWER.pack(identity, _share(private))
    # The proof covers the request, too, which is not sent back.
    answer = message + prove(key, request + message)[-PROOF_SIZE:]
    return answer, _derive(key, private, share, request + answer, identity)


def _share(private: ECC.EccKey) -> bytes:
    exported = private.public_key().export_key(format="SEC1")
    assert isinstance(exported, bytes)
    return exported


def _derive(
    key: bytes, private: ECC.EccKey, share: bytes, transcript: bytes, identity: bytes
) -> Keys:
    # Not by ECC.import_key, which tries, and imports, every format that a key was ever stored in.
    form, x, y = _POINT.unpack(share)
    try:
        if form != _UNCOMPRESSED:
            raise ValueError("not an uncompressed point")
        if max(x, y) >= _PRIME:  # ECC.construct would take it modulo the prime
            raise ValueError("not coordinates of the field")
        # Refuses points that are not on the curve, but (0, 0), which the agreement refuses.
        public = ECC.construct(
            curve="P-256", point_x=int.from_bytes(x, "big"), point_y=int.from_bytes(y, "big")
        )
        secret = key_agreement(eph_priv=private, eph_pub=public, kdf=lambda raw: raw)
    except ValueError as error:
        raise MessageError("the peer's share is not a point of P-256") from error
    salt = hashlib.sha256(transcript).digest()
    return Keys(
        identity,
        crypto.hkdf(key + secret, salt=salt, info=b"to server"),
        crypto.hkdf(key + secret, salt=salt, info=b"to client"),
    )
