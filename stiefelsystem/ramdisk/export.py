"""The disk on the network: an nbd-server for one client, as long as its session lasts."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError, say
from stiefelsystem.ramdisk.disk import Disk, flush
from stiefelsystem.run import environment, missing

PORT = 10809
# A connected client may have much to flush before its process goes.
_STOP_SECONDS = 20.0
_START_SECONDS = 10.0
# States in /proc/net/tcp6: include/net/tcp_states.h of Linux.
_ESTABLISHED, _LISTENING = "01", "0A"

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
trim = true
prerun = /usr/lib/stiefelsystem/one-writer
"""


class Export:
    """An nbd-server that serves `disk`, called `name`, to `client` alone, on the link only, until
    `close()`."""

    def __init__(
        self, disk: Disk, *, name: str, client: str, address: str, ifindex: int, folder: Path
    ) -> None:
        self.disk = disk
        self._client = client
        self._closed = False
        # A socket on a link-local address is bound to its interface: what arrives on another one
        # does not reach it, whatever address it claims.
        interface = socket.if_indextoname(ifindex)
        listen = f"{address}%{interface}"
        allowed = folder / "nbd-allowed"
        config = folder / "nbd-server.conf"
        files.write(allowed, f"{client}%{interface}\n", mode=0o600)
        files.write(
            config,
            _CONFIG.format(listen=listen, port=PORT, name=name, disk=disk.path, allowed=allowed),
            mode=0o600,
        )
        self._command = ["nbd-server", "-n", "-C", str(config)]
        # Claimed as long as it is served: no mount and no volume manager here may take it.
        exclusively = os.O_EXCL if disk.path.is_block_device() else 0
        self._claim = os.open(disk.path, os.O_RDONLY | exclusively)
        try:
            self._process = self._start()
        except OSError as error:
            os.close(self._claim)
            raise missing(self._command[0]) from error
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.close()
            raise

    def look_after(self) -> None:
        """Start nbd-server again if it has died; the desktop's keeper comes back to it.

        Raises `StiefelError` where it cannot be started; then another time, maybe.
        """
        if self._closed or self._process.poll() is None:
            return
        say("nbd-server has died; it is started again")
        self._end_group()
        self._process = self._start()
        self._wait_until_it_listens()

    def connections(self) -> int:
        """How many connections the client has; strangers, whom nbd-server refuses, do not count."""
        return sum(
            state == _ESTABLISHED and remote == self._client for state, remote in _tcp_sockets(PORT)
        )

    def close(self) -> None:
        """Drop the client, end every process that could write, and flush the disk; once.

        When this returns, nothing that the client sends reaches the disk any more. Raises
        `StiefelError` if the disk reports that it has lost something.
        """
        if self._closed:
            return
        self._closed = True
        self._signal(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._end_group()
        try:
            flush(self.disk.path)
        except OSError as error:
            raise StiefelError(
                f"the disk {self.disk.path} reports a write error: {error.strerror}",
                hint="check the disk before you trust it again",
            ) from error
        finally:
            os.close(self._claim)

    def _start(self) -> subprocess.Popen[bytes]:
        """In a process group of its own, with one child for each connection."""
        return subprocess.Popen(
            self._command, env=environment(), stdin=subprocess.DEVNULL, start_new_session=True
        )

    def _end_group(self) -> None:
        group = self._process.pid
        self._signal(group, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._signal(group, 0):
            if time.monotonic() > deadline:
                raise StiefelError("nbd-server's processes do not end; the disk may hang")
            time.sleep(0.01)

    @staticmethod
    def _signal(group: int, number: int) -> bool:
        """Send a signal to the whole group; False if there is none any more."""
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return False
        return True

    def _wait_until_it_listens(self) -> None:
        """nbd-server does not say when it is ready, and a trial would look like a client."""
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if any(state == _LISTENING for state, _ in _tcp_sockets(PORT)):
                return
            time.sleep(0.02)
        raise StiefelError(f"nbd-server does not listen on port {PORT}")


def _tcp_sockets(port: int) -> Iterator[tuple[str, str]]:
    """State and remote address of this machine's TCP sockets on a port.

    From /proc/net/tcp6 (proc_net_tcp in Linux's documentation), where an address is four words of
    32 bits in the machine's own byte order.
    """
    for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if local.endswith(f":{port:04X}"):
            words = struct.unpack(">4I", bytes.fromhex(remote.partition(":")[0]))
            yield state, socket.inet_ntop(socket.AF_INET6, struct.pack("=4I", *words))
