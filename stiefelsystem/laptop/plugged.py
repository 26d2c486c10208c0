"""The trigger by a hand: a network adapter is plugged in whose MAC stands in the configuration.

By the kernel's own events, through pyudev: they need no udevd, and come before anything has given
the adapter another name or another MAC. That it is plugged in is the consent; so nothing follows
from an adapter that was there before, nor from one that is renamed or switched on.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stiefelsystem import interfaces
from stiefelsystem.console import StiefelError, say, warn
from stiefelsystem.laptop.orders import Order

_SYS = Path("/sys/class/net")
# How long an interface may take until it can be asked about, and how often it is tried.
_SETTLE_SECONDS, _LOOK_SECONDS = 2.0, 0.02
# linux/sockios.h, linux/ethtool.h: struct ethtool_perm_addr is command, size, address.
_SIOCETHTOOL, _GPERMADDR, _MAX_ADDRESS = 0x8946, 0x20, 32
_REQUEST = struct.Struct("=II")
# linux/if.h, struct ifreq: the name, then a union that is 24 bytes long, here a pointer.
_IFREQ = struct.Struct("@16sP16x")


class Adapters:
    """Hears of adapters as they are plugged in. Raises `StiefelError` where pyudev is missing."""

    def __init__(self, macs: Sequence[str]) -> None:
        try:
            import pyudev

            self._context: Any = pyudev.Context()
        except ImportError as error:
            raise StiefelError(
                f"autokexec.macs needs pyudev: {error}",
                hint="install python3-pyudev (Debian, Fedora), python-pyudev (Arch) or "
                "dev-python/pyudev (Gentoo)",
            ) from error
        self._macs = frozenset(macs)

    def __enter__(self) -> Self:
        import pyudev

        self._monitor: Any = pyudev.Monitor.from_netlink(self._context, source="kernel")
        self._monitor.filter_by("net")
        self._monitor.start()
        say(f"waiting for an adapter to be plugged in: {', '.join(sorted(self._macs))}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        del self._monitor  # which closes its socket

    def fileno(self) -> int:
        handle: int = self._monitor.fileno()
        return handle

    def read(self) -> Order | None:
        try:
            event = self._monitor.poll(timeout=0)
        except OSError as error:
            if errno.ENOBUFS not in (error.errno, self._pending_error()):
                raise
            warn("too many network interfaces come and go at once: an adapter may be missed")
            return None
        if event is None or event.action != "add":
            return None
        return self._plugged(int(event.properties.get("IFINDEX", 0)))

    def _pending_error(self) -> int:
        """The errno that the monitor's socket holds, which pyudev does not tell; it is reset."""
        with socket.socket(fileno=os.dup(self.fileno())) as same:
            return same.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _plugged(self, ifindex: int) -> Order | None:
        """The order, if the interface with this number is one of the adapters."""
        try:
            name, found, is_adapter = _look(ifindex)
        except OSError:
            return None  # gone again
        macs = self._macs & found
        if not macs:
            return None
        mac = min(macs)
        # What software makes (VLANs, bridges, virtual machines' links) may have an adapter's MAC.
        if not is_adapter:
            say(f"{name} has the MAC {mac}, but it is no wired adapter: nothing to do")
            return None
        return Order(f"the adapter {mac} was plugged in")


def _look(ifindex: int) -> tuple[str, set[str], bool]:
    """The name of an interface, its MACs, and whether it is wired hardware.

    Raises `OSError` if it is not there. The kernel tells of it before it can be asked about it
    (register_netdevice()), and udev is about to give it another name: so it is asked again.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        try:
            name = socket.if_indextoname(ifindex)
            found = {interfaces.mac(name), _permanent_mac(name)}
            is_adapter = interfaces.is_wired(ifindex) and (_SYS / name / "device").exists()
            if socket.if_indextoname(ifindex) != name:
                raise OSError(errno.EAGAIN, f"{name} was renamed just now")
            return name, found, is_adapter
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)


def _permanent_mac(name: str) -> str:
    """The MAC that an interface's hardware has, whatever it uses now; empty if it tells none."""
    buffer = array.array("B", _REQUEST.pack(_GPERMADDR, _MAX_ADDRESS) + bytes(_MAX_ADDRESS))
    request = _IFREQ.pack(name.encode(), buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError:
            return ""
    _, size = _REQUEST.unpack_from(buffer)
    return buffer[_REQUEST.size : _REQUEST.size + size].tobytes().hex(":")
