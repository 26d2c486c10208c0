"""A machine in the middle, without the key: it passes on what it hears, or something else.

    relay.py [--record FILE] [--delay SECONDS] [--times N] [--play FILE] [STEP ATTACK [NUMBER ...]]

The desktop is at eth0, the laptop at eth1. What is said in STEP (hello, offer, order, accepted,
session, session_answer, boot, archive) goes through ATTACK (attacks.py), N times. Then no HELLO is
passed on, so that nothing new begins, until SIGUSR1 comes; from there on, the relay is honest.

What comes is recorded as JSON lines, before anything is changed; an archive, raw, beside them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, BinaryIO, cast

from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket, Peer
from stiefelsystem.messages import MessageError, kind_of
from tests.netns.attacks import NAMES, Attack, Distant, Pieces

HTTP_PORT = 4644
_HEADER_SIZE, _TAG_SIZE = 5, 16
_HOPS = 255
# Longer than either side may take for an answer.
_PATIENCE_SECONDS = 70.0


def say(text: str) -> None:
    print(text, flush=True)


class Recording:
    """What has been seen, in order; nothing without a `path`."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = path.open("w") if path else None
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def add(self, to: str, step: str, data: bytes, **http: str) -> None:
        """A message to desktop or laptop; with the path and the head of its request or answer."""
        self._write({"to": to, "step": step, "hex": data.hex(), **http})

    def archive(self, pieces: Pieces, head: str) -> Pieces:
        """An archive, as it passes."""
        if self._path is None:
            yield from pieces
            return
        beside = self._path.with_suffix(f".archive-{next(self._numbers)}")
        self._write({"to": "desktop", "step": "archive", "file": str(beside), "head": head})
        with beside.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                yield piece

    def _write(self, line: dict[str, str]) -> None:
        with self._lock:
            if self._file:
                print(json.dumps(line), file=self._file, flush=True)


def read_recording(path: Path) -> list[dict[str, Any]]:
    """A recording's lines, each with the message's bytes as `data`."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        file = line.get("file")
        line["data"] = Path(file).read_bytes() if file else bytes.fromhex(line["hex"])
    return lines


class Relay:
    """Passes on; the laptop's address is known once it has answered."""

    def __init__(self, attack: Attack | None, recording: Recording, delay: float) -> None:
        self._attack = attack
        self._recording = recording
        self._delay = delay
        self._laptop = ""
        self._ifindex = socket.if_nametoindex("eth1")

    def carry_datagrams(self) -> None:
        """Pass discovery on, without end."""
        desktop = None
        with LinkSocket(DISCOVERY_PORT) as near, LinkSocket() as far:
            say("passing on")
            while True:
                ready, _, _ = select.select([near, far], [], [])
                for side in ready:
                    received = side.receive(0)
                    if received and side is near:
                        data, desktop = received
                        for piece in self._datagrams("laptop", data):
                            _set_hops(far, piece)
                            far.ask_all(piece, self._ifindex)
                    elif received and desktop:
                        data, laptop = received
                        self._laptop = laptop.address
                        for piece in self._datagrams("desktop", data):
                            _set_hops(near, piece)
                            near.send(piece, desktop)

    def carry_request(self, file: BinaryIO, out: BinaryIO) -> None:
        """Pass on what the desktop asks for, and the answer to it."""
        head = read_head(file)
        path = head.split()[1]
        (size,) = (it.split()[1] for it in head.splitlines() if it.startswith("Content-Length:"))
        body = file.read(int(size))
        step = path.split("/")[1]
        self._recording.add("laptop", step, body, path=path, head=head)
        # Several pieces are as many requests; the desktop gets the answer to the last one.
        *others, last = self._pieces(step, [body])
        for other in others:
            with self._post(path, other) as answer:
                say(f"{step} before: {read_head(answer).splitlines()[0]}")
        with self._post(path, last) as answer:
            head = read_head(answer)
            say(f"{step}: {head.splitlines()[0]}")
            out.write(f"{head}\r\n".encode())
            for piece in self._answer(step, head, answer):
                out.write(piece)

    def _answer(self, step: str, head: str, file: BinaryIO) -> Pieces:
        if " 200 " not in head:
            return [file.read()]
        if step == "boot":
            return self._pieces("archive", self._recording.archive(_frames(file), head))
        body = file.read()
        self._recording.add("desktop", "session_answer", body, head=head)
        return self._pieces("session_answer", [body])

    def _datagrams(self, to: str, data: bytes) -> Pieces:
        try:
            step = kind_of(data).name.lower()
        except MessageError:
            step = "garbage"
        self._recording.add(to, step, data)
        waits = self._attack and self._attack.waits
        return () if step == "hello" and waits else self._pieces(step, [data])

    def _pieces(self, step: str, pieces: Pieces) -> Pieces:
        for piece in self._attack.change(step, pieces) if self._attack else pieces:
            time.sleep(self._delay)
            yield piece

    def _post(self, path: str, body: bytes) -> Any:
        return post(Peer(self._laptop, HTTP_PORT, self._ifindex), path, body)


def _set_hops(link: LinkSocket, piece: bytes) -> None:
    with socket.socket(fileno=os.dup(link.fileno())) as same:
        for option in (socket.IPV6_MULTICAST_HOPS, socket.IPV6_UNICAST_HOPS):
            same.setsockopt(socket.IPPROTO_IPV6, option, _HOPS - isinstance(piece, Distant))


@contextmanager
def post(peer: Peer, path: str, body: bytes) -> Iterator[BinaryIO]:
    """A request, and the answer to it: its head, then its body, to be read."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE_SECONDS)
        connection.connect((peer.address, peer.port, 0, peer.ifindex))
        head = f"POST {path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        with connection.makefile("rb") as answer:
            yield answer


def read_head(file: BinaryIO) -> str:
    """What stands before the body, and the empty line, of a request or an answer."""
    lines = []
    while (line := file.readline()) not in (b"\r\n", b""):
        lines.append(line.decode())
    return "".join(lines)


def _frames(file: BinaryIO) -> Pieces:
    while header := file.read(_HEADER_SIZE):
        yield header + file.read(struct.unpack_from(">I", header)[0] + _TAG_SIZE)


class _Server(ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def serve(relay: Relay) -> None:
    """Take the desktop's requests, in threads of their own."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # either side hangs up on what it does not like
                relay.carry_request(cast(BinaryIO, self.rfile), cast(BinaryIO, self.wfile))

    server = _Server(("::", HTTP_PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--play", type=Path)
    parser.add_argument("step", nargs="?")
    parser.add_argument("attack", nargs="?", choices=NAMES)
    parser.add_argument("numbers", nargs="*", type=int)
    args = parser.parse_args()
    lines = read_recording(args.play) if args.play else []
    recorded = [line["data"] for line in lines if line["step"] == args.step]
    attack = None
    if args.attack:
        attack = Attack(args.step, args.attack, args.numbers, times=args.times, recorded=recorded)
        signal.signal(signal.SIGUSR1, lambda *_: attack.end())
    relay = Relay(attack, Recording(args.record), args.delay)
    serve(relay)
    relay.carry_datagrams()


if __name__ == "__main__":
    main()
