"""A client of the disk that has it, by a real NBD connection: `holding.py SESSION SECONDS`.

SESSION is the keeper's file. It opens the export, reads a block now and then for so many seconds,
and is silent after that. Says when it has lost the connection, and whether it gets another one.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path

_GO, _ACK = 7, 1
_READ_SECONDS = 0.2
_BLOCK = 4096


def main() -> None:
    session = dict(line.split("=") for line in Path(sys.argv[1]).read_text().splitlines())
    silent_at = time.monotonic() + float(sys.argv[2])
    connection = _opened(session)
    print("has the disk", flush=True)
    try:
        while time.monotonic() < silent_at:
            _read(connection)
            time.sleep(_READ_SECONDS)
        print("is silent", flush=True)
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass
    print("has lost the disk", flush=True)
    try:
        _opened(session)
        print("has it again", flush=True)
    except OSError as error:
        print(f"does not get it again: {error}", flush=True)


def _opened(session: dict[str, str]) -> socket.socket:
    """The NBD protocol's fixed newstyle negotiation, and NBD_OPT_GO."""
    connection = socket.socket(socket.AF_INET6)
    connection.settimeout(600)
    ifindex = socket.if_nametoindex("eth0")
    connection.bind((session["address"], 0, 0, ifindex))
    connection.connect((session["server"], int(session["port"]), 0, ifindex))
    _take(connection, 18)
    name = session["export"].encode()
    data = struct.pack(f">I{len(name)}sH", len(name), name, 0)
    connection.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", _GO, len(data)) + data)
    kind = 0
    while kind != _ACK:
        _, _, kind, length = struct.unpack(">QIII", _take(connection, 20))
        _take(connection, length)
        if kind >> 31:
            raise ConnectionRefusedError(f"the server refuses the export: {kind:#x}")
    return connection


def _read(connection: socket.socket) -> None:
    connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, _BLOCK))
    _take(connection, 16 + _BLOCK)


def _take(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionResetError("the server has ended the connection")
        data += more
    return data


if __name__ == "__main__":
    main()
