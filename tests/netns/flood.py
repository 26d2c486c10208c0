"""Floods a laptop from many addresses, until it is ended: `flood.py ADDRESS`.

From each address in turn: HELLOs with new nonces, forged ORDERs and SESSIONs, connections that send
half a request and stay, and connections that send a whole one of noise.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator

from stiefelsystem.datagram import DISCOVERY_PORT
from stiefelsystem.messages import Hello, Order, Type, prefix

_SOURCES = [f"fe80::bad:{number:x}" for number in range(1, 201)]
_HTTP = 4644
_DATAGRAMS = 20
_KEPT = 400
_NOISE = prefix(Type.SESSION) + os.urandom(161)
_HALF = b"POST /session HTTP/1.0\r\nContent-Length: 167\r\n\r\nSTFL"
_WHOLE = b"POST /session HTTP/1.0\r\nContent-Length: 167\r\n\r\n" + _NOISE


def main() -> None:
    target, interface = sys.argv[1], socket.if_nametoindex("eth0")
    batch = "".join(f"addr add {source}/64 dev eth0 nodad\n" for source in _SOURCES)
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    senders = [_sender(source, interface) for source in _SOURCES]
    kept: deque[socket.socket] = deque()
    rounds = 0
    while True:
        for source, sender in zip(_SOURCES, senders, strict=True):
            for message in _messages():
                sender.sendto(message, (target, DISCOVERY_PORT, 0, interface))
            for request in (_HALF, _WHOLE):
                kept.append(_connection(source, (target, _HTTP, 0, interface), request))
            while len(kept) > _KEPT:
                kept.popleft().close()
        rounds += 1
        print(f"flooded {rounds} times", flush=True)


def _sender(source: str, interface: int) -> socket.socket:
    sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
    sender.bind((source, 0, 0, interface))
    return sender


def _messages() -> Iterator[bytes]:
    for _ in range(_DATAGRAMS):
        yield Hello(os.urandom(32)).pack()
    yield Order(os.urandom(32), os.urandom(32)).pack(os.urandom(32))
    yield _NOISE


def _connection(source: str, target: tuple[str, int, int, int], request: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    connection.bind((source, 0, 0, target[3]))
    connection.settimeout(0.02)
    try:
        connection.connect(target)
        connection.send(request)
    except OSError:
        pass  # the laptop's queue is full, or it has hung up
    return connection


if __name__ == "__main__":
    main()
