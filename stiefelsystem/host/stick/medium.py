"""What is said of a stick that fails while it is written or read."""

from __future__ import annotations

import errno

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
