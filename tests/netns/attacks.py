"""What the relay does to what it passes on.

A message consists of pieces: one, or an archive's frames. An attack makes other pieces of them.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

Pieces = Iterable[bytes]

_LAST_FLAG = 4  # where it stands in a frame's header
# Longer than a test looks at what has become of it.
_STALL_SECONDS = 60.0


class Distant(bytes):
    """To be sent as if a router had passed it on."""


def _flipped(piece: bytes, at: int) -> bytes:
    changed = bytearray(piece)
    changed[at] ^= 1
    return bytes(changed)


def flip(pieces: Pieces, which: int, *offsets: int) -> Pieces:
    """A bit of one piece; for several offsets, as many changed copies of it."""
    for number, piece in enumerate(pieces):
        yield from [_flipped(piece, at) for at in offsets] if number == which else [piece]


def forge(pieces: Pieces, *offsets: int) -> Pieces:
    """Changed copies first, then what is real."""
    for piece in pieces:
        yield from (_flipped(piece, at) for at in offsets)
        yield piece


def drop(pieces: Pieces, which: int) -> Pieces:
    """Without one."""
    return (piece for number, piece in enumerate(pieces) if number != which)


def repeat(pieces: Pieces, which: int) -> Pieces:
    """One of them twice."""
    for number, piece in enumerate(pieces):
        yield from [piece, piece] if number == which else [piece]


def swap(pieces: Pieces, which: int) -> Pieces:
    """One of them behind the next."""
    rest = iter(pieces)
    yield from itertools.islice(rest, which)
    one, other = itertools.islice(rest, 2)
    yield from (other, one)
    yield from rest


def cut(pieces: Pieces, which: int, size: int) -> Pieces:
    """Nothing behind so many bytes of one piece; what follows is not even taken from the laptop."""
    rest = iter(pieces)
    yield from itertools.islice(rest, which)
    yield next(rest)[:size]


def append(pieces: Pieces, size: int) -> Pieces:
    """And so many zeros."""
    yield from pieces
    yield bytes(size)


def end(pieces: Pieces, which: int) -> Pieces:
    """One frame marked as the last one, and no other behind it."""
    rest = iter(pieces)
    yield from itertools.islice(rest, which)
    yield _flipped(next(rest), _LAST_FLAG)


def distant(pieces: Pieces) -> Pieces:
    """As they are, from far away."""
    return map(Distant, pieces)


def _stall(ended: threading.Event, pieces: Pieces, which: int) -> Pieces:
    yield from itertools.islice(pieces, which)
    print("stalled", flush=True)
    ended.wait(_STALL_SECONDS)


def _late(held: deque[bytes], pieces: Pieces, rounds: int) -> Pieces:
    held += pieces
    return [held.popleft()] if len(held) > rounds else []


def _replay(recorded: list[bytes], _: Pieces) -> Pieces:
    return recorded


_BY_NAME: dict[str, Callable[..., Pieces]] = {
    it.__name__: it for it in (flip, forge, drop, repeat, swap, cut, append, end, distant)
}
# Stall: so many pieces, and nothing more; the attack has to be ended. Late: what came so many times
# before, in place of what comes. Replay: what was recorded, in place of what comes.
NAMES = (*_BY_NAME, "stall", "late", "replay")


class Attack:
    """Changes what is passed on in one step, so many times, until it is ended.

    After those times it is only waited for `end`, so that a test can look at what has become of it:
    meanwhile nothing new may begin.
    """

    def __init__(
        self, step: str, name: str, numbers: list[int], *, times: int, recorded: list[bytes]
    ) -> None:
        self._ended = threading.Event()
        changes: dict[str, Callable[..., Pieces]] = {
            **_BY_NAME,
            "stall": partial(_stall, self._ended),
            "late": partial(_late, deque[bytes]()),
            "replay": partial(_replay, recorded),
        }
        self._step = step
        self._change = changes[name]
        self._numbers = numbers
        self._left = times

    def change(self, step: str, pieces: Pieces) -> Pieces:
        """What is to be sent in place of what came."""
        if step != self._step or self._ended.is_set() or not self._left:
            return pieces
        self._left -= 1
        print(f"attacked {step}", flush=True)
        return self._change(pieces, *self._numbers)

    @property
    def waits(self) -> bool:
        """Whether it is done, and has not been ended."""
        return not self._left and not self._ended.is_set()

    def end(self) -> None:
        """From now on, all passes as it is. For a signal's handler: print() may be under way."""
        self._ended.set()
        os.write(1, b"honest\n")
