"""A cable that can be slow, be cut, and have faults: frames are carried between two interfaces.

    cable.py ONE OTHER [--bytes-per-second N] [--flip-at N] [--lose P] [--repeat P] [--swap P]

Runs until it is ended. With --flip-at, one bit is flipped in the TCP payload from port 4644 once N
bytes of it have passed, with a right checksum, as an attacker on the link would do. The others are
the probabilities that a frame is lost, comes twice, or comes behind the next one.
"""

from __future__ import annotations

import argparse
import random
import select
import socket
import struct
import time
from contextlib import suppress

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


class Faults:
    """Loses, repeats and reorders frames of one direction, by chance, the same in every run."""

    def __init__(self, *, lose: float, repeat: float, swap: float) -> None:
        self._lose, self._repeat, self._swap = lose, repeat, swap
        self._random = random.Random(0)
        self._held: list[bytes] = []

    def process(self, frame: bytes) -> list[bytes]:
        """The frames that come out when this one goes in."""
        if self._random.random() < self._lose:
            return []
        if not self._held and self._random.random() < self._swap:
            self._held = [frame]
            return []
        times = 2 if self._random.random() < self._repeat else 1
        out, self._held = [frame] * times + self._held, []
        return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ends", nargs=2)
    parser.add_argument("--bytes-per-second", type=float, default=float("inf"))
    parser.add_argument("--flip-at", type=int)
    for fault in ("lose", "repeat", "swap"):
        parser.add_argument(f"--{fault}", type=float, default=0.0)
    args = parser.parse_args()
    flipper = Flipper(args.flip_at)
    ends = []
    for name in args.ends:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        end.bind((name, 0))
        ends.append(end)
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    faults = {end: Faults(lose=args.lose, repeat=args.repeat, swap=args.swap) for end in ends}
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
            for carried in faults[end].process(flipper.process(frame)):
                with suppress(OSError):  # a cable has no errors, it only loses
                    other[end].send(carried)


if __name__ == "__main__":
    main()
