"""A laptop and its clients on one link, in a network of the test's own."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk import farewell
from stiefelsystem.ramdisk.exchange import Secrets
from stiefelsystem.ramdisk.session import Asked
from tests import namespaces

SERVER, CLIENT, STRANGER = "fe80::1", "fe80::2", "fe80::3"
SECRETS = Secrets(b"a" * 32, b"p" * 32, b"e" * 32, b"d" * 32)


def settings(disk: Path, part: Path) -> ServerSettings:
    """What a laptop serves; without a tunnel, which few machines that run tests can make."""
    return ServerSettings(
        disk=disk, part=part, kernel="k-*", initrd="i-*", cmdline="ro", encryption="none"
    )


def plugged_in() -> Asked:
    """The link, with all that are on it; returns what the client asks for."""
    index = namespaces.link("cable", SERVER, CLIENT, STRANGER)
    return Asked(Peer(CLIENT, 40000, index), SECRETS, None)


def held() -> tuple[int, int]:
    """How many threads and open files this process has."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def connected(asked: Asked, address: str = CLIENT) -> socket.socket:
    """A connection to the NBD server from a machine at `address`."""
    connection = socket.socket(socket.AF_INET6)
    connection.settimeout(20)
    connection.bind((address, 0, 0, asked.peer.ifindex))
    try:
        connection.connect((SERVER, 10809, 0, asked.peer.ifindex))
    except OSError:
        connection.close()
        raise
    return connection


def export_size(asked: Asked, name: str, address: str = CLIENT) -> int | None:
    """The size of the export that a machine at `address` gets by this name; None if it gets none.

    The NBD protocol's fixed newstyle negotiation, and NBD_OPT_GO.
    """
    with connected(asked, address) as connection, connection.makefile("rb") as file:
        if file.read(18)[:16] != b"NBDMAGICIHAVEOPT":
            return None
        data = struct.pack(">I", len(name)) + name.encode() + struct.pack(">H", 0)
        connection.sendall(struct.pack(">I8sII", 1, b"IHAVEOPT", 7, len(data)) + data)
        _, _, reply, length = struct.unpack(">QIII", file.read(20))
        data = file.read(length)
        return struct.unpack_from(">HQ", data)[1] if reply == 3 else None


def keeper(asked: Asked) -> socket.socket:
    """Where the client's keeper says its farewell."""
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    one.settimeout(20)
    one.bind((CLIENT, 0, 0, asked.peer.ifindex))
    one.connect((SERVER, farewell.PORT, 0, asked.peer.ifindex))
    return one


def say_farewell(asked: Asked, secret: bytes) -> bytes:
    """What comes back."""
    with keeper(asked) as one:
        one.send(secret)
        return one.recv(100)
