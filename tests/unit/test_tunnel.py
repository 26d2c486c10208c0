"""The tunnel: its messages to the byte, its links in a real kernel, and a kernel without it.

Where the kernel has WireGuard, a real one, too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk import netlink, tunnel
from stiefelsystem.ramdisk.tunnel import Far, Tunnel
from tests import capabilities
from tests.namespaces import in_own_network

FAR = Far(b"P" * 32, b"S" * 32, Peer("fe80::1234:5678", 40000, 7))
PUBLIC = b"Q" * 32
GET_DEVICE, SET_DEVICE = 0, 1
SIOCGIFMTU = 0x8921


def from_hex(text: str) -> bytes:
    """Bytes as they are on a machine that has the small end first."""
    capabilities.require(sys.byteorder == "little", "written down for the other byte order")
    return bytes.fromhex(text)


# linux/wireguard.h, by hand: length and type of each attribute, its value, its padding.
ADMISSION = f"""
    0800 0500  01000000                         flags: replace peers
    0600 0600  6cca 0000                        listen port 51820
    a400 0880                                   peers
      a000 0080                                   the first
        2400 0100  {"50" * 32}                      public key
        2400 0200  {"53" * 32}                      preshared key
        2000 0400                                   endpoint, a sockaddr_in6
          0a00 ca6c 00000000                          AF_INET6, port 51820, no flow
          fe80000000000000 0000000012345678           fe80::1234:5678
          07000000                                    interface 7
        0600 0500  0500 0000                        keepalive, 5 s
        2c00 0980                                   allowed
          2800 0080                                   the first
            0600 0100  0a00 0000                        AF_INET6
            1400 0200  fe80000000000000 0000000000000002
            0500 0300  80 000000                        128 bits
"""


def without_words(text: str) -> str:
    """The hex digits, without what stands behind three blanks, as a comment."""
    return "".join(line.strip().split("   ")[0] for line in text.splitlines())


def test_what_admits_the_other_end() -> None:
    assert tunnel._admission(FAR, "fe80::2") == from_hex(without_words(ADMISSION))


# With the real kernel's links; a bridge, since only some kernels have WireGuard.


class WireGuard:
    """Takes the requests that are for WireGuard, and fails at the one that is numbered so."""

    def __init__(self, fails_at: int = 0) -> None:
        self.asked: list[tuple[int, bytes, int]] = []
        self._fails_at = fails_at

    def __call__(self, family: str, command: int, body: bytes, *, flags: int = 0) -> bytes:
        assert family == "wireguard"
        self.asked.append((command, body, flags))
        if len(self.asked) == self._fails_at:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if command == GET_DEVICE:
            return netlink.attribute(2, b"stiefeltun\0") + netlink.attribute(4, PUBLIC)
        return b""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., WireGuard]:
    def start(fails_at: int = 0) -> WireGuard:
        wireguard = WireGuard(fails_at)
        monkeypatch.setattr(tunnel, "_KIND", b"bridge")
        monkeypatch.setattr(netlink, "generic", wireguard)
        return wireguard

    return start


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def mtu(name: str) -> int:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sI20x", name.encode(), 0)
        return int(struct.unpack("16sI20x", fcntl.ioctl(any_socket, SIOCGIFMTU, request))[1])


def addresses() -> set[tuple[str, str, str, str]]:
    """Address, prefix, scope and flags of the tunnel's (Linux, Documentation: if_inet6)."""
    lines = map(str.split, Path("/proc/self/net/if_inet6").read_text().splitlines())
    return {
        (socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address)), prefix, scope, flags)
        for address, _, prefix, scope, flags, name in lines
        if name == "stiefeltun"
    }


@in_own_network
def test_a_tunnel_and_its_end(pretend: Callable[..., WireGuard]) -> None:
    wireguard = pretend()
    with Tunnel() as made:
        assert "stiefeltun" in links()
        assert made.ifindex == socket.if_nametoindex("stiefeltun")
        assert made.public == PUBLIC
        assert len(made.private) == 32
        made.connect(FAR, own="fe80::1", other="fe80::2")
        assert mtu("stiefeltun") == 1420
        # Permanent (0x80), without (0x02) the search for another one that has it.
        assert ("fe80::1", "40", "20", "82") in addresses()
    assert "stiefeltun" not in links()
    name = struct.pack("=HH", 15, 2) + b"stiefeltun\0\0"
    set_key = name + struct.pack("=HH", 36, 3) + made.private
    assert wireguard.asked == [
        (SET_DEVICE, set_key, 0),
        (GET_DEVICE, name, netlink.DUMP),
        (SET_DEVICE, name + tunnel._admission(FAR, "fe80::2"), 0),
    ]


@in_own_network
def test_keys_are_new_each_time(pretend: Callable[..., WireGuard]) -> None:
    pretend()
    keys = {tunnel.new_keys() for _ in range(4)}
    assert len({private for private, _ in keys}) == 4
    assert "stiefeltun" not in links()


@in_own_network
def test_a_key_of_before(pretend: Callable[..., WireGuard]) -> None:
    wireguard = pretend()
    with Tunnel(b"k" * 32) as made:
        assert made.private == b"k" * 32
    assert wireguard.asked[0][1].endswith(struct.pack("=HH", 36, 3) + b"k" * 32)


@in_own_network
def test_a_former_programs_tunnel_is_replaced(pretend: Callable[..., WireGuard]) -> None:
    pretend()
    former = Tunnel().ifindex
    with Tunnel() as made:
        assert made.ifindex != former


@pytest.mark.parametrize("step", [1, 2, 3])
@in_own_network
def test_nothing_is_left_of_one_that_fails(pretend: Callable[..., WireGuard], step: int) -> None:
    wireguard = pretend(step)
    with pytest.raises(StiefelError) as caught, Tunnel() as made:
        made.connect(FAR, own="fe80::1", other="fe80::2")
    what = "make the tunnel" if step < 3 else f"connect the tunnel to {FAR.peer}"
    assert str(caught.value) == f"cannot {what}: Invalid argument"
    assert len(wireguard.asked) == step
    assert "stiefeltun" not in links()


@in_own_network
def test_a_kernel_that_does_not_tell_the_public_key(
    pretend: Callable[..., WireGuard], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend()
    monkeypatch.setattr(netlink, "generic", lambda *_, **__: netlink.attribute(4, b"short"))
    with pytest.raises(StiefelError, match="does not tell the tunnel's public key"):
        Tunnel()
    assert "stiefeltun" not in links()


def test_who_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> bytes:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(netlink, "request", refuse)
    with pytest.raises(StiefelError, match="cannot make the tunnel: Operation not permitted"):
        tunnel.new_keys()


# With the kernel as it is.


def has_wireguard() -> bool:
    try:
        tunnel.new_keys()
    except StiefelError as error:
        assert str(error) == "this machine's kernel has no WireGuard"
        assert "encryption: none" in error.hint
        return False
    return True


@in_own_network
def test_a_kernel_without_wireguard() -> None:
    before = links()
    if not has_wireguard():
        assert links() == before


@in_own_network
def test_a_kernel_with_wireguard() -> None:
    if not has_wireguard():
        return  # the test above is for it
    with Tunnel() as made:
        made.connect(FAR, own="fe80::1", other="fe80::2")
        assert mtu("stiefeltun") == 1420
        assert {address for address, *_ in addresses()} == {"fe80::1"}
        taken = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with taken, pytest.raises(OSError, match="in use"):
            taken.bind(("::", tunnel.PORT))
    assert "stiefeltun" not in links()
