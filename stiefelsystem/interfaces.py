"""The machine's wired network interfaces, as they are now."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

_SYS = Path("/sys/class/net")
# linux/if_arp.h: ARPHRD_ETHER.
_ETHERNET = "1"
# linux/if.h: IFF_UP.
_UP = 1


@dataclass(frozen=True)
class Interface:
    """A wired interface, as it is now."""

    name: str
    index: int
    up: bool
    carrier: bool


def wired() -> list[Interface]:
    """All wired interfaces, sorted by name. Wireless ones have no cable to trust."""
    found = []
    for folder in sorted(_SYS.iterdir()) if _SYS.exists() else []:
        try:
            if _read(folder / "type") != _ETHERNET or (folder / "phy80211").exists():
                continue
            up = bool(int(_read(folder / "flags"), 16) & _UP)
            # The carrier of an interface that is down cannot be read.
            carrier = up and _read(folder / "carrier") == "1"
            found.append(Interface(folder.name, socket.if_nametoindex(folder.name), up, carrier))
        except OSError:
            continue  # unplugged while we looked
    return found


def mac(interface: str) -> str:
    """The MAC address of an interface: six hex bytes with colons."""
    return _read(_SYS / interface / "address")


def _read(path: Path) -> str:
    return path.read_text().strip()
