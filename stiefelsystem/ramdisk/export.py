"""The disk on the network: an nbd-server for one client, as long as its session lasts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk.disk import Disk, flush
from stiefelsystem.run import environment, missing

PORT = 10809
NAME = "disk"
# A connected client may have much to flush before its process goes.
_STOP_SECONDS = 20.0
_START_SECONDS = 10.0

# nbd-server(5). Without `flush`, an fsync on the desktop would not reach the medium; nbd-server
# checks the peer's address against `authfile` before it tells anything about the export.
_CONFIG = """\
[generic]
listenaddr = {listen}
port = {port}

[{name}]
exportname = {disk}
authfile = {allowed}
flush = true
fua = false
"""


class Export:
    """An nbd-server that serves `disk` to `peer` alone, on the link only, until `close()`."""

    def __init__(self, disk: Disk, peer: Peer, own_address: str, folder: Path) -> None:
        self.disk = disk
        self.peer = peer
        listen = f"{own_address}%{peer.interface}"
        allowed = folder / "nbd-allowed"
        config = folder / "nbd-server.conf"
        files.write(allowed, f"{peer.address}%{peer.interface}\n", mode=0o600)
        files.write(
            config,
            _CONFIG.format(listen=listen, port=PORT, name=NAME, disk=disk.path, allowed=allowed),
            mode=0o600,
        )
        command = ["nbd-server", "-n", "-C", str(config)]
        try:
            # In a process group of its own, with one child for each connection.
            self._process = subprocess.Popen(
                command, env=environment(), stdin=subprocess.DEVNULL, start_new_session=True
            )
        except FileNotFoundError as error:
            raise missing(command[0]) from error
        try:
            self._wait_until_it_listens(own_address, peer.ifindex)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connections(self) -> int:
        """How many connections the client has; each is a process."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            return len(children.read_text().split())
        except OSError:
            return 0

    def close(self) -> None:
        """Drop the client, end every process that could write, and flush the disk.

        When this returns, nothing that the client sends reaches the disk any more.
        """
        group = self._process.pid
        self._signal(group, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._signal(group, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._signal(group, 0):
            if time.monotonic() > deadline:
                raise StiefelError("nbd-server's processes do not end; the disk may hang")
            time.sleep(0.01)
        flush(self.disk.path)

    @staticmethod
    def _signal(group: int, number: int) -> bool:
        """Send a signal to the whole group; False if there is none any more."""
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return False
        return True

    def _wait_until_it_listens(self, address: str, ifindex: int) -> None:
        """nbd-server says nothing when it is ready; a free port says that it is not."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((address, PORT, 0, ifindex)) == 0:
                    return
            time.sleep(0.02)
        raise StiefelError(f"nbd-server does not listen on {address} port {PORT}")
