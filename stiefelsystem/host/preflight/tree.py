"""Reading what is in a system's tree: what is missing is nothing, what is forbidden is said."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.host.setup.root import Root

# Generous: dpkg's status has a few megabytes.
_MAX_SIZE, _PIECE = 64 << 20, 64 << 10


def real(root: Root, path: str) -> Path:
    """Where a path inside is from outside, all its links followed inside."""
    return root.place(root.resolve(path))


def is_file(root: Root, path: str) -> bool:
    """Whether there is a file, whatever links lead to it."""
    return real(root, path).is_file()


def names(root: Root, folder: str) -> list[str]:
    """The names in a folder, sorted; none if there is no such folder.

    Raises `StiefelError` if this user may not read it.
    """
    try:
        return sorted(os.listdir(real(root, folder)))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def text(root: Root, path: str) -> str:
    """A file's text; empty if there is no such file, and with replacements for what is no UTF-8.

    Raises `StiefelError` if this user may not read it.
    """
    place = real(root, path)
    try:
        if not place.is_file():  # a pipe or a device would be waited for
            return ""
        with place.open("rb") as file:
            # Piece by piece: /proc/sys refuses to fill a buffer of more than 4 MiB (proc_sysctl.c).
            pieces = iter(lambda: file.read(_PIECE), b"")
            content = b"".join(islice(pieces, _MAX_SIZE // _PIECE))
            return content.decode(errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> StiefelError:
    hint = "run it as root" if isinstance(error, PermissionError) else ""
    return StiefelError(f"cannot read {path}: {error.strerror}", hint=hint)
