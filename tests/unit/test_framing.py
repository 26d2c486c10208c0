"""The sealed stream: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stiefelsystem import crypto, framing
from stiefelsystem.framing import FRAME_SIZE, FramingError, Opener, Sealer

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
HEADER = 5
# The frame size of the tests that try everything at every place.
SMALL = 16


def sealed(plain: bytes, key: bytes = KEY, piece: int = 0) -> bytes:
    """`plain` as a stream, written at once or in pieces."""
    out = io.BytesIO()
    with Sealer(out.write, key) as sealer:
        for at in range(0, len(plain), piece or len(plain) or 1):
            sealer.write(plain[at : at + piece] if piece else plain)
    return out.getvalue()


def opened(stream: bytes, key: bytes = KEY, piece: int = 1 << 24, most: int = 1 << 24) -> bytes:
    """The whole plaintext of `stream`, read in pieces from a source that gives `most` at once."""
    file = io.BytesIO(stream)
    parts = []
    with Opener(lambda size: file.read(min(size, most)), key) as opener:
        while part := opener.read(piece):
            assert len(part) <= piece
            parts.append(part)
        opener.finish()
    return b"".join(parts)


def frame(place: int, plain: bytes, *, last: bool, key: bytes = KEY) -> bytes:
    """One frame as the format's description has it, made without the code under test."""
    header = struct.pack(">IB", len(plain), last)
    return header + crypto.seal(key, struct.pack(">Q", place), header, plain)


def frames_of(stream: bytes) -> list[bytes]:
    """A stream, cut at its frames' boundaries."""
    frames = []
    while stream:
        size = HEADER + int.from_bytes(stream[:4], "big") + crypto.TAG_SIZE
        frames.append(stream[:size])
        stream = stream[size:]
    return frames


def pattern(size: int) -> bytes:
    """Bytes that differ from one place to the next, and from one frame to the next."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def refuses(stream: bytes, key: bytes = KEY) -> str:
    with pytest.raises(FramingError) as caught:
        opened(stream, key)
    return str(caught.value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(framing, "FRAME_SIZE", SMALL)
    return SMALL


def test_format() -> None:
    """The bytes of a stream, which docs/protocol.md promises."""
    stream = sealed(b"stiefel")
    assert stream == frame(0, b"stiefel", last=True)
    assert stream.hex() == "0000000701395738c8aede77c38215a9e8ca26aebf8ef1af27ea8496"


@pytest.mark.parametrize("key_size", [16, 32])
@pytest.mark.parametrize(
    "size",
    [0, 1, FRAME_SIZE - 1, FRAME_SIZE, FRAME_SIZE + 1, 2 * FRAME_SIZE, 7 * FRAME_SIZE + 13],
)
def test_roundtrip(size: int, key_size: int) -> None:
    plain = pattern(size)
    stream = sealed(plain, KEY[:key_size])
    full, rest = divmod(size, FRAME_SIZE)
    assert len(frames_of(stream)) == max(1, full + bool(rest))
    assert opened(stream, KEY[:key_size]) == plain


def test_roundtrip_of_every_small_size(small: int) -> None:
    for size in range(4 * small + 2):
        stream = sealed(pattern(size))
        full, rest = divmod(size, small)
        places = max(1, full + bool(rest))
        assert [bool(one[4]) for one in frames_of(stream)] == [False] * (places - 1) + [True]
        assert opened(stream) == pattern(size)


@pytest.mark.parametrize("written", [1, SMALL - 1, SMALL, SMALL + 1, 100])
@pytest.mark.parametrize(("read", "most"), [(1, 1000), (7, 1), (SMALL, 4), (1000, HEADER + SMALL)])
def test_sizes_of_pieces_do_not_matter(small: int, written: int, read: int, most: int) -> None:
    plain = pattern(10 * small + 5)
    stream = sealed(plain, piece=written)
    assert stream == sealed(plain)
    assert opened(stream, piece=read, most=most) == plain


@pytest.mark.parametrize(("written", "read", "most"), [(1000003, 65537, 1448), (1 << 24, 512, 99)])
def test_sizes_of_pieces_do_not_matter_at_full_size(written: int, read: int, most: int) -> None:
    plain = pattern(2 * FRAME_SIZE + 4711)
    assert opened(sealed(plain, piece=written), piece=read, most=most) == plain


@settings(max_examples=40)
@given(pieces=st.lists(st.binary(max_size=3 * SMALL), max_size=8))
def test_roundtrip_of_anything(pieces: list[bytes]) -> None:
    out = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "FRAME_SIZE", SMALL)
        with Sealer(out.write, KEY) as sealer:
            for piece in pieces:
                assert sealer.write(piece) == len(piece)
        assert opened(out.getvalue()) == b"".join(pieces)


def test_read_gives_what_was_asked_for_across_frames(small: int) -> None:
    plain = pattern(3 * small)
    with Opener(io.BytesIO(sealed(plain)).read, KEY) as opener:
        assert opener.read(0) == b""
        assert opener.read(small + 3) == plain[: small + 3]
        assert opener.read(1 << 20) == plain[small + 3 :]
        assert opener.read(1) == b""


def test_untouched(small: int) -> None:
    with Sealer(lambda _: None, KEY) as sealer:
        assert sealer.untouched
        sealer.write(b"")
        assert sealer.untouched
        sealer.write(b"x")
        assert not sealer.untouched
        sealer.write(bytes(10 * small))
        assert not sealer.untouched


def test_truncation_at_every_byte(small: int) -> None:
    stream = sealed(pattern(3 * small + 5))
    assert len(frames_of(stream)) == 4
    for size in range(len(stream)):
        assert refuses(stream[:size]) == "the stream ended before its last frame"


def test_truncation_at_every_boundary_at_full_size() -> None:
    frames = frames_of(sealed(pattern(3 * FRAME_SIZE + 5)))
    for count in range(4):
        refuses(b"".join(frames[:count]))


def test_every_bit_counts(small: int) -> None:
    stream = sealed(pattern(small + 5))
    for bit in range(8 * len(stream)):
        changed = bytearray(stream)
        changed[bit // 8] ^= 1 << bit % 8
        refuses(bytes(changed))


def test_bit_flips_at_full_size() -> None:
    stream = sealed(pattern(FRAME_SIZE + 100))
    second = HEADER + FRAME_SIZE + crypto.TAG_SIZE
    for at in (3, 4, HEADER, FRAME_SIZE // 2, second - 1, second + 3, second + 4, second + HEADER):
        changed = bytearray(stream)
        changed[at] ^= 0x80 if at != 4 else 1
        refuses(bytes(changed))


def test_nothing_of_an_altered_frame_is_released(small: int) -> None:
    plain = pattern(4 * small)
    stream = bytearray(sealed(plain))
    third = 2 * (HEADER + small + crypto.TAG_SIZE)
    stream[third + HEADER] ^= 1
    with Opener(io.BytesIO(stream).read, KEY) as opener:
        assert opener.read(2 * small) == plain[: 2 * small]
        with pytest.raises(FramingError, match="frame 2 of the stream was altered"):
            opener.read(1)


@pytest.mark.parametrize("place", range(4))
def test_a_failure_stays_a_failure(small: int, place: int) -> None:
    """Who reads on after an error gets neither the next frame nor an end that looks good."""
    stream = bytearray(sealed(pattern(4 * small)))
    stream[place * (HEADER + small + crypto.TAG_SIZE) + HEADER] ^= 1
    with Opener(io.BytesIO(stream).read, KEY) as opener:
        for attempt in (opener.finish, lambda: opener.read(1), opener.finish):
            with pytest.raises(FramingError):
                attempt()


def swapped(frames: list[bytes]) -> list[bytes]:
    return [frames[1], frames[0], *frames[2:]]


ARRANGEMENTS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "first two swapped": swapped,
    "last two swapped": lambda frames: [*frames[:-2], frames[-1], frames[-2]],
    "all turned round": lambda frames: frames[::-1],
    "first dropped": lambda frames: frames[1:],
    "inner dropped": lambda frames: [frames[0], *frames[2:]],
    "last dropped": lambda frames: frames[:-1],
    "first twice": lambda frames: [frames[0], *frames],
    "inner twice": lambda frames: [*frames[:2], *frames[1:]],
    "last twice": lambda frames: [*frames, frames[-1]],
    "all twice": lambda frames: frames * 2,
    "last alone": lambda frames: frames[-1:],
    "nothing": lambda frames: [],
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_frames_in_another_order(small: int, name: str) -> None:
    frames = frames_of(sealed(pattern(4 * small)))
    refuses(b"".join(ARRANGEMENTS[name](frames)))


def test_two_frames_swapped_at_full_size() -> None:
    refuses(b"".join(swapped(frames_of(sealed(pattern(2 * FRAME_SIZE + 1))))))


def test_other_key(small: int) -> None:
    assert refuses(sealed(pattern(5)), OTHER_KEY) == "frame 0 of the stream was altered"


@pytest.mark.parametrize("place", range(3))
def test_frame_from_another_session(small: int, place: int) -> None:
    ours = frames_of(sealed(pattern(3 * small)))
    ours[place] = frames_of(sealed(pattern(3 * small), OTHER_KEY))[place]
    assert refuses(b"".join(ours)) == f"frame {place} of the stream was altered"


@pytest.mark.parametrize(
    "junk", [b"\0", b"x" * 100, frame(1, b"more", last=True)], ids=["zero", "text", "frame"]
)
def test_junk_behind_the_end(junk: bytes) -> None:
    stream = sealed(b"all")
    assert refuses(stream + junk) == "there is something behind the end of the stream"
    with Opener(io.BytesIO(stream + junk).read, KEY) as opener:
        assert opener.read(100) == b"all"


def test_empty_frame_inside() -> None:
    inside = frame(0, b"a", last=False) + frame(1, b"", last=False) + frame(2, b"b", last=True)
    assert refuses(inside) == "an empty frame stands inside the stream"
    first = frame(0, b"", last=False) + frame(1, b"b", last=True)
    assert refuses(first) == "an empty frame stands inside the stream"


def test_empty_frame_at_the_end() -> None:
    assert opened(frame(0, b"a", last=False) + frame(1, b"", last=True)) == b"a"


def test_short_frame_inside() -> None:
    """Where the writer cuts is its own affair."""
    assert opened(frame(0, b"a", last=False) + frame(1, b"bc", last=True)) == b"abc"


@pytest.mark.parametrize(
    "header",
    [(FRAME_SIZE + 1, 0), (FRAME_SIZE + 1, 1), (0xFFFFFFFF, 0), (0, 2), (1, 255)],
)
def test_impossible_header(header: tuple[int, int]) -> None:
    asked = []

    def source(size: int) -> bytes:
        asked.append(size)
        return file.read(size)

    file = io.BytesIO(struct.pack(">IB", *header) + bytes(100))
    message = "frame 0 of the stream has an impossible header"
    with Opener(source, KEY) as opener, pytest.raises(FramingError, match=message):
        opener.read(1)
    assert asked == [HEADER]  # nothing is allocated for a size that cannot be


@given(stream=st.binary(max_size=200))
def test_garbage(stream: bytes) -> None:
    refuses(stream)


def test_exception_leaves_the_stream_without_an_end(small: int) -> None:
    out = io.BytesIO()
    with pytest.raises(KeyError), Sealer(out.write, KEY) as sealer:
        sealer.write(bytes(20 * small))
        raise KeyError
    frames = frames_of(out.getvalue())
    assert frames
    assert not any(one[4] for one in frames)
    refuses(out.getvalue())


def test_close_twice_sends_one_end() -> None:
    out = io.BytesIO()
    with Sealer(out.write, KEY) as sealer:
        sealer.write(b"x")
        sealer.close()
        sealer.close()
    assert opened(out.getvalue()) == b"x"


def test_error_of_the_sink_comes_through(small: int) -> None:
    def broken(_: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError), Sealer(broken, KEY) as sealer:
        sealer.write(bytes(100 * small))
    with pytest.raises(BrokenPipeError), Sealer(broken, KEY) as sealer:
        sealer.write(b"x")


def test_error_of_the_source_comes_through() -> None:
    def broken(_: int) -> bytes:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError), Opener(broken, KEY) as opener:
        opener.read(1)


def test_sealer_sends_while_it_is_written() -> None:
    """At full size: what was written and is not yet sent stays within a few frames."""
    sent = 0

    def sink(data: bytes) -> None:
        nonlocal sent
        sent += len(data)

    piece = pattern(FRAME_SIZE // 2)
    with Sealer(sink, KEY) as sealer:
        for count in range(1, 81):
            sealer.write(piece)
            assert count * len(piece) - sent <= 8 * FRAME_SIZE
    assert sent == 40 * (FRAME_SIZE + HEADER + crypto.TAG_SIZE)


def test_opener_reads_only_a_little_ahead(small: int) -> None:
    file = io.BytesIO(sealed(bytes(200 * small)))
    size = HEADER + small + crypto.TAG_SIZE
    with Opener(file.read, KEY) as opener:
        for count in range(1, 201):
            assert opener.read(small)
            assert file.tell() <= (count + 8) * size


def test_constant_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 MiB through both ends, in frames of 64 KiB, within 4 MiB."""
    monkeypatch.setattr(framing, "FRAME_SIZE", 1 << 16)
    pipe = bytearray()
    pieces = iter([bytes(1 << 15)] * 1024)
    received = 0

    def source(size: int) -> bytes:
        while not pipe:
            piece = next(pieces, None)
            if piece is None:
                sealer.close()
            else:
                sealer.write(piece)
        part = bytes(pipe[:size])
        del pipe[:size]
        return part

    tracemalloc.start()
    try:
        with Sealer(pipe.extend, KEY) as sealer, Opener(source, KEY) as opener:
            while part := opener.read(10000):
                received += len(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received == 1 << 25
    assert peak < 1 << 22
