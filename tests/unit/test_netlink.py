"""Netlink: what is packed and read, and real answers of this machine's kernel."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk import netlink

# linux/rtnetlink.h, linux/if_link.h, linux/genetlink.h
GET_LINK, IFNAME = 18, 3
GET_FAMILY, FAMILY_ID, FAMILY_NAME, CONTROLLER = 3, 1, 2, 16


def link_message(index: int) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, 0, 0)


def test_attribute() -> None:
    """Its length is without its padding."""
    assert netlink.attribute(7, b"") == struct.pack("=HH", 4, 7)
    assert netlink.attribute(7, b"abcd") == struct.pack("=HH", 8, 7) + b"abcd"
    assert netlink.attribute(7, b"abcde") == struct.pack("=HH", 9, 7) + b"abcde\0\0\0"


def test_nested() -> None:
    inner = struct.pack("=HH", 5, 1) + b"a\0\0\0"
    outer = struct.pack("=HH", 4 + 2 * len(inner), 0x8000 | 9) + inner + inner
    one = netlink.attribute(1, b"a")
    assert netlink.nested(9, one, one) == outer
    ((kind, value),) = netlink.attributes(outer)
    assert kind == 9
    assert list(netlink.attributes(value)) == [(1, b"a")] * 2


@given(pairs=st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=50))))
def test_attributes_are_read_back(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(*pair) for pair in pairs)
    assert list(netlink.attributes(data)) == pairs


MALFORMED = [
    b"\0",
    bytes(4),  # a length of zero would be read for ever
    struct.pack("=HH", 3, 1),
    struct.pack("=HH", 5, 1),
    struct.pack("=HH", 0xFFFF, 1) + bytes(100),
    struct.pack("=HH", 4, 1) + b"\0\0\0",
    struct.pack("=HH", 4, 1) + bytes(4),
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_attributes(data: bytes) -> None:
    with pytest.raises(StiefelError, match="the kernel's answer is malformed"):
        list(netlink.attributes(data))


@pytest.mark.parametrize("size", [0, 1, 15, 17, 0xFFFFFFFF])
def test_malformed_messages(size: int) -> None:
    with pytest.raises(StiefelError, match="the kernel's answer is malformed"):
        list(netlink.messages(struct.pack("=IHHII", size, 16, 0, 1, 0)))


@given(data=st.binary(max_size=64))
def test_garbage(data: bytes) -> None:
    for read in (netlink.attributes, netlink.messages):
        try:
            found = list(read(data))
        except StiefelError:
            continue
        assert sum(len(value) for _, value in found) <= len(data)


# The kernel itself.


def test_a_link() -> None:
    lo = socket.if_nametoindex("lo")
    answer = netlink.request(netlink.ROUTE, GET_LINK, link_message(lo))
    assert struct.unpack_from("=BxHi", answer)[2] == lo
    assert dict(netlink.attributes(answer[16:]))[IFNAME] == b"lo\0"


def test_a_dump_ends() -> None:
    """It has no other confirmation than its end."""
    answer = netlink.request(netlink.ROUTE, GET_LINK, link_message(0), flags=netlink.DUMP)
    name = dict(netlink.attributes(answer[16:]))[IFNAME].rstrip(b"\0").decode()
    assert name in [name for _, name in socket.if_nameindex()]


def test_a_refusal() -> None:
    with pytest.raises(OSError) as caught:
        netlink.request(netlink.ROUTE, GET_LINK, link_message(2**30))
    assert caught.value.errno == errno.ENODEV
    assert caught.value.strerror == os.strerror(errno.ENODEV)


def test_a_family() -> None:
    name = netlink.attribute(FAMILY_NAME, b"nlctrl\0")
    for flags in (0, netlink.DUMP):
        answer = netlink.generic("nlctrl", GET_FAMILY, name, flags=flags)
        found = dict(netlink.attributes(answer))
        assert FAMILY_NAME in found
        if not flags:
            assert struct.unpack("=H", found[FAMILY_ID]) == (CONTROLLER,)


def test_a_family_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        netlink.generic("no-such-family", 0, b"")


def test_nothing_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    test_a_refusal()
    test_a_dump_ends()
    assert os.listdir("/proc/self/fd") == before


# A kernel that does as it should not.


class Kernel:
    """What a request sees of a kernel: its datagrams, one after the other."""

    def __init__(self, *datagrams: bytes) -> None:
        self._datagrams = [*datagrams]
        self.sent = b""

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        assert seconds == 10

    def connect(self, address: tuple[int, int]) -> None:
        assert address == (0, 0)

    def send(self, data: bytes) -> None:
        self.sent = data

    def recv(self, size: int) -> bytes:
        if not self._datagrams:
            raise TimeoutError("timed out")
        return self._datagrams.pop(0)[:size]


def message(kind: int, content: bytes) -> bytes:
    padded = content + bytes(-len(content) % 4)
    return struct.pack("=IHHII", 16 + len(content), kind, 0, 1, 0) + padded


def code(number: int) -> bytes:
    return struct.pack("=i", number)


def ask(monkeypatch: pytest.MonkeyPatch, *datagrams: bytes) -> bytes:
    monkeypatch.setattr(socket, "socket", lambda *_: Kernel(*datagrams))
    return netlink.request(netlink.ROUTE, 20, b"")


@pytest.mark.parametrize("kind", [2, 3])
def test_the_first_answer_counts(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    end = message(kind, code(0))
    assert ask(monkeypatch, message(20, b"one") + message(20, b"two") + end) == b"one"
    assert ask(monkeypatch, message(20, b"one"), message(20, b"two"), end) == b"one"
    assert ask(monkeypatch, end) == b""


@pytest.mark.parametrize("kind", [2, 3])
def test_a_reason_at_the_end(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    with pytest.raises(PermissionError):
        ask(monkeypatch, message(20, b"one") + message(kind, code(-errno.EPERM)))


@pytest.mark.parametrize(
    "data", [b"\0", bytes(16), message(2, b""), message(3, b"\0\0"), message(20, b"x") + b"\0"]
)
def test_malformed_answers(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    with pytest.raises(StiefelError, match="malformed"):
        ask(monkeypatch, data)


def test_a_silent_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimeoutError):
        ask(monkeypatch, message(20, b"one"))


def test_a_family_without_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = message(16, bytes(4) + netlink.attribute(FAMILY_ID, b"x")) + message(2, code(0))
    monkeypatch.setattr(socket, "socket", lambda *_: Kernel(answers))
    with pytest.raises(StiefelError, match="does not say where wireguard is"):
        netlink.generic("wireguard", 0, b"")
