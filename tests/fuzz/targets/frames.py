"""A sealed stream: what is read is what was sealed, in order and whole, or it ends in an error.

The first two bytes tell in which pieces the stream comes, and in which it is read. Each step is
then a frame's plaintext. Bits: 0 whether it is marked as the last; 1 whether that mark is one that
does not exist; 2-3 its place: the right one, the one before, the one behind, or the first; 4
whether its header tells a byte too many; 5 whether its tag is altered; 6 whether it comes twice; 7
whether the bytes of the step are sent as they are, instead of a frame.
"""

from __future__ import annotations

import io

from stiefelsystem.framing import FramingError, Opener
from tests.fuzz import by_hand
from tests.fuzz.inline import without_threads
from tests.fuzz.steps import Step, steps

KEY = b"f" * 32


def _frame(step: Step, place: int) -> bytes:
    if step.bits(7):
        return step.data
    place = (place, max(place - 1, 0), place + 1, 0)[step.bits(2, 2)]
    last = step.bits(0) + 2 * step.bits(1)
    frame = by_hand.frame(KEY, place, step.data, last=last, excess=step.bits(4))
    if step.bits(5):
        frame = frame[:-1] + bytes([frame[-1] ^ 1])
    return frame * (1 + step.bits(6))


def fuzz(data: bytes) -> bool:
    """Returns whether the stream is whole."""
    sent_by, read_by = data[:2].ljust(2, b"\xff")
    stream = b"".join(_frame(step, place) for place, step in enumerate(steps(data[2:])))
    expected, whole = by_hand.unframed(KEY, stream)
    rest = io.BytesIO(stream)
    read = b""
    try:
        with without_threads(), Opener(lambda n: rest.read(min(n, sent_by + 1)), KEY) as opener:
            while part := opener.read(read_by + 1):
                assert len(part) <= read_by + 1
                read += part
            opener.finish()
    except FramingError:
        assert not whole, "a whole stream is refused"
        assert expected.startswith(read), "what was not sealed, or not there, is read"
    else:
        assert whole, "a stream that is not whole is accepted"
        assert read == expected
    return whole
