"""What is said of a stick that fails while it is written or read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stiefelsystem.console import StiefelError

# What the kernel answers for a device that was pulled out, or that fails. One that has gone has no
# size any more, and so no space.
GONE = (
    *(errno.EIO, errno.ENODEV, errno.ENXIO),
    *(errno.ENOSPC, errno.ENOMEDIUM, errno.ETIMEDOUT),
)


def failure(name: str, what: str, reason: str, *, gone: bool) -> StiefelError:
    """The error for a device or an image that could not be `what`: read, written, flushed."""
    if gone:
        return StiefelError(
            f"{name} cannot be {what}: it was pulled out, or it fails ({reason})",
            hint="try another port, or another stick",
        )
    return StiefelError(f"{name} cannot be {what}: {reason}")


@contextmanager
def opened(path: Path, what: str) -> Iterator[int]:
    """A device or an image, for reading and writing; errors in the block say that it could not be
    `what`. Of an image, a full disk is no more than that."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)
    except OSError as error:
        gone = not path.is_file() and (error.errno in GONE or not path.exists())
        raise failure(str(path), what, os.strerror(error.errno or 0), gone=gone) from error
