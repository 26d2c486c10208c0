"""Tries to reach what listens inside of a tunnel: `knocking.py OWN,OWN... ADDRESS...`, from each of
its own addresses to each of the others."""

from __future__ import annotations

import socket
import sys

_NBD, _FAREWELL = 10809, 61571
_SECONDS = 2.0
# What the one inside takes for a farewell (inside.py).
_END = bytes([2]) * 32


def main() -> None:
    ifindex = socket.if_nametoindex("eth0")
    for address in sys.argv[2:]:
        for own in sys.argv[1].split(","):
            print(f"{own} to {address}: {_tcp(own, address, ifindex)}", flush=True)
            print(f"{own} to {address}: {_udp(own, address, ifindex)}", flush=True)
    print("done", flush=True)


def _tcp(own: str, address: str, ifindex: int) -> str:
    with socket.socket(socket.AF_INET6) as one:
        one.settimeout(_SECONDS)
        one.bind((own, 0, 0, ifindex))
        try:
            one.connect((address, _NBD, 0, ifindex))
            return f"CONNECTED, and told {one.recv(100)!r}"
        except OSError as error:
            return f"not connected: {error}"


def _udp(own: str, address: str, ifindex: int) -> str:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        one.settimeout(_SECONDS)
        one.bind((own, 0, 0, ifindex))
        try:
            one.sendto(_END, (address, _FAREWELL, 0, ifindex))
            return f"ANSWERED {one.recv(100)!r}"
        except OSError as error:
            return f"not answered: {error}"


if __name__ == "__main__":
    main()
