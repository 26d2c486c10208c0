"""WireGuard between laptop and desktop: in the kernel, with fresh keys for each session.

The numbers of its netlink: linux/wireguard.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import NamedTuple, Self

from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk import netlink
from stiefelsystem.ramdisk.netlink import attribute, nested

NAME = "stiefeltun"
_KIND = b"wireguard"
PORT = 51820
# Inside, as on any link. What listens on a link-local address is bound to its interface, so that
# nothing that arrives on another one reaches it.
SERVER, CLIENT = "fe80::1", "fe80::2"
KEY_SIZE = 32
# Often enough that a peer which moved to another NIC is found again soon.
_KEEPALIVE_SECONDS = 5
# A frame of Ethernet, less what WireGuard and IPv6 put around a packet.
_MTU = 1420

_GET_DEVICE, _SET_DEVICE = 0, 1
_IFNAME, _PRIVATE_KEY, _PUBLIC_KEY, _FLAGS, _LISTEN_PORT, _PEERS = 2, 3, 4, 5, 6, 8
_REPLACE_PEERS = 1
_PEER_KEY, _PEER_PRESHARED, _PEER_ENDPOINT, _PEER_KEEPALIVE, _PEER_ALLOWED = 1, 2, 4, 5, 9
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_BITS = 1, 2, 3

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NEW_LINK, _DELETE_LINK, _NEW_ADDRESS = 16, 17, 20
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_LINK_NAME, _LINK_MTU, _LINK_INFO, _INFO_KIND = 3, 4, 18, 1
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_ADDRESS_ADDRESS = 1
_NO_DAD, _LINK_SCOPE = 0x02, 253
_UP = 1


class Far(NamedTuple):
    """The other end: its public key, the key that both know, and where it is on the link."""

    public: bytes
    preshared: bytes
    peer: Peer


class Tunnel:
    """This machine's end of a tunnel, with a new key pair, or that of `private`; gone after the
    `with` block.

    Raises `StiefelError` where the kernel does not make it.
    """

    def __init__(self, private: bytes = b"") -> None:
        self.private = private or os.urandom(KEY_SIZE)
        self._remove()  # a former program's
        with _saying("make the tunnel"):
            self._add()
            try:
                self.ifindex = socket.if_nametoindex(NAME)
                self._set(attribute(_PRIVATE_KEY, self.private))
                self.public = self._public_key()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._remove()

    def connect(self, far: Far, *, own: str, other: str) -> None:
        """Admit the other end, with the addresses that both have inside."""
        body = _ADDRESS.pack(socket.AF_INET6, 64, _NO_DAD, _LINK_SCOPE, self.ifindex)
        body += attribute(_ADDRESS_ADDRESS, socket.inet_pton(socket.AF_INET6, own))
        up = _LINK.pack(0, 0, self.ifindex, _UP, _UP)
        up += attribute(_LINK_MTU, struct.pack("=I", _MTU))
        with _saying(f"connect the tunnel to {far.peer}"):
            self._set(_admission(far, other))
            netlink.request(netlink.ROUTE, _NEW_LINK, up)
            flags = netlink.CREATE | netlink.REPLACE
            netlink.request(netlink.ROUTE, _NEW_ADDRESS, body, flags=flags)

    @staticmethod
    def _add() -> None:
        body = _LINK.pack(0, 0, 0, 0, 0) + _string(_LINK_NAME, NAME)
        body += nested(_LINK_INFO, attribute(_INFO_KIND, _KIND))
        try:
            netlink.request(netlink.ROUTE, _NEW_LINK, body, flags=netlink.CREATE | netlink.EXCL)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise StiefelError(
                "this machine's kernel has no WireGuard",
                hint="`link: encryption: none` does without, on a cable that you trust",
            ) from error

    def _public_key(self) -> bytes:
        # This one tells about a device only where it is asked for all that match.
        answer = netlink.generic(
            "wireguard", _GET_DEVICE, _string(_IFNAME, NAME), flags=netlink.DUMP
        )
        public = dict(netlink.attributes(answer)).get(_PUBLIC_KEY, b"")
        if len(public) != KEY_SIZE:
            raise StiefelError("the kernel does not tell the tunnel's public key")
        return public

    @staticmethod
    def _set(attributes: bytes) -> None:
        netlink.generic("wireguard", _SET_DEVICE, _string(_IFNAME, NAME) + attributes)

    @staticmethod
    def _remove() -> None:
        with suppress(OSError):
            body = _LINK.pack(0, 0, 0, 0, 0) + _string(_LINK_NAME, NAME)
            netlink.request(netlink.ROUTE, _DELETE_LINK, body)


def new_keys() -> tuple[bytes, bytes]:
    """A private and a public key for the end of a tunnel that is made later, by another program."""
    with Tunnel() as one:
        return one.private, one.public


@contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StiefelError(f"cannot {what}: {error.strerror or error}") from error


def _admission(far: Far, other: str) -> bytes:
    """Attributes that make `far` the one peer, with the one address `other` inside."""
    allowed = nested(
        0,
        attribute(_ALLOWED_FAMILY, struct.pack("=H", socket.AF_INET6)),
        attribute(_ALLOWED_ADDRESS, socket.inet_pton(socket.AF_INET6, other)),
        attribute(_ALLOWED_BITS, bytes([128])),
    )
    peer = nested(
        0,
        attribute(_PEER_KEY, far.public),
        attribute(_PEER_PRESHARED, far.preshared),
        attribute(_PEER_ENDPOINT, _endpoint(far.peer)),
        attribute(_PEER_KEEPALIVE, struct.pack("=H", _KEEPALIVE_SECONDS)),
        nested(_PEER_ALLOWED, allowed),
    )
    return (
        attribute(_FLAGS, struct.pack("=I", _REPLACE_PEERS))
        + attribute(_LISTEN_PORT, struct.pack("=H", PORT))
        + nested(_PEERS, peer)
    )


def _string(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _endpoint(peer: Peer) -> bytes:
    """A struct sockaddr_in6."""
    address = socket.inet_pton(socket.AF_INET6, peer.address)
    family = struct.pack("=H", socket.AF_INET6)
    return family + struct.pack(">HI", PORT, 0) + address + struct.pack("=I", peer.ifindex)
