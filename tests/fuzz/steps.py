"""What an input means to the targets that play several steps."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = struct.Struct(">BH")
_MOST = 12


class Step(NamedTuple):
    """One of a peer's actions: a byte of choices, and bytes of its own."""

    choices: int
    data: bytes

    def bits(self, at: int, width: int = 1) -> int:
        """A number that stands in the choices, from bit `at` on; each target has its own."""
        return self.choices >> at & (1 << width) - 1


def steps(data: bytes) -> Iterator[Step]:
    """Cut an input: choices (u8), size (u16, big endian), so many bytes or what is left of them."""
    at = 0
    for _ in range(_MOST):
        if len(data) - at < _HEAD.size:
            return
        choices, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield Step(choices, data[at : at + size])
        at += size
