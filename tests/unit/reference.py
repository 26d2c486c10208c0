"""The protocol once more, from docs/protocol.md alone, and with another library.

One function for each kind of test vector: from what is given, what is to be expected. Nothing
here comes from the programs; what both sides of a test agree on stands in the page.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import unicodedata
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Fields = Mapping[str, bytes | int]


def _head(kind: int) -> bytes:
    return b"STFL" + bytes([1, kind])


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=salt, info=info).derive(secret)


# Key and subkeys


def subkeys(*, key: bytes) -> Fields:
    labels = ["discovery, server", "discovery, autokexec", "session"]
    return {label: _hkdf(key, b"stiefelsystem key v1", label.encode()) for label in labels}


# Messages


def hello(*, nonce: bytes) -> Fields:
    return {"message": _head(1) + nonce + bytes(65)}


def offer(*, key: bytes, role: int, nonce: bytes, challenge: bytes) -> Fields:
    message = _head(2) + bytes([role]) + nonce + challenge
    return {"message": message + _hmac(key, message)}


def order(*, key: bytes, nonce: bytes, challenge: bytes) -> Fields:
    message = _head(3) + nonce + challenge
    return {"message": message + _hmac(key, message)}


def accepted(*, key: bytes, nonce: bytes, challenge: bytes, countdown: int) -> Fields:
    message = _head(4) + nonce + challenge + countdown.to_bytes(2, "big")
    return {"message": message + _hmac(key, message)}


def mismatch(*, nonce: bytes, challenge: bytes) -> Fields:
    return {"message": _head(5) + nonce + challenge}


def version(*, hello: bytes) -> Fields:
    magic, other, kind = hello[:4], hello[4], hello[5]
    assert (magic, kind) == (b"STFL", 1)
    assert other != 1
    return {"message": _head(6)}


def challenge(*, secret: bytes, time: int, nonce: bytes, peer: bytes) -> Fields:
    stamp = time.to_bytes(8, "big")
    return {"challenge": stamp + _hmac(secret, stamp + nonce + peer)[:24]}


# The session


def _private(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def _share(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def session(*, key: bytes, nonce: bytes, challenge: bytes, private: bytes) -> Fields:
    message = _head(16) + nonce + challenge + _share(_private(private))
    return {"message": message + _hmac(key, message)}


def session_answer(*, key: bytes, session: bytes, id: bytes, private: bytes) -> Fields:
    message = _head(17) + id + _share(_private(private))
    return {"message": message + _hmac(key, session + message)}


def session_keys(
    *, key: bytes, session: bytes, answer: bytes, client_private: bytes, server_private: bytes
) -> Fields:
    client_share, server_share = session[70:135], answer[22:87]
    assert client_share == _share(_private(client_private))
    assert server_share == _share(_private(server_private))
    other = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), server_share)
    z = _private(client_private).exchange(ec.ECDH(), other)
    salt = hashlib.sha256(session + answer).digest()
    return {
        "z": z,
        "salt": salt,
        "to server": _hkdf(key + z, salt, b"to server"),
        "to client": _hkdf(key + z, salt, b"to client"),
    }


def secrets(*, to_client: bytes, boot_request: bytes) -> Fields:
    salt = hashlib.sha256(boot_request).digest()
    labels = ["boot archive", "preshared", "end", "ended"]
    return {label: _hkdf(to_client, salt, label.encode()) for label in labels}


# Frames


def _omac(key: bytes, tweak: int, data: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(tweak.to_bytes(16, "big") + data)
    return mac.finalize()


def eax(key: bytes, nonce: bytes, header: bytes, plain: bytes) -> bytes:
    """Ciphertext and tag, by the definition (Bellare, Rogaway, Wagner 2004, figure 3)."""
    start = _omac(key, 0, nonce)
    encryptor = Cipher(algorithms.AES(key), modes.CTR(start)).encryptor()
    body = encryptor.update(plain) + encryptor.finalize()
    parts = zip(start, _omac(key, 1, header), _omac(key, 2, body), strict=True)
    return body + bytes(n ^ h ^ c for n, h, c in parts)


def stream(*, key: bytes, frames: list[bytes]) -> Fields:
    sealed = b""
    for place, plain in enumerate(frames):
        header = len(plain).to_bytes(4, "big") + bytes([place == len(frames) - 1])
        sealed += header + eax(key, place.to_bytes(8, "big"), header, plain)
    return {"stream": sealed}


# Boot archive


def archive(*, tar: bytes) -> Fields:
    members, left = {}, tar
    for name in ("answer", "kernel", "initrd", "cmdline"):
        header, left = left[:512], left[512:]
        assert header[:100] == name.encode().ljust(100, b"\0")
        assert header[156:157] == b"0"
        assert header[345:500] == bytes(155)
        checksum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        assert _octal(header[148:156]) == checksum
        size = _octal(header[124:136])
        members[name] = left[:size]
        left = left[-(-size // 512) * 512 :]
        if json.loads(members["answer"])["status"] != "ok":
            break
    assert not any(left)
    return members


# The wrapped key


def wrapped_key(
    *, key: bytes, passphrase: bytes, salt: bytes, log_n: int, r: int, p: int
) -> Fields:
    header = b"STFLwrap" + bytes([1, log_n, r, p]) + salt
    normal = unicodedata.normalize("NFKC", passphrase.decode()).encode()
    derived = Scrypt(salt=salt, length=32, n=2**log_n, r=r, p=p).derive(normal)
    return {"file": header + eax(derived, salt, header, key)}


def _octal(field: bytes) -> int:
    return int(field.rstrip(b" \0"), 8)
