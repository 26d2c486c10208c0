"""The kernel's netlink, as far as a tunnel needs it: the ramdisk has neither `ip` nor `wg`.

Formats: linux/netlink.h, linux/rtnetlink.h, linux/genetlink.h; netlink(7), rtnetlink(7). Numbers
are in the machine's own byte order, everything is padded to 4 bytes.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator

from stiefelsystem.console import StiefelError

ROUTE, GENERIC = 0, 16
_REQUEST, _ACK = 0x001, 0x004
CREATE, EXCL, REPLACE = 0x400, 0x200, 0x100
DUMP = 0x300
_NESTED = 0x8000
_ERROR, _DONE = 2, 3
# Of the answers that are asked for here, none is longer.
_MAX_ANSWER = 1 << 16
_SECONDS = 10.0

_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_CODE = struct.Struct("=i")  # what an answer of type error or done begins with
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
    for kind, value in _parts(data, _ATTRIBUTE):
        yield kind & ~_NESTED, value


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages in `data`, which the kernel sent at once: their types, and what they hold."""
    yield from _parts(data, _MESSAGE)


def request(protocol: int, kind: int, body: bytes, *, flags: int = 0) -> bytes:
    """Ask the kernel, and return the body of its first answer, empty if it only agrees.

    Raises `OSError` with the kernel's reason where it refuses, or says nothing for 10 s.
    """
    message = _MESSAGE.pack(_MESSAGE.size + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body
    answer = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.connect((0, 0))  # no other process can answer in its place
        kernel.send(message)
        while True:
            for kind_of_answer, content in messages(kernel.recv(_MAX_ANSWER)):
                if kind_of_answer in (_ERROR, _DONE):
                    _agreed(content)
                    return answer
                answer = answer or content


def generic(family: str, command: int, body: bytes, *, flags: int = 0) -> bytes:
    """A request to a family of generic netlink, such as `wireguard`; returns the attributes."""
    name = attribute(_FAMILY_NAME, family.encode() + b"\0")
    found = request(GENERIC, _CONTROLLER, _GENERIC.pack(_GET_FAMILY, 1, 0) + name)
    number = dict(attributes(found[_GENERIC.size :])).get(_FAMILY_ID, b"")
    if len(number) != 2:
        raise StiefelError(f"the kernel's answer does not say where {family} is")
    kind = int.from_bytes(number, sys.byteorder)
    answer = request(GENERIC, kind, _GENERIC.pack(command, 1, 0) + body, flags=flags)
    return answer[_GENERIC.size :]


def _agreed(content: bytes) -> None:
    if len(content) < _CODE.size:
        raise StiefelError("the kernel's answer is malformed")
    (code,) = _CODE.unpack_from(content)
    if code:
        raise OSError(-code, os.strerror(-code))


def _parts(data: bytes, header: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """What stands one behind the other in `data`, each with a header of length, type, and more."""
    while data:
        size, kind, *_ = header.unpack_from(data) if len(data) >= header.size else (0, 0)
        if not header.size <= size <= len(data):
            raise StiefelError("the kernel's answer is malformed")
        yield kind, data[header.size : size]
        data = data[size + -size % 4 :]
