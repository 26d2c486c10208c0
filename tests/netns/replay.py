"""Says to the laptop again what was recorded: `replay.py RECORDING ADDRESS`.

Each message, in its order, as a datagram, and as the body of each request that was ever made. Then
a HELLO of its own, whose answer tells that all before it has been dealt with. Every answer is told.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket, Peer
from stiefelsystem.messages import NONCE_SIZE, Hello, Type, kind_of
from tests.netns.relay import HTTP_PORT, post, read_head, read_recording, say

_LARGEST_DATAGRAM = 1400
_PATIENCE_SECONDS = 20.0


def main() -> None:
    recording, address = Path(sys.argv[1]), sys.argv[2]
    ifindex = socket.if_nametoindex("eth1")
    lines = read_recording(recording)
    messages = [line for line in lines if len(line["data"]) <= _LARGEST_DATAGRAM]
    paths = list(dict.fromkeys(line["path"] for line in lines if "path" in line))
    with LinkSocket() as link:
        for message in messages:
            link.send(message["data"], Peer(address, DISCOVERY_PORT, ifindex))
            for path in paths:
                told = request(Peer(address, HTTP_PORT, ifindex), path, message["data"])
                say(f"{message['step']} to {path}: {told}")
        hello = Hello(os.urandom(NONCE_SIZE))
        link.send(hello.pack(), Peer(address, DISCOVERY_PORT, ifindex))
        while received := link.receive(_PATIENCE_SECONDS):
            answer, _ = received
            say(f"{kind_of(answer).name} to a datagram")
            if kind_of(answer) is Type.OFFER and hello.nonce in answer:
                say(f"played {len(messages)} messages")
                return


def request(peer: Peer, path: str, body: bytes) -> str:
    """Make one request; what is told about it."""
    try:
        with post(peer, path, body) as answer:
            return read_head(answer).splitlines()[0]
    except ConnectionRefusedError:
        return "nobody listens"


if __name__ == "__main__":
    main()
