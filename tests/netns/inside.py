"""What listens at a tunnel's end, on an interface that holds the inner address: `inside.py CLIENT`.

Runs in the ramdisk. A bridge stands for the tunnel; what guards the way to it is the same. Says
whatever reaches the machine by its NIC, and whatever gets in.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

from stiefelsystem.ramdisk.disk import Disk
from stiefelsystem.ramdisk.exchange import Secrets
from stiefelsystem.ramdisk.export import Export
from stiefelsystem.ramdisk.farewell import Farewell

_ALL_PROTOCOLS, _IPV6, _TCP, _UDP = 0x0003, 0x86DD, 6, 17
_ETHERNET, _IPV6_HEADER = 14, 40
_PACKET_OUTGOING = 4  # linux/if_packet.h
_SECRETS = Secrets(*(bytes([number]) * 32 for number in range(4)))


def main() -> None:
    ifindex = socket.if_nametoindex("stiefeltun")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)) as nic:
        nic.bind(("eth0", 0))
        export = Export(
            Disk(Path("/mnt/disk.img"), 512),
            name="disk",
            client=sys.argv[1],
            address="fe80::1",
            ifindex=ifindex,
            folder=Path("/run"),
        )
        ear = Farewell("fe80::1", ifindex, _SECRETS, _said)
        print("listening inside", flush=True)
        try:
            while True:
                frame, sender = nic.recvfrom(1 << 16)
                if sender[2] != _PACKET_OUTGOING:
                    _show(frame)
        finally:
            ear.close()
            export.close()


def _said() -> bool:
    print("heard a farewell", flush=True)
    return True


def _show(frame: bytes) -> None:
    start = _ETHERNET + _IPV6_HEADER
    if len(frame) < start + 4 or struct.unpack_from(">H", frame, 12) != (_IPV6,):
        return
    if frame[20] in (_TCP, _UDP):
        to = socket.inet_ntop(socket.AF_INET6, frame[38:54])
        sender = socket.inet_ntop(socket.AF_INET6, frame[22:38])
        (port,) = struct.unpack_from(">H", frame, start + 2)
        print(f"came from {sender} to {to} port {port}", flush=True)


if __name__ == "__main__":
    main()
