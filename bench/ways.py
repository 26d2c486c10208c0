"""The ways over the wire: what is between a program on the desktop and the bytes on the laptop."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from bench.rig import Guest
from stiefelsystem.host.demo import MACS
from stiefelsystem.ramdisk import export, farewell, keeper, tunnel
from stiefelsystem.ramdisk.exchange import Secrets

# Of the cable; inside of the tunnel, those of the ramdisk.
_LAPTOP, _DESKTOP = "fe80::11", "fe80::12"
_NAME = "disk"
_SIZE_MIB = 256
# In memory, so that no medium counts, and with bytes in it, so that all are really read. What the
# server promises is the same as in the ramdisk: stiefelsystem/ramdisk/export.py.
_DISK = "/run/disk"
_SERVED = f"""\
[generic]
port = {export.PORT}
[{_NAME}]
exportname = {_DISK}
flush = true
fua = false
trim = true
"""
_FOLDER = "/run/keeper"
# Super-packets of 64 KiB pass as a whole, as they do on NICs that cut them up themselves.
_BURST = "256kb"
_LATENCY = "20ms"
_CONNECTIONS = (1, 2, 4, 8)
_IPERF_PORT = 5201
# The laptop's address in the tunnel, for the desktop.
INSIDE = f"{tunnel.SERVER}%{tunnel.NAME}"


@dataclass(frozen=True)
class Way:
    """`connect` connects /dev/nbd0 on the desktop, for as long as its block runs."""

    name: str
    connect: Callable[[Link], AbstractContextManager[None]]
    tunnel: bool = False


class Link:
    """Both machines, with their addresses, and the disk served; with a `rate`, in bits per second,
    neither sends more. That counts frames with their headers, as `bench/transfer` does."""

    def __init__(self, laptop: Guest, desktop: Guest, *, rate: float | None) -> None:
        self.laptop, self.desktop = laptop, desktop
        # The keeper gives it another name.
        self._nic = "eth0"
        for guest, address in ((laptop, _LAPTOP), (desktop, _DESKTOP)):
            guest.sh("ip link set lo up; ip link set eth0 addrgenmode none up")
            guest.sh(f"ip address add {address}/64 dev eth0 nodad")
            if rate:
                shape = f"rate {rate:.0f}bit burst {_BURST} latency {_LATENCY}"
                guest.sh(f"tc qdisc add dev eth0 root tbf {shape}")
        laptop.sh(f"dd if=/dev/zero of={_DISK} bs=1M count={_SIZE_MIB}")
        laptop.sh("cat >/run/nbd.conf", text=_SERVED)
        laptop.sh("nbd-server -C /run/nbd.conf")
        laptop.sh("iperf3 --server --daemon")
        for port in (export.PORT, _IPERF_PORT):
            laptop.sh(f"until grep -q :{port:04X} /proc/net/tcp6; do sleep 0.1; done")
        # nbd-server listens before it has made what TLS needs, at length; then it takes a client.
        with self.stock(1):
            pass

    @property
    def address(self) -> str:
        """The laptop's, for the desktop; it goes over the cable alone."""
        return f"{_LAPTOP}%{self._nic}"

    @contextmanager
    def stock(self, connections: int) -> Iterator[None]:
        """By Debian's nbd-client."""
        options = f"-N {_NAME} -C {connections}"
        self.desktop.sh(f"nbd-client {self.address} {export.PORT} /dev/nbd0 {options}")
        yield
        self.desktop.sh("nbd-client -d /dev/nbd0")

    @contextmanager
    def kept(self, *, encrypted: bool) -> Iterator[None]:
        """By the link keeper, with what it gets in a real session."""
        secrets = Secrets(*(os.urandom(32) for _ in Secrets._fields))
        answer: dict[str, str | int] = {
            "client": _DESKTOP,
            "server": _LAPTOP,
            "port": export.PORT,
            "export": _NAME,
            "sector_size": 512,
            "connections": 1,
            "end-port": farewell.PORT,
        }
        private = os.urandom(tunnel.KEY_SIZE) if encrypted else None
        if private:
            answer |= {
                "tunnel": self._open_tunnel(private, secrets.preshared),
                "tunnel-port": tunnel.PORT,
                "inner-client": tunnel.CLIENT,
                "inner-server": tunnel.SERVER,
            }
        settings = keeper.session(answer, MACS["desktop"], secrets, private)
        self.desktop.sh(f"mkdir -p {_FOLDER}; mount -t tmpfs -o mode=700 keeper {_FOLDER}")
        self.desktop.sh(f"cat >{_FOLDER}/session", text=settings)
        self.desktop.sh(f"/stiefel-link run {_FOLDER}")
        self._nic = self._nic_now()
        yield
        # It would wait for a server that hears of the end of the session.
        self.desktop.sh("kill -KILL $(pgrep stiefel-link); nbd-client -d /dev/nbd0")
        self.desktop.sh(f"umount {_FOLDER}")
        if encrypted:
            for guest in (self.laptop, self.desktop):
                guest.sh(f"ip link delete {tunnel.NAME}")

    def _nic_now(self) -> str:
        name = self.desktop.sh("ip -oneline link show | grep -i " + MACS["desktop"])
        return name.split(": ")[1]

    def _open_tunnel(self, private: bytes, preshared: bytes) -> str:
        """Make the laptop's end, and return its public key, as the session has it."""
        laptop, name = self.laptop, tunnel.NAME
        desktop = self._public(private)
        own = os.urandom(tunnel.KEY_SIZE)
        laptop.sh("cat >/run/private", text=_base64(own))
        laptop.sh("cat >/run/preshared", text=_base64(preshared))
        laptop.sh(f"ip link add {name} mtu 1420 type wireguard")
        laptop.sh(
            f"wg set {name} listen-port {tunnel.PORT} private-key /run/private"
            f" peer {_base64(desktop)} preshared-key /run/preshared persistent-keepalive 5"
            f" allowed-ips {tunnel.CLIENT}/128 endpoint [{_DESKTOP}%eth0]:{tunnel.PORT}"
        )
        laptop.sh(f"ip link set {name} up; ip address add {tunnel.SERVER}/64 dev {name} nodad")
        return self._public(own).hex()

    def _public(self, private: bytes) -> bytes:
        return base64.b64decode(self.laptop.sh("wg pubkey", text=_base64(private)))


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()


WAYS = (
    *(
        Way(f"NBD, nbd-client, {count} conn.", partial(Link.stock, connections=count))
        for count in _CONNECTIONS
    ),
    Way("NBD, link keeper, 1 conn.", partial(Link.kept, encrypted=False)),
    Way("NBD in WireGuard, link keeper", partial(Link.kept, encrypted=True), tunnel=True),
)
