"""The other sides of what is measured: they do next to nothing themselves.

sides take KEY BYTES     a client that takes an archive, and does not decrypt it
sides give KEY BYTES     a server whose archive is sealed before its first byte is sent
sides fetch URL FILE     a client of plain HTTP
"""

from __future__ import annotations

import http.client
import io
import os
import select
import shutil
import socket
import sys
import time
import urllib.request
from pathlib import Path

from stiefelsystem import keys
from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket, Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.framing import Sealer
from stiefelsystem.messages import Role
from stiefelsystem.ramdisk import archive, exchange
from stiefelsystem.ramdisk.http import read_request
from stiefelsystem.ramdisk.search import Search
from stiefelsystem.ramdisk.session import Sessions

_KERNEL_SIZE = 1 << 20
_READ_SIZE = 1 << 20
_SECONDS = 60.0
_HEAD = b"HTTP/1.0 200 OK\r\n\r\n"


def main() -> None:
    side, what, which = sys.argv[1:]
    match side:
        case "take":
            take(keys.load(Path(what)), int(which))
        case "give":
            give(keys.load(Path(what)), int(which))
        case "fetch":
            fetch(what, Path(which))


def take(key: bytes, size: int) -> None:
    """Open a session as the client does, and print the seconds from the archive's first byte to
    its last."""
    found = Search(key).run()
    opening = exchange.Client(keys.subkey(key, keys.SESSION), found.offer)
    session = opening.finish(_post(found.peer, "/session", opening.request).read())
    request = io.BytesIO()
    with Sealer(request.write, session.to_server) as out:
        out.write(b"{}")
    answer = _post(found.peer, f"/boot/{session.id.hex()}", request.getvalue())
    buffer = bytearray(_READ_SIZE)
    taken = answer.readinto(memoryview(buffer)[:1])
    started = time.monotonic()
    print("taking", flush=True)
    while received := answer.readinto(buffer):
        taken += received
    seconds = time.monotonic() - started
    if taken < size:
        raise SystemExit(f"the server sent {taken} bytes, which is less than its files have")
    print(f"taken in {seconds:.4f} s")


def _post(peer: Peer, path: str, body: bytes) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(str(peer), exchange.PORT, timeout=_SECONDS)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"the server answered POST {path} by status {answer.status}")
    return answer


def give(key: bytes, size: int) -> None:
    """Answer one client as the server does, until it has taken its archive; say when the first
    byte is about to be sent."""
    sessions = Sessions(keys.subkey(key, keys.SESSION))
    responder = Responder(Role.SERVER, keys.subkey(key, keys.SERVER), sessions.challenges)
    with (
        socket.create_server(("::", exchange.PORT), family=socket.AF_INET6) as listener,
        LinkSocket(DISCOVERY_PORT) as link,
    ):
        given, ends = False, [listener.fileno(), link.fileno()]
        while not given:
            ready, _, _ = select.select(ends, [], [], _SECONDS)
            if not ready:
                raise SystemExit(f"no client came in {_SECONDS:.0f} s")
            if link.fileno() in ready and (received := link.receive(0)):
                data, peer = received
                if answer := responder.answer(data, peer).data:
                    link.send(answer, peer)
            if listener.fileno() in ready:
                given = _serve(listener, sessions, size)


def _serve(listener: socket.socket, sessions: Sessions, size: int) -> bool:
    """Answer one request; whether it was the one for the archive."""
    connection, (address, port, _, ifindex) = listener.accept()
    connection.settimeout(_SECONDS)
    peer = Peer(address.partition("%")[0], port, ifindex)
    with connection, connection.makefile("rb") as file:
        path, body = read_request(file)
        if path == "/session":
            connection.sendall(_HEAD + sessions.open(body, peer))
            return False
        key = sessions.take(bytes.fromhex(path.removeprefix("/boot/")), body, peer)
        if key is None:
            raise SystemExit(f"{path} is not the session of {peer}")
        sealed = _sealed(key, size, peer)
        print("giving", flush=True)
        connection.sendall(_HEAD)
        connection.sendall(sealed)
        return True


def _sealed(key: bytes, size: int, peer: Peer) -> memoryview:
    """An archive whose kernel and initrd have `size` bytes together."""
    link = {"client": peer.address, "server": peer.address, "port": 1, "export": "none"}
    answer = {"status": "ok", "size": size, "sector_size": 512, **link}
    kernel = os.urandom(_KERNEL_SIZE)
    files: dict[str, Path | bytes]
    files = {"kernel": kernel, "initrd": os.urandom(size - len(kernel)), "cmdline": b""}
    sealed = io.BytesIO()
    with Sealer(sealed.write, key) as out:
        archive.send(out, answer, files)
    return sealed.getbuffer()


def fetch(url: str, path: Path) -> None:
    """Put what is at `url` into a file, and print the seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    started = time.monotonic()
    with opener.open(url, timeout=_SECONDS) as answer, path.open("wb") as file:
        shutil.copyfileobj(answer, file, _READ_SIZE)
    print(f"fetched in {time.monotonic() - started:.4f} s")


if __name__ == "__main__":
    main()
