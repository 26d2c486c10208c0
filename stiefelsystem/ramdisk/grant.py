"""What one client has of this machine: a tunnel, the disk at its end, an ear for its farewell."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stiefelsystem.console import StiefelError, say
from stiefelsystem.ramdisk import farewell, neighbour, tunnel
from stiefelsystem.ramdisk.disk import Disk
from stiefelsystem.ramdisk.export import PORT, Export
from stiefelsystem.ramdisk.farewell import Farewell
from stiefelsystem.ramdisk.session import Asked
from stiefelsystem.ramdisk.tunnel import Far, Tunnel


class Grant:
    """Prepared when a client is to get the disk, opened when it has its archive, closed once."""

    def __init__(self, asked: Asked, own_address: str, *, encrypted: bool) -> None:
        self._asked = asked
        # Another one each time: a desktop that goes on from a former session finds no disk by its
        # name, even where no tunnel keeps it out.
        self._name = f"disk-{os.urandom(16).hex()}"
        self._stack = ExitStack()
        self._tunnel: Tunnel | None = None
        self._export: Export | None = None
        self._ear: Farewell | None = None
        self._ended: Callable[[], bool] = lambda: False
        self._client, self._server, self._ifindex = (
            asked.peer.address,
            own_address,
            asked.peer.ifindex,
        )
        self._pinned = 0
        self._pin(asked.peer.ifindex)
        if encrypted:
            try:
                self._connect()
            except BaseException:
                self._stack.close()
                raise
        else:
            say(f"{asked.peer}: NOT encrypted: who is on this cable can read and change the disk")

    def answer(self) -> dict[str, Any]:
        """What the client has to know of it; docs/protocol.md has the fields."""
        return {
            "client": self._asked.peer.address,
            "inner-client": self._client,
            "inner-server": self._server,
            "tunnel": self._tunnel.public.hex() if self._tunnel else None,
            "tunnel-port": tunnel.PORT,
            "port": PORT,
            "export": self._name,
            "end-port": farewell.PORT,
        }

    def open(self, disk: Disk, folder: Path, ended: Callable[[], bool]) -> None:
        """Open the disk; `ended` is called when the client has said that it is done."""
        self._export = Export(
            disk,
            name=self._name,
            client=self._client,
            address=self._server,
            ifindex=self._ifindex,
            folder=folder,
        )
        self._stack.callback(self._export.close)
        self._ended = ended
        self._stack.callback(self._close_ear)
        self._listen()

    def connections(self) -> int:
        """How many connections to the disk the client has."""
        return self._export.connections() if self._export else 0

    def traffic(self) -> int:
        """See `Export.traffic`."""
        return self._export.traffic() if self._export else 0

    def look_after(self, ifindex: int) -> None:
        """Mend what has died, and follow this machine's adapter: `ifindex` is that of the link now.

        Raises like `Export.look_after`.
        """
        if not self._export or self._export.closed:
            return
        self._pin(ifindex)
        if not self._tunnel and ifindex != self._ifindex:
            self._close_ear()
            self._ifindex = ifindex
        if self._ear is None:
            self._listen()
        self._export.look_after(self._ifindex)

    def close_disk(self) -> None:
        """Fence the client off; see `Export.close`."""
        if self._export:
            self._export.close()

    def close(self) -> None:
        """Fence it off, and take all else away."""
        self._stack.close()

    def _listen(self) -> None:
        self._ear = Farewell(self._server, self._ifindex, self._asked.secrets, self._ended)

    def _close_ear(self) -> None:
        if self._ear:
            self._ear.close()
            self._ear = None

    def _pin(self, ifindex: int) -> None:
        if ifindex != self._pinned:
            neighbour.pin(self._asked.peer.address, ifindex)
            self._pinned = ifindex

    def _connect(self) -> None:
        if self._asked.tunnel is None:
            raise StiefelError(
                "the desktop's ramdisk cannot encrypt: its kernel has no WireGuard",
                hint="build both sides from the same version; or `link: encryption: none`, on a "
                "cable that you trust",
            )
        self._tunnel = self._stack.enter_context(Tunnel())
        far = Far(self._asked.tunnel, self._asked.secrets.preshared, self._asked.peer)
        self._client, self._server = tunnel.CLIENT, tunnel.SERVER
        self._tunnel.connect(far, own=self._server, other=self._client)
        self._ifindex = self._tunnel.ifindex
        say(f"{self._asked.peer}: the disk's traffic is encrypted")
