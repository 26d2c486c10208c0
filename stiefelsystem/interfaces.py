"""The machine's wired network interfaces, as they are now."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NamedTuple

_SYS = Path("/sys/class/net")
# linux/if_arp.h: ARPHRD_ETHER.
_ETHERNET = "1"
# linux/if.h: IFF_UP.
UP = 1
# DEVTYPE in the kernel's uevents.
_NOT_WIRED = {"bluetooth", "bridge", "vlan", "wlan", "wwan"}


class Interface(NamedTuple):
    """A wired interface, as it is now."""

    name: str
    index: int  # type: ignore[assignment]  # nobody looks for an element of it
    up: bool
    carrier: bool


def wired() -> list[Interface]:
    """All wired interfaces, sorted by name. Wireless ones have no cable to trust."""
    found = []
    for folder in sorted(_SYS.iterdir()) if _SYS.exists() else []:
        try:
            if not _is_wired(folder):
                continue
            up = bool(int(_read(folder / "flags"), 16) & UP)
            # The carrier of an interface that is down cannot be read.
            carrier = up and _read(folder / "carrier") == "1"
            found.append(Interface(folder.name, socket.if_nametoindex(folder.name), up, carrier))
        except OSError:
            continue  # unplugged while we looked
    return found


def is_wired(ifindex: int) -> bool:
    """Whether the interface with this number is there, and wired."""
    try:
        return _is_wired(_SYS / socket.if_indextoname(ifindex))
    except OSError:
        return False


def _is_wired(folder: Path) -> bool:
    """Whether an interface has Ethernet's frames, and a cable: wireless ones do not, nor bridges,
    which repeat what their members hear."""
    if _read(folder / "type") != _ETHERNET:
        return False
    if (folder / "phy80211").exists() or (folder / "wireless").exists():
        return False
    lines = _read(folder / "uevent").splitlines()
    kinds = [line.removeprefix("DEVTYPE=") for line in lines if line.startswith("DEVTYPE=")]
    return not _NOT_WIRED.intersection(kinds)


def mac(interface: str) -> str:
    """The MAC address of an interface: six hex bytes with colons."""
    return _read(_SYS / interface / "address")


def _read(path: Path) -> str:
    return path.read_text().strip()
