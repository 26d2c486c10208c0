"""The end of a session whose target never runs: the desktop gives the disk back, unused.

It says what the target's keeper would say when all is flushed (farewell.py has the other end),
through a tunnel of its own where the session has one.
"""

from __future__ import annotations

import hmac
import socket
import time
from contextlib import suppress

from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk import tunnel
from stiefelsystem.ramdisk.tunnel import Far, Tunnel

_SAY_EVERY = 0.3
# The laptop ends its nbd-server, and flushes the disk, before it answers.
_SECONDS = 15.0
_MAX_SIZE = 64


def give_back(session: str, ifindex: int) -> bool:
    """End the session of these settings (keeper.session), over the link with this index.

    Returns whether the laptop has confirmed that it has its disk back. Raises `StiefelError` where
    there is no tunnel to it, `OSError` where the link is gone.
    """
    values = dict(line.split("=", 1) for line in session.splitlines())
    if values["encryption"] == "none":
        return _confirmed(values, values["server"], ifindex)
    peer = Peer(values["server"], tunnel.PORT, ifindex)
    far = Far(bytes.fromhex(values["peer"]), bytes.fromhex(values["preshared"]), peer)
    with Tunnel(bytes.fromhex(values["private"])) as own:
        own.connect(far, own=values["inner-address"], other=values["inner-server"])
        return _confirmed(values, values["inner-server"], own.ifindex)


def _confirmed(values: dict[str, str], address: str, ifindex: int) -> bool:
    end, ended = (bytes.fromhex(values[name]) for name in ("end", "ended"))
    until = time.monotonic() + _SECONDS
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as laptop:
        laptop.settimeout(_SAY_EVERY)
        laptop.connect((address, int(values["end-port"]), 0, ifindex))
        while time.monotonic() < until:
            # Not heard yet; or refused, as by a port that is about to open.
            with suppress(TimeoutError, ConnectionError):
                laptop.send(end)
                if hmac.compare_digest(laptop.recv(_MAX_SIZE), ended):
                    return True
    return False
