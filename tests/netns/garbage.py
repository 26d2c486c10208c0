"""Throws everything but a right request at a server: `garbage.py ADDRESS`."""

from __future__ import annotations

import errno
import os
import socket
import sys

_SCOPE = "%eth0"
# The server has not even read it: told while sending, while receiving, or in between.
_HUNG_UP = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
_REQUESTS = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST /session HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /session HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /session HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    b"POST /session HTTP/1.1\r\n\r\n",
    b"POST /boot/00 HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"POST /boot/zz HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"POST /session HTTP/1.1\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    b"POST /session HTTP/1.1\r\n" + b"X: a\r\n" * 100_000 + b"\r\n",
    b"POST /session HTTP/1.1\r\nContent-Length: 131073\r\n\r\n" + bytes(131073),
    b"POST /session HTTP/1.1\r\nContent-Length: 131072\r\n\r\n" + bytes(131072),
    b"POST /boot/" + b"0" * 32 + b" HTTP/1.1\r\nContent-Length: 131072\r\n\r\n" + bytes(131072),
    b"POST /boot/" + b"\xc3\xa4" * 16 + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    os.urandom(4096),
    b"",
)


def main() -> None:
    address = sys.argv[1] + _SCOPE
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
        target = socket.getaddrinfo(address, 61570, type=socket.SOCK_DGRAM)[0][4]
        for size in (0, 1, 5, 6, 38, 103, 104, 1400, 65000):
            udp.sendto(os.urandom(size), target)
            udp.sendto(b"STFL" + os.urandom(size), target)
            udp.sendto(b"STFL\x01\x03" + os.urandom(size), target)
            udp.sendto(b"STFL\x01\x05" + os.urandom(size), target)
    for request in _REQUESTS:
        with socket.create_connection((address, 4644), timeout=10) as tcp:
            answer = b""
            try:
                tcp.sendall(request)
                tcp.shutdown(socket.SHUT_WR)
                while data := tcp.recv(4096):
                    answer += data
            except OSError as error:
                if error.errno not in _HUNG_UP:
                    raise
            assert b" 200 " not in answer, answer


if __name__ == "__main__":
    main()
