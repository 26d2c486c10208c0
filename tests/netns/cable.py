"""A cable that can be slow, be cut, and flip bits: frames are carried between two interfaces.

    cable.py ONE OTHER [--bytes-per-second N] [--flip-at N]

Runs until it is ended. With --flip-at, one bit is flipped in the TCP payload from port 4644 once N
bytes of it have passed, with a right checksum, as an attacker on the link would do.
"""

from __future__ import annotations

import argparse
import select
import socket
import struct
import time

_ALL_PROTOCOLS = 0x0003  # linux/if_ether.h: ETH_P_ALL
_PACKET_OUTGOING = 4  # linux/if_packet.h
_IPV6 = 0x86DD
_TCP = 6
_ETHERNET, _IPV6_HEADER = 14, 40
_HTTP = 4644


class Flipper:
    """Flips one bit, once."""

    def __init__(self, at: int | None) -> None:
        self._at = at
        self._passed = 0

    def process(self, frame: bytes) -> bytes:
        """The frame, perhaps changed."""
        start = self._payload(frame)
        if self._at is None or start is None or start >= len(frame):
            return frame
        self._passed += len(frame) - start
        if self._passed < self._at:
            return frame
        self._at = None
        print("flipped a bit", flush=True)
        changed = bytearray(frame)
        changed[-1] ^= 1
        return _with_checksum(changed)

    @staticmethod
    def _payload(frame: bytes) -> int | None:
        """Where the TCP payload from the HTTP port begins."""
        tcp = _ETHERNET + _IPV6_HEADER
        if len(frame) < tcp + 20 or struct.unpack_from(">H", frame, 12)[0] != _IPV6:
            return None
        if frame[_ETHERNET + 6] != _TCP or struct.unpack_from(">H", frame, tcp)[0] != _HTTP:
            return None
        return int(tcp + (frame[tcp + 12] >> 4) * 4)


def _with_checksum(frame: bytearray) -> bytes:
    """RFC 8200, 8.1: the sum over the pseudo header and the segment."""
    tcp = _ETHERNET + _IPV6_HEADER
    (length,) = struct.unpack_from(">H", frame, _ETHERNET + 4)
    frame[tcp + 16 : tcp + 18] = bytes(2)
    segment = frame[tcp : tcp + length]
    pseudo = frame[_ETHERNET + 8 : tcp] + struct.pack(">II", length, _TCP)
    data = bytes(pseudo + segment) + bytes(length % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", frame, tcp + 16, ~total & 0xFFFF)
    return bytes(frame)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ends", nargs=2)
    parser.add_argument("--bytes-per-second", type=float, default=float("inf"))
    parser.add_argument("--flip-at", type=int)
    args = parser.parse_args()
    flipper = Flipper(args.flip_at)
    ends = []
    for name in args.ends:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        end.bind((name, 0))
        ends.append(end)
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    free_at = time.monotonic()
    print("carrying", flush=True)
    while True:
        ready, _, _ = select.select(ends, [], [])
        for end in ready:
            frame, sender = end.recvfrom(1 << 16)
            if sender[2] == _PACKET_OUTGOING:
                continue  # our own
            pause = free_at - time.monotonic()
            if pause > 0:
                time.sleep(pause)  # the length of the cable's queue is the sockets'
            free_at = max(free_at, time.monotonic()) + len(frame) / args.bytes_per_second
            try:
                other[end].send(flipper.process(frame))
            except OSError:
                continue  # a cable has no errors, it only loses


if __name__ == "__main__":
    main()
