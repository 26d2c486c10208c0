"""What the server takes for a request, and what not."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.ramdisk.http import Refusal, read_request


def read(data: bytes) -> tuple[str, bytes]:
    return read_request(io.BytesIO(data))


def refused(data: bytes) -> int:
    with pytest.raises(Refusal) as caught:
        read(data)
    return caught.value.status


@pytest.mark.parametrize(
    "head",
    [
        b"POST /session HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
        b"POST /session HTTP/1.1\r\nHost: [fe80::1]:4644\r\ncontent-length:5\r\nX: :\r\n\r\n",
        b"POST /session HTTP/1.1\nCONTENT-LENGTH:   00005  \n\n",
    ],
)
def test_request(head: bytes) -> None:
    assert read(head + b"hello") == ("/session", b"hello")
    assert read(head + b"hello, and more") == ("/session", b"hello")
    assert refused(head + b"hell") == 400


def test_empty_body() -> None:
    assert read(b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n") == ("/", b"")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"post", b"\xff"])
def test_other_methods(method: bytes) -> None:
    assert refused(method + b" / HTTP/1.1\r\nContent-Length: 0\r\n\r\n") == 501


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"POST",
        b"POST /",
        b"POST / ",
        b"POST / FTP/1.1",
        b"POST / HTTP/2",
        b"POST /a b HTTP/1.1",
    ],
)
def test_what_is_not_http(line: bytes) -> None:
    assert refused(line + b"\r\nContent-Length: 0\r\n\r\n") == 400


@pytest.mark.parametrize(
    "size",
    [
        b"",
        b"-1",
        b"+1",
        b"1_0",
        b"0x1",
        b"1.0",
        b"1 1",
        b"\xb2",
        b"131073",
        b"100000000",
        b"9" * 4000,
    ],
)
def test_impossible_sizes(size: bytes) -> None:
    assert refused(b"POST / HTTP/1.1\r\nContent-Length: " + size + b"\r\n\r\n" + bytes(10)) == 400


def test_largest_body() -> None:
    body = bytes(131072)
    head = b"POST / HTTP/1.1\r\nContent-Length: 131072\r\n\r\n"
    assert read(head + body) == ("/", body)


@pytest.mark.parametrize("fields", [b"", b"X: 5\r\n", b"Content-Length: 1\r\n" * 2])
def test_a_size_is_said_once(fields: bytes) -> None:
    assert refused(b"POST / HTTP/1.1\r\n" + fields + b"\r\nx") == 400


class Endless(io.RawIOBase):
    """A peer that says the same again and again; `taken` counts it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        if self.taken > 1 << 20:
            return 0  # enough to fail
        view = memoryview(buffer)  # type: ignore[arg-type]
        view[:] = (self._data * (len(view) // len(self._data) + 1))[: len(view)]
        self.taken += len(view)
        return len(view)


@pytest.mark.parametrize("data", [b"x", b"x\n", b"\0", b"POST / HTTP/1.1\r\n", b"X: y\r\n"])
def test_a_head_without_end_is_not_read_for_ever(data: bytes) -> None:
    peer = Endless(data)
    with pytest.raises(Refusal) as caught:
        read_request(io.BufferedReader(peer))
    assert caught.value.status == 400
    assert peer.taken <= 8192 + io.DEFAULT_BUFFER_SIZE


@given(data=st.binary(max_size=200), start=st.sampled_from([b"", b"POST / HTTP/1.1\r\n"]))
def test_garbage(data: bytes, start: bytes) -> None:
    try:
        _, body = read(start + data)
    except Refusal:
        return
    assert b"content-length" in data.lower()
    assert body in data
