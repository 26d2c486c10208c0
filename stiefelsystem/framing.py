"""A byte stream as a chain of sealed frames, written and read like a file.

Each frame is a header and a sealed body:

    length    u32, big endian: the size of the plaintext, at most FRAME_SIZE
    last      u8: 1 in the last frame, else 0
    body      the ciphertext, `length` bytes
    tag       16 bytes, AES-EAX over place, header and body

The nonce is the frame's place in the stream (u64, big endian), and a key serves one stream only.
So a frame that is changed, cut, left out, repeated, moved, or taken from another session does not
verify, and a stream without its last frame is not complete. Nothing is released before the frame
that it stands in has verified.

Frames are sealed and opened by a few threads, ahead of who reads or writes (AES runs outside of
Python's lock), in constant memory.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from stiefelsystem import crypto
from stiefelsystem.console import StiefelError

FRAME_SIZE = 1 << 20
_HEADER = struct.Struct(">IB")
_PLACE = struct.Struct(">Q")
_THREADS = min(4, os.cpu_count() or 1)
# Frames under way: enough to keep the threads busy while one is sent or received.
_AHEAD = _THREADS + 1


class FramingError(StiefelError):
    """The stream is not what the peer sent: changed, cut, or made with another key."""


def _seal(key: bytes, place: int, plain: bytes, last: bool) -> bytes:
    header = _HEADER.pack(len(plain), last)
    return header + crypto.seal(key, _PLACE.pack(place), header, plain)


def _unseal(key: bytes, place: int, header: bytes, sealed: bytes) -> bytes:
    try:
        return crypto.unseal(key, _PLACE.pack(place), header, sealed)
    except ValueError as error:
        raise FramingError(f"frame {place} of the stream was altered") from error


class Sealer:
    """The writing end: a file-like object that sends frames through `sink`.

    Only `close()`, or leaving the `with` block without an exception, sends the last frame.
    """

    def __init__(self, sink: Callable[[bytes], object], key: bytes) -> None:
        self._sink = sink
        self._key = key
        self._place = 0
        self._buffer = bytearray()
        self._under_way: deque[Future[bytes]] = deque()
        self._closed = False
        self._pool = ThreadPoolExecutor(_THREADS)

    @property
    def untouched(self) -> bool:
        """Whether nothing has been written yet."""
        return not self._place and not self._buffer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, data: bytes) -> int:
        """Take any amount of data; it is sent when a frame is full."""
        self._buffer += data
        # A full buffer waits for more data, since it may be the last frame.
        while len(self._buffer) > FRAME_SIZE:
            self._submit(last=False)
        return len(data)

    def close(self) -> None:
        """Send what is left, marked as the end of the stream; once is enough."""
        if self._closed:
            return
        self._closed = True
        self._submit(last=True)
        while self._under_way:
            self._sink(self._under_way.popleft().result())
        self._pool.shutdown()

    def _submit(self, *, last: bool) -> None:
        plain = bytes(self._buffer[:FRAME_SIZE])
        del self._buffer[:FRAME_SIZE]
        self._under_way.append(self._pool.submit(_seal, self._key, self._place, plain, last))
        self._place += 1
        if len(self._under_way) > _AHEAD:
            self._sink(self._under_way.popleft().result())


class Opener:
    """The reading end: a file-like object that takes frames from `source`.

    `source(n)` returns up to n bytes, and none at the end. `read` and `finish` raise
    `FramingError` for whatever is wrong with the stream.
    """

    def __init__(self, source: Callable[[int], bytes], key: bytes) -> None:
        self._source = source
        self._key = key
        self._place = 0
        self._plain = b""
        self._at = 0
        self._last_seen = False
        self._under_way: deque[Future[bytes]] = deque()
        self._pool = ThreadPoolExecutor(_THREADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of verified plaintext; none only at the verified end."""
        parts = []
        while size > 0 and (self._at < len(self._plain) or self._next()):
            part = self._plain[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Read to the end of the stream, so that all of it is known to be whole."""
        while self.read(FRAME_SIZE):
            pass
        if self._source(1):
            raise FramingError("there is something behind the end of the stream")

    def _next(self) -> bool:
        """Open the next frame; False behind the last one. An empty frame may only be the last."""
        while not self._last_seen and len(self._under_way) <= _AHEAD:
            self._receive()
        if not self._under_way:
            return False
        plain = self._under_way[0].result()
        if not plain and (len(self._under_way) > 1 or not self._last_seen):
            raise FramingError("an empty frame stands inside the stream")
        # Only a good frame is taken off: behind a bad one there is no further frame, and no end.
        self._under_way.popleft()
        self._plain, self._at = plain, 0
        return bool(plain)

    def _receive(self) -> None:
        header = self._exactly(_HEADER.size)
        length, last = _HEADER.unpack(header)
        if length > FRAME_SIZE or last > 1:
            raise FramingError(f"frame {self._place} of the stream has an impossible header")
        sealed = self._exactly(length + crypto.TAG_SIZE)
        self._last_seen = bool(last)
        future = self._pool.submit(_unseal, self._key, self._place, header, sealed)
        self._under_way.append(future)
        self._place += 1

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._source(size)
            if not part:
                raise FramingError("the stream ended before its last frame")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
