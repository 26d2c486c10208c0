"""A client that has the key, and stops at a step of its boot: `dying.py KEY STEP`.

It says so, and keeps what it has open until it is ended. Steps: offer, session, half (a request),
silent (takes a part of the archive, and no more), received (all of it, and does not start).
"""

from __future__ import annotations

import http.client
import io
import socket
import sys
import time
from pathlib import Path

from stiefelsystem import keys
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.ramdisk import exchange
from stiefelsystem.ramdisk.search import Found, Search


def main() -> None:
    key, step = Path(sys.argv[1]).read_bytes(), sys.argv[2]
    kept = list(_walk(key, step))
    print(f"stops at {step}", flush=True)
    while kept:
        time.sleep(60)


def _walk(key: bytes, step: str) -> list[object]:
    """Go as far as `step`; returns what keeps the connection open."""
    found = Search(key).run()
    if step == "offer":
        return [found]
    opening = exchange.Client(keys.subkey(key, keys.SESSION), found.offer)
    session = opening.finish(_post(found, "/session", opening.request).read())
    if step == "session":
        return [session]
    sealed = io.BytesIO()
    with Sealer(sealed.write, session.to_server) as request:
        request.write(b"{}")
    path, body = f"/boot/{session.id.hex()}", sealed.getvalue()
    if step == "half":
        return [_connected(found, path, body[: len(body) // 2], len(body))]
    response = _post(found, path, body)
    if step == "silent":
        response.read(1 << 16)
    else:
        with Opener(response.read, session.secrets(body).archive) as opened:
            opened.finish()
    return [response]


def _connected(found: Found, path: str, body: bytes, size: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(found.peer.address, exchange.PORT)
    connection.sock = socket.socket(socket.AF_INET6)
    connection.sock.settimeout(20)
    connection.sock.connect((found.peer.address, exchange.PORT, 0, found.peer.ifindex))
    connection.request("POST", path, body, {"Content-Length": str(size)})
    return connection


def _post(found: Found, path: str, body: bytes) -> http.client.HTTPResponse:
    return _connected(found, path, body, len(body)).getresponse()


if __name__ == "__main__":
    main()
