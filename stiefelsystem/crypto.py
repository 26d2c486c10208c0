"""The cryptographic primitives: HKDF by the standard library, the rest by pycryptodome."""

from __future__ import annotations

import hmac
from functools import cache
from typing import Any

from stiefelsystem.console import StiefelError

TAG_SIZE = 16


def hkdf(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """32 bytes from `secret` by HKDF-SHA256 (RFC 5869): as long as the hash, so in one round."""
    extracted = hmac.digest(salt, secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def seal(key: bytes, nonce: bytes, header: bytes, plain: bytes) -> bytes:
    """Encrypt `plain` and authenticate it with `header` by AES-EAX: ciphertext, then the tag.

    EAX: Bellare, Rogaway, Wagner, "The EAX Mode of Operation", FSE 2004. A nonce must never be
    used twice with one key.
    """
    body, tag = _cipher(key, nonce, header).encrypt_and_digest(plain)
    sealed: bytes = body + tag
    return sealed


def unseal(key: bytes, nonce: bytes, header: bytes, sealed: bytes) -> bytes:
    """The reverse of `seal`. Raises `ValueError` for anything but what `seal` made."""
    cipher = _cipher(key, nonce, header)
    plain: bytes = cipher.decrypt_and_verify(sealed[:-TAG_SIZE], sealed[-TAG_SIZE:])
    return plain


def scrypt(secret: bytes, *, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    """32 bytes from a passphrase by scrypt (RFC 7914), which takes 128·r·2^log_n bytes of memory.

    Raises `StiefelError` where there is not so much.
    """
    # Late: it brings hashes along that nothing else needs.
    try:
        from Cryptodome.Protocol import KDF  # Debian's name
    except ModuleNotFoundError:
        from Crypto.Protocol import KDF  # PyPI's
    try:
        derived = KDF.scrypt(secret, salt, 32, N=1 << log_n, r=r, p=p)
    except (MemoryError, ValueError) as error:  # of what it allocates itself, only a number is told
        raise StiefelError(
            f"cannot work with the passphrase: there are no {128 * r << log_n >> 20} MiB of memory"
        ) from error
    assert isinstance(derived, bytes)
    return derived


def prepare() -> None:
    """Import what sealing needs, so that it is there when it becomes urgent."""
    _aes()


def _cipher(key: bytes, nonce: bytes, header: bytes) -> Any:
    cipher = _aes().new(key, _aes().MODE_EAX, nonce=nonce, mac_len=TAG_SIZE)
    cipher.update(header)
    return cipher


@cache
def _aes() -> Any:
    # Late: it takes longer to import than all that a search for the laptop needs.
    try:
        from Cryptodome.Cipher import AES  # Debian's name
    except ModuleNotFoundError:
        from Crypto.Cipher import AES  # PyPI's
    return AES
