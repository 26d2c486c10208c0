"""The shared key, and one subkey for each of its uses."""

from __future__ import annotations

import os
from pathlib import Path

from stiefelsystem import crypto, files
from stiefelsystem.console import StiefelError, say

KEY_SIZE = 32
# The published original made keys of 16 bytes; they still load.
_SIZES = (16, KEY_SIZE)
_SALT = b"stiefelsystem key v1"

# The labels of the subkeys. Whoever holds a subkey can do what it is for, and nothing else.
SERVER = "discovery, server"
AUTOKEXEC = "discovery, autokexec"
SESSION = "session"


def load(path: Path) -> bytes:
    """Read the shared key. Raises `StiefelError` if it is missing, malformed or not private."""
    key = _read(path)
    if len(key) not in _SIZES:
        raise StiefelError(
            f"{path} is not a key: its size is not 32 bytes (16 in the original's keys)"
        )
    return key


def load_subkey(path: Path) -> bytes:
    """Read a subkey that was stored, as autokexec's is, by the user who runs this.

    Raises `StiefelError` like `load`; and for a file of somebody else, who would know the subkey,
    and what it lets one do here.
    """
    key = _read(path, owner=os.geteuid())
    if len(key) != KEY_SIZE:
        raise StiefelError(f"{path} is not a subkey: its size is not {KEY_SIZE} bytes")
    return key


def _read(path: Path, *, owner: int | None = None) -> bytes:
    """Up to one byte more than a key has, of a file that nobody else can read."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if owner not in (None, status.st_uid):
                raise StiefelError(
                    f"{path} belongs to user {status.st_uid}; it may be known to others",
                    hint="make a new key, and install it again",
                )
            if status.st_mode & 0o077:
                raise StiefelError(
                    f"{path} can be read by others; it may be known to them",
                    hint=f"chmod 600 {path}, and think about who was on this machine",
                )
            return file.read(KEY_SIZE + 1)
    except FileNotFoundError as error:
        raise StiefelError(
            f"there is no key at {path}", hint="create-initrd-nspawn makes one"
        ) from error
    except OSError as error:
        raise StiefelError(f"cannot read the key: {error}") from error


def create(path: Path) -> None:
    """Make a new key at `path`, mode 0600, unless there is one."""
    if not path.exists():
        files.write(path, os.urandom(KEY_SIZE), mode=0o600)
        files.belongs_to_invoker(path)
        say(f"made a new key: {path}")


def subkey(key: bytes, label: str) -> bytes:
    """Derive the 32 byte subkey for one use of `key`: HKDF-SHA256 (RFC 5869), info `label`."""
    return crypto.hkdf(key, salt=_SALT, info=label.encode())
