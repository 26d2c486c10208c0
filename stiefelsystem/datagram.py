"""UDP between link-local neighbours: multicast on one interface, answers to one peer."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import NamedTuple, Self

from stiefelsystem.console import StiefelError

DISCOVERY_PORT = 61570
# All nodes on the link (RFC 4291, 2.7.1): every socket gets it, on NICs that come later, too.
_ALL_NODES = "ff02::1"
# Who sends with the highest hop limit and accepts nothing else talks to its neighbours alone: a
# router would have counted it down (RFC 5082).
_HOPS = 255
_MAX_SIZE = 2048


class Peer(NamedTuple):
    """A neighbour: its link-local address, its UDP port, and the interface it is reached by."""

    address: str
    port: int
    ifindex: int

    @property
    def identity(self) -> str:
        """The same for all that comes from one neighbour, by UDP or TCP, whatever its port."""
        return f"{self.address}%{self.ifindex}"

    @property
    def interface(self) -> str:
        """The interface's name, or its number once it is gone."""
        try:
            return socket.if_indextoname(self.ifindex)
        except OSError:
            return str(self.ifindex)

    def __str__(self) -> str:
        return f"{self.address}%{self.interface}"


class LinkSocket:
    """A UDP socket for neighbours. `port` 0 takes any free one, as a client does."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        options = {
            socket.IPV6_V6ONLY: 1,
            socket.IPV6_MULTICAST_HOPS: _HOPS,
            socket.IPV6_UNICAST_HOPS: _HOPS,
            socket.IPV6_MULTICAST_LOOP: 0,
            socket.IPV6_RECVHOPLIMIT: 1,
        }
        for option, value in options.items():
            self._socket.setsockopt(socket.IPPROTO_IPV6, option, value)
        try:
            self._socket.bind(("::", port))
        except OSError as error:
            self._socket.close()
            raise StiefelError(
                f"cannot listen on UDP port {port}: {error.strerror}",
                hint=f"ss -ulpn 'sport = {port}' shows who does",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask_all(self, data: bytes, ifindex: int) -> bool:
        """Send to everyone on one link; False if that link cannot be used now."""
        return self._send(data, (_ALL_NODES, DISCOVERY_PORT, 0, ifindex))

    def send(self, data: bytes, peer: Peer) -> bool:
        """Send to one neighbour; False if it cannot be reached now."""
        return self._send(data, (peer.address, peer.port, 0, peer.ifindex))

    def receive(self, timeout: float | None) -> tuple[bytes, Peer] | None:
        """The next datagram from a neighbour, or None when `timeout` seconds have passed.

        What came from further away is dropped, and ends the wait like a timeout.
        """
        self._socket.settimeout(timeout)
        try:
            data, extra, _, sender = self._socket.recvmsg(_MAX_SIZE, socket.CMSG_SPACE(4))
        except (TimeoutError, BlockingIOError):
            return None
        hops = [
            struct.unpack("@i", value)[0]
            for level, kind, value in extra
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)
        ]
        address, port, _, ifindex = sender
        if hops != [_HOPS] or not address.startswith("fe80:"):
            return None
        return data, Peer(address.partition("%")[0], port, ifindex)

    def _send(self, data: bytes, to: tuple[str, int, int, int]) -> bool:
        try:
            self._socket.sendto(data, to)
        except OSError:
            return False  # no carrier, no address yet, gone: the caller asks again anyway
        return True
