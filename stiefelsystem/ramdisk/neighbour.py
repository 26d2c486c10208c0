"""Where the desktop is on the link, for good: its OS may have a firewall that answers nobody.

Without a connection to know it by, such a one drops the questions for an address' MAC, too
(docs/network.md). rtnetlink(7); linux/neighbour.h.
"""

from __future__ import annotations

import socket
import struct

from stiefelsystem.console import say
from stiefelsystem.ramdisk import netlink
from stiefelsystem.ramdisk.netlink import attribute

_NEW_NEIGHBOUR = 28
_NEIGHBOUR = struct.Struct("=B3xiHBB")  # family, index, state, flags, type
_PERMANENT = 0x80
_DESTINATION, _LINK_ADDRESS = 1, 2


def pin(address: str, ifindex: int) -> None:
    """Tell the kernel the MAC of a link-local address, and that this stays so.

    Does nothing for an address that was not made of a MAC, as the ramdisk's own is; says why where
    the kernel refuses.
    """
    packed = socket.inet_pton(socket.AF_INET6, address)
    mac = _mac(packed[8:])
    if mac is None:
        return
    body = _NEIGHBOUR.pack(socket.AF_INET6, ifindex, _PERMANENT, 0, 0)
    body += attribute(_DESTINATION, packed) + attribute(_LINK_ADDRESS, mac)
    try:
        netlink.request(netlink.ROUTE, _NEW_NEIGHBOUR, body, flags=netlink.CREATE | netlink.REPLACE)
    except OSError as error:
        say(f"cannot add {address} as a permanent neighbour: {error.strerror or error}")


def _mac(identifier: bytes) -> bytes | None:
    """RFC 4291, appendix A: ff:fe in the middle, and the first byte's second bit inverted."""
    first = identifier[0] ^ 2
    if identifier[3:5] != b"\xff\xfe" or first & 1:
        return None
    return bytes([first]) + identifier[1:3] + identifier[5:]
