"""Bringing up the links on which the other machine may be."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stiefelsystem.interfaces import UP, Interface, wired

_CONF = Path("/proc/sys/net/ipv6/conf")
# One line for each address: 32 hex digits, the interface's index in hex, and more.
_ADDRESSES = Path("/proc/net/if_inet6")
# linux/sockios.h: SIOCGIFFLAGS, SIOCSIFFLAGS.
_GET_FLAGS = 0x8913
_SET_FLAGS = 0x8914
# struct ifreq of linux/if.h: the name, then a union of 24 bytes, of which flags are the first two.
_IFREQ = struct.Struct("@16sH22x")


def bring_up(interface: Interface) -> None:
    """Switch an interface on, with a link-local address that can be used at once.

    Duplicate address detection would cost a second or two; the address is made from the NIC's own
    MAC, and a link of two machines has no third.
    """
    settings = {"disable_ipv6": "0", "accept_dad": "0", "addr_gen_mode": "0"}
    for name, value in settings.items():
        path = _CONF / interface.name / name
        try:
            path.write_text(value)
        except OSError:
            continue  # gone; the next round sees what is there
    with suppress(OSError):  # gone, or switched off by a key: the same
        _set_up(os.fsencode(interface.name))


def _set_up(name: bytes) -> None:
    """What `ip link set NAME up` does, without another program: netdevice(7)."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        _, flags = _IFREQ.unpack(fcntl.ioctl(any_socket, _GET_FLAGS, _IFREQ.pack(name, 0)))
        fcntl.ioctl(any_socket, _SET_FLAGS, _IFREQ.pack(name, flags | UP))


def usable() -> list[Interface]:
    """The interfaces that have a carrier; those that are down are brought up first."""
    for interface in wired():
        if not interface.up:
            bring_up(interface)
    return [interface for interface in wired() if interface.carrier]


def holders(address: str) -> list[int]:
    """The indices of the interfaces that have this address now, in order."""
    wanted = socket.inet_pton(socket.AF_INET6, address).hex()
    return sorted(index for other, index in _addresses() if other == wanted)


def _addresses() -> Iterator[tuple[str, int]]:
    for line in _ADDRESSES.read_text().splitlines():
        address, index, *_ = line.split()
        yield address, int(index, 16)
