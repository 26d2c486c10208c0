"""A machine without the key that answers every HELLO, many times and at once: `rogue.py`.

It offers itself as server and as autokexec, by a random proof and by one with a key of its own, and
takes connections where a server would.
"""

from __future__ import annotations

import os
import socket
import threading

from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket
from stiefelsystem.messages import Accepted, Hello, MessageError, Offer, Role

_HTTP = 4644
_TIMES = 5


def main() -> None:
    with LinkSocket(DISCOVERY_PORT) as link, socket.socket(socket.AF_INET6) as http:
        http.bind(("::", _HTTP))
        http.listen()
        threading.Thread(target=_accept, args=(http,), daemon=True).start()
        print("lying in wait", flush=True)
        while True:
            received = link.receive(None)
            if received is None:
                continue
            data, peer = received
            try:
                nonce = Hello.unpack(data).nonce
            except MessageError:
                continue
            for _ in range(_TIMES):
                for role in Role:
                    offer = Offer(role, nonce, os.urandom(32)).pack(bytes(32))
                    link.send(offer, peer)
                    link.send(offer[:-32] + os.urandom(32), peer)
                link.send(Accepted(nonce, os.urandom(32), 60).pack(bytes(32)), peer)
            print("has answered", flush=True)


def _accept(http: socket.socket) -> None:
    while True:
        connection, _ = http.accept()
        print("somebody has called", flush=True)
        connection.close()


if __name__ == "__main__":
    main()
