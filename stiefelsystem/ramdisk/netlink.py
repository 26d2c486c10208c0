"""The kernel's netlink, as far as a tunnel needs it: the ramdisk has neither `ip` nor `wg`.

Formats: linux/netlink.h, linux/rtnetlink.h, linux/genetlink.h; netlink(7), rtnetlink(7). Numbers
are in the machine's own byte order, everything is padded to 4 bytes.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from stiefelsystem.console import StiefelError

ROUTE, GENERIC = 0, 16
_REQUEST, _ACK = 0x001, 0x004
CREATE, EXCL, REPLACE = 0x400, 0x200, 0x100
_NESTED = 0x8000
_ERROR, _DONE = 2, 3
# Of the answers that are asked for here, none is longer.
_MAX_ANSWER = 1 << 16
_SECONDS = 10.0

_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_GENERIC = struct.Struct("=BBH")  # command, version
# The controller of generic netlink: linux/genetlink.h.
_CONTROLLER, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data`, with their types."""
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= size <= len(data):
            raise StiefelError("the kernel's answer is malformed")
        yield kind & ~_NESTED, data[_ATTRIBUTE.size : size]
        data = data[size + -size % 4 :]


def request(protocol: int, kind: int, body: bytes, *, flags: int = 0) -> bytes:
    """Ask the kernel, and return the body of its answer, empty if it only agrees.

    Raises `OSError` with the kernel's reason where it refuses.
    """
    message = _MESSAGE.pack(_MESSAGE.size + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body
    answer = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.sendto(message, (0, 0))
        while True:
            data = kernel.recv(_MAX_ANSWER)
            while data:
                size, kind, _, _, _ = _MESSAGE.unpack_from(data)
                content, data = data[_MESSAGE.size : size], data[size + -size % 4 :]
                if kind == _DONE:
                    continue
                if kind != _ERROR:
                    answer = content
                    continue
                (code,) = struct.unpack_from("=i", content)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return answer


def generic(family: str, command: int, body: bytes) -> bytes:
    """A request to a family of generic netlink, such as `wireguard`; returns the attributes."""
    name = attribute(_FAMILY_NAME, family.encode() + b"\0")
    found = request(GENERIC, _CONTROLLER, _GENERIC.pack(_GET_FAMILY, 1, 0) + name)
    ids = [value for kind, value in attributes(found[_GENERIC.size :]) if kind == _FAMILY_ID]
    (number,) = struct.unpack("=H", ids[0])
    return request(GENERIC, number, _GENERIC.pack(command, 1, 0) + body)[_GENERIC.size :]
