"""NBD servers for the keeper to dial: real ones, and one that says whatever a test wants."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HOST = "::1"
SIZE = 64 << 20
# doc/proto.md of NBD.
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_EXPORT_NAME, OPT_GO = 1, 7
REP_ACK, REP_INFO = 1, 3
REP_ERR_UNSUP, REP_ERR_UNKNOWN = 2**31 + 1, 2**31 + 6
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
FLAGS, READ_ONLY, FLUSH, MULTI_CONN = 1, 2, 4, 256
GREETING = b"NBDMAGICIHAVEOPT"


def free_port() -> int:
    with socket.create_server((HOST, 0), family=socket.AF_INET6) as one:
        port: int = one.getsockname()[1]
        return port


def wait_until_it_listens(port: int) -> None:
    """Servers of others do not tell."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((HOST, port), timeout=5).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A server in the foreground, until the block ends; entered when it listens."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            wait_until_it_listens(port)
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def nbd_server(folder: Path, disk: Path, *settings: str) -> Iterator[int]:
    """nbd-server with the export "disk" and more lines of its configuration.

    It goes to the background, as no option that keeps it from that is in all of its versions.
    """
    port = free_port()
    config, pid = folder / "nbd-server.conf", folder / "nbd-server.pid"
    lines = ["[generic]", f"listenaddr = {HOST}", f"port = {port}"]
    lines += ["[disk]", f"exportname = {disk}", *settings]
    config.write_text("\n".join(lines) + "\n")
    subprocess.run(["nbd-server", "-C", str(config), "-p", str(pid)], check=True, timeout=20)
    try:
        wait_until_it_listens(port)
        yield port
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)


def nbdkit(disk: Path, *words: str) -> contextlib.AbstractContextManager[int]:
    port = free_port()
    command = ["nbdkit", "--foreground", "--exit-with-parent", "--ipaddr", HOST]
    return running([*command, "--port", str(port), *words, "file", str(disk)], port)


def qemu_nbd(disk: Path, *words: str) -> contextlib.AbstractContextManager[int]:
    port = free_port()
    command = ["qemu-nbd", "--persistent", "--format=raw", "--export-name=disk"]
    command += ["--shared=8", f"--bind={HOST}", f"--port={port}"]
    return running([*command, *words, str(disk)], port)


@contextlib.contextmanager
def saying(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that behaves so on every connection, and then hangs up."""
    listener = socket.create_server((HOST, 0), family=socket.AF_INET6)

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            behave(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def greeting(flags: int = FIXED_NEWSTYLE | NO_ZEROES) -> bytes:
    return GREETING + struct.pack(">H", flags)


def reply(kind: int, data: bytes = b"", *, option: int = OPT_GO) -> bytes:
    return struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data


def export(size: int = SIZE, flags: int = FLAGS | FLUSH) -> bytes:
    return reply(REP_INFO, struct.pack(">HQH", INFO_EXPORT, size, flags))


def block_size(smallest: int = 1, preferred: int = 4096, largest: int = 32 << 20) -> bytes:
    return reply(REP_INFO, struct.pack(">HIII", INFO_BLOCK_SIZE, smallest, preferred, largest))


def whole() -> bytes:
    """All that a good server says in a handshake."""
    return greeting() + export() + block_size() + reply(REP_ACK)


def exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, "the keeper hangs up"
        data += more
    return data
