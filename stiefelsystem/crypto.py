"""The cryptographic primitives, and the one place that knows both names of pycryptodome:
`Cryptodome` from Debian's package, `Crypto` from PyPI's."""

from __future__ import annotations

try:
    from Cryptodome.Cipher import AES
    from Cryptodome.Hash import SHA256
    from Cryptodome.Protocol.KDF import HKDF
except ModuleNotFoundError:
    from Crypto.Cipher import AES
    from Crypto.Hash import SHA256
    from Crypto.Protocol.KDF import HKDF

TAG_SIZE = 16
SUBKEY_SIZE = 32


def hkdf(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """32 bytes from `secret` by HKDF-SHA256 (RFC 5869)."""
    derived = HKDF(secret, SUBKEY_SIZE, salt, SHA256, context=info)
    assert isinstance(derived, bytes)
    return derived


def seal(key: bytes, nonce: bytes, header: bytes, plain: bytes) -> bytes:
    """Encrypt `plain` and authenticate it with `header` by AES-EAX: ciphertext, then the tag.

    EAX: Bellare, Rogaway, Wagner, "The EAX Mode of Operation", FSE 2004. A nonce must never be
    used twice with one key.
    """
    cipher = AES.new(key, AES.MODE_EAX, nonce=nonce, mac_len=TAG_SIZE)
    cipher.update(header)
    body, tag = cipher.encrypt_and_digest(plain)
    sealed: bytes = body + tag
    return sealed


def unseal(key: bytes, nonce: bytes, header: bytes, sealed: bytes) -> bytes:
    """The reverse of `seal`. Raises `ValueError` for anything but what `seal` made."""
    cipher = AES.new(key, AES.MODE_EAX, nonce=nonce, mac_len=TAG_SIZE)
    cipher.update(header)
    plain: bytes = cipher.decrypt_and_verify(sealed[:-TAG_SIZE], sealed[-TAG_SIZE:])
    return plain
