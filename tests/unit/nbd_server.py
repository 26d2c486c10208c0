#!/usr/bin/env python3
"""Stands in for nbd-server, whose options differ between versions: `nbd-server -n -C FILE`.

What it does is the same, as far as it goes: it reads its own configuration, listens, refuses who is
not in the authfile, negotiates, and has a process for each connection, which ends with SIGTERM.
"""

from __future__ import annotations

import configparser
import os
import signal
import socket
import struct
import sys
from pathlib import Path

_GO, _ACK, _INFO, _UNKNOWN = 7, 1, 3, (1 << 31) + 6


def main() -> None:
    assert sys.argv[1:3] == ["-n", "-C"]
    config = configparser.ConfigParser(interpolation=None)
    config.read(sys.argv[3])
    address, _, interface = config["generic"]["listenaddr"].partition("%")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        where = (address, int(config["generic"]["port"]), 0, socket.if_nametoindex(interface))
        listening.bind(where)
        listening.listen()
        while True:
            connection, peer = listening.accept()
            with connection:
                if os.fork() == 0:
                    _serve(connection, peer[0], config)
                    os._exit(0)


def _serve(connection: socket.socket, peer: str, config: configparser.ConfigParser) -> None:
    """One connection: as many options as the client likes, and then silence."""
    file = connection.makefile("rb")
    (section,) = (one for one in config.sections() if one != "generic")
    allowed = Path(config[section]["authfile"]).read_text().split()
    if peer not in [one.partition("%")[0] for one in allowed]:
        return
    connection.sendall(b"NBDMAGICIHAVEOPT\0\1")
    file.read(4)
    while head := file.read(16):
        _, option, length = struct.unpack(">8sII", head)
        data = file.read(length)
        (size,) = struct.unpack_from(">I", data)
        known = option == _GO and data[4 : 4 + size].decode() == section
        disk = Path(config[section]["exportname"])
        if known:
            info = struct.pack(">HQH", 0, disk.stat().st_size, 1)
            connection.sendall(_reply(option, _INFO, info) + _reply(option, _ACK, b""))
        else:
            connection.sendall(_reply(option, _UNKNOWN, b""))


def _reply(option: int, kind: int, data: bytes) -> bytes:
    return struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data


if __name__ == "__main__":
    main()
