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
# nbd-server ends at once; the process of a connection, when the disk has done what it was told.
_TERM_SECONDS = 5.0
_STOP_SECONDS = 20.0
_START_SECONDS = 10.0
# States in /proc/net/tcp6: include/net/tcp_states.h of Linux.
_ESTABLISHED, _LISTENING = "01", "0A"

# nbd-server(5). Without `flush`, an fsync on the desktop would not reach the medium. For `trim`, it
# has the disk make a hole, which one that cannot discard would fill with zeros. nbd-server checks
# the peer's address against `authfile` before it tells anything about the export.
_CONFIG = """\
[generic]
listenaddr = {listen}
port = {port}

[{name}]
exportname = {disk}
authfile = {allowed}
flush = true
fua = false
trim = {trim}
prerun = /usr/lib/stiefelsystem/one-writer
"""


class Export:
    """An nbd-server that serves `disk`, called `name`, to `client` alone, on the link only, until
    `close()`."""

    def __init__(
        self, disk: Disk, *, name: str, client: str, address: str, ifindex: int, folder: Path
    ) -> None:
        self.disk = disk
        self._name, self._client, self._address = name, client, address
        self._allowed, self._config = folder / "nbd-allowed", folder / "nbd-server.conf"
        self.closed = False
        self._configure(ifindex)
        self._command = ["nbd-server", "-n", "-C", str(self._config)]
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

    def look_after(self, ifindex: int) -> None:
        """Start nbd-server again if it has died, or if its address is on another interface now; the
        desktop's keeper comes back to it.

        Raises `StiefelError` or `OSError` where it cannot be started; then another time, maybe.
        """
        alive = self._process.poll() is None
        if self.closed or (alive and ifindex == self._ifindex):
            return
        self._configure(ifindex)
        self._end_group()
        self._process = self._start()
        self._wait_until_it_listens()
        why = "the adapter is in another port" if alive else "nbd-server has died"
        say(f"{why}: nbd-server was started again")

    def connections(self) -> int:
        """How many connections the client has; strangers, whom nbd-server refuses, do not count."""
        return sum(
            state == _ESTABLISHED and remote == self._client for state, remote in _tcp_sockets(PORT)
        )

    def traffic(self) -> int:
        """The bytes that the client's connections have moved; grows with all that they do."""
        main = self._process.pid
        total = 0
        with suppress(OSError):  # it has died; or a connection has ended
            for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split():
                lines = Path(f"/proc/{pid}/io").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if "char:" in line)
        return total

    def close(self) -> None:
        """Drop the client, end every process that could write, and flush the disk; once.

        When this returns, nothing that the client sends reaches the disk any more. Raises
        `StiefelError` if the disk reports that it has lost something.
        """
        if self.closed:
            return
        self.closed = True
        self._signal(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_TERM_SECONDS)
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

    def _configure(self, ifindex: int) -> None:
        # A socket on a link-local address is bound to its interface: what arrives on another one
        # does not reach it, whatever address it claims.
        interface = socket.if_indextoname(ifindex)
        config = _CONFIG.format(
            listen=f"{self._address}%{interface}",
            port=PORT,
            name=self._name,
            disk=self.disk.path,
            allowed=self._allowed,
            trim="true" if self.disk.discards else "false",
        )
        files.write(self._allowed, f"{self._client}%{interface}\n", mode=0o600)
        files.write(self._config, config, mode=0o600)
        self._ifindex = ifindex

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
