"""The shared key, wrapped by a passphrase: what a stick holds that is worth nothing to its thief.

The format is in docs/protocol.md. The passphrase becomes a key by scrypt (RFC 7914), which takes
much memory for each guess; its parameters stand in the header. That key seals the shared one by
AES-EAX, with the whole header as associated data. The salt is new for each wrapping, so such a key
seals once, and the salt serves as the nonce, too.
"""

from __future__ import annotations

import os
import struct
import unicodedata

from stiefelsystem import crypto
from stiefelsystem.console import StiefelError

_MAGIC, _VERSION = b"STFLwrap", 1
_SALT_SIZE = 32
_HEADER = struct.Struct(f">8s4B{_SALT_SIZE}s")  # magic, version, log2(N), r, p, salt
# RFC 7914 names them: 128 MiB, and a second or a few on a slow desktop.
_LOG_N, _R, _P = 17, 8, 1
# What a file may ask for: whoever has had the stick must not exhaust the memory of who boots it.
_MOST_MEMORY, _MOST_P = 128 << 20, 4
_KEY_SIZES = (16, 32)
SIZES = tuple(_HEADER.size + size + crypto.TAG_SIZE for size in _KEY_SIZES)


class WrongPassphrase(StiefelError):
    """The key did not verify: another passphrase has wrapped it, or its file was altered."""


def wrap(key: bytes, passphrase: str) -> bytes:
    """Wrap `key` anew. Raises `StiefelError` for a passphrase that cannot be one."""
    secret = _secret(passphrase)
    header = _HEADER.pack(_MAGIC, _VERSION, _LOG_N, _R, _P, os.urandom(_SALT_SIZE))
    return header + crypto.seal(*_key_and_nonce(header, secret), header, key)


def unwrap(data: bytes, passphrase: str) -> bytes:
    """The key that `wrap` has wrapped.

    Raises `WrongPassphrase`, and `StiefelError` for what is no wrapped key, or one whose parameters
    would take more memory or time than ours.
    """
    check(data)
    header, sealed = data[: _HEADER.size], data[_HEADER.size :]
    try:
        secret = _secret(passphrase)
    except StiefelError as error:
        raise WrongPassphrase(str(error), hint=error.hint) from error
    key, nonce = _key_and_nonce(header, secret)
    try:
        return crypto.unseal(key, nonce, header, sealed)
    except ValueError as error:
        raise WrongPassphrase("that is not the passphrase, or the stick was altered") from error


def check(data: bytes) -> None:
    """Raise `StiefelError` for what no passphrase unwraps: `unwrap` does the same."""
    if len(data) not in SIZES or not data.startswith(_MAGIC):
        raise StiefelError(
            f"this is not a wrapped key: {len(data)} bytes, which do not fit its format",
            hint="write the stick again",
        )
    _, version, log_n, r, p, _ = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise StiefelError(
            f"the key is wrapped in version {version} of the format; known is {_VERSION}",
            hint="write the stick and its ramdisk by the same version",
        )
    # RFC 7914: N is a power of 2, larger than 1. The shift is bounded before it is done.
    possible = 1 <= log_n <= 32 and r >= 1 and 1 <= p <= _MOST_P
    if not possible or 128 * r << log_n > _MOST_MEMORY:
        raise StiefelError(
            f"the wrapped key asks for scrypt with N = 2^{log_n}, r = {r}, p = {p}, which this "
            f"version never does: it uses {_MOST_MEMORY >> 20} MiB at most",
            hint="the stick is broken, or was altered: write it again",
        )


def _secret(passphrase: str) -> bytes:
    """A passphrase as bytes: equal for whatever looks equal, however a keyboard composes it."""
    normal = unicodedata.normalize("NFKC", passphrase)
    if not normal:
        raise StiefelError("an empty passphrase protects nothing", hint="type another one")
    if not normal.isprintable():
        raise StiefelError(
            "the passphrase has characters that cannot be printed, nor typed everywhere",
            hint="take letters, digits, blanks and signs of a US keyboard",
        )
    return normal.encode()


def _key_and_nonce(header: bytes, secret: bytes) -> tuple[bytes, bytes]:
    _, _, log_n, r, p, salt = _HEADER.unpack(header)
    return crypto.scrypt(secret, salt=salt, log_n=log_n, r=r, p=p), salt
