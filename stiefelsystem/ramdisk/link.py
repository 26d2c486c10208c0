"""Bringing up the links on which the other machine may be."""

from __future__ import annotations

from pathlib import Path

from stiefelsystem.interfaces import Interface, wired
from stiefelsystem.run import run

_CONF = Path("/proc/sys/net/ipv6/conf")


def bring_up(interface: Interface) -> None:
    """Switch an interface on, with a link-local address that can be used at once.

    Duplicate address detection would cost a second or two; the address is made from the NIC's own
    MAC, and a link of two machines has no third.
    """
    settings = {"disable_ipv6": "0", "accept_dad": "0", "addr_gen_mode": "0"}
    for name, value in settings.items():
        path = _CONF / interface.name / name
        try:
            path.write_text(value)
        except OSError:
            continue  # gone; the next round sees what is there
    run(["ip", "link", "set", "dev", interface.name, "up"], check=False)


def usable() -> list[Interface]:
    """The interfaces that have a carrier; those that are down are brought up first."""
    for interface in wired():
        if not interface.up:
            bring_up(interface)
    return [interface for interface in wired() if interface.carrier]
