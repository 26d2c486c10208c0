"""Kernel command lines: what the ramdisk is told by its own, and what it tells the target.

Values with blanks travel in base64. Nothing here is secret: everyone on a machine can read its
command line.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stiefelsystem.console import StiefelError

SERVER_UNIT = "systemd.unit=stiefel-server.service"
CLIENT_UNIT = "systemd.unit=stiefel-client.service"
# Of a value that a peer has sent.
_SHOWN = 100


def running() -> str:
    """The command line of the running kernel."""
    return Path("/proc/cmdline").read_text().strip()


def encode(text: str) -> str:
    """Text as one word."""
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decode(name: str, word: str) -> str:
    try:
        return base64.b64decode(word, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise StiefelError(f"kernel command line: {name} is not base64: {word}") from error


def _values(cmdline: str) -> dict[str, str]:
    """The `name=value` words of a command line; the last one of a name counts."""
    pairs = (word.partition("=") for word in cmdline.split())
    return {name: value for name, separator, value in pairs if separator}


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What the server must know: the disk, the partition with the kernel, and what to load."""

    disk: Path
    part: Path
    kernel: str
    initrd: str
    cmdline: str

    def words(self) -> str:
        """The settings as they stand on the ramdisk's command line."""
        words = {
            "stiefel_bootdisk": str(self.disk),
            "stiefel_bootpart": str(self.part),
            "stiefel_kernel": self.kernel,
            "stiefel_initrd": self.initrd,
            "stiefel_cmdline": encode(self.cmdline),
        }
        for name, value in words.items():
            if not value.isprintable() or any(c in value for c in " \"'"):
                raise StiefelError(f"{name}: {value!r} cannot stand on a kernel command line")
        return " ".join(f"{name}={value}" for name, value in words.items())

    @classmethod
    def parse(cls, cmdline: str) -> Self:
        """Read the settings back. Raises `StiefelError` for what is missing."""
        values = _values(cmdline)
        needed = "disk", "part"
        for name in (f"stiefel_boot{what}" for what in needed):
            if not values.get(name):
                raise StiefelError(
                    f"kernel command line: {name}= is missing",
                    hint="the server is booted by stiefel-autokexec, or with this word by hand",
                )
        return cls(
            disk=Path(values["stiefel_bootdisk"]),
            part=Path(values["stiefel_bootpart"]),
            kernel=values.get("stiefel_kernel") or "vmlinuz-*",
            initrd=values.get("stiefel_initrd") or "initrd.img-*",
            cmdline=_decode("stiefel_cmdline", values.get("stiefel_cmdline", "")),
        )


def inner(cmdline: str) -> str:
    """What the client shall add to the target's command line."""
    name = "stiefel_innercmdline"
    return _decode(name, _values(cmdline).get(name, ""))


@dataclass(frozen=True, kw_only=True)
class Link:
    """What the target's hook must know to reach its disk."""

    mac: str
    address: str
    server: str
    port: int
    export: str
    sector_size: int

    def words(self) -> str:
        """The settings as they stand on the target's command line; nbd-hook/lib reads them.

        Raises `StiefelError` for a value that the hook would refuse.
        """
        values = {
            "stiefel_link": (self.mac, "[0-9a-f:]+"),
            "stiefel_address": (self.address, "[0-9a-f:]+"),
            "stiefel_server": (self.server, "[0-9a-f:]+"),
            "stiefel_port": (self.port, "[0-9]+"),
            "stiefel_export": (self.export, "[a-z0-9-]+"),
            "stiefel_sector": (self.sector_size, "[0-9]+"),
        }
        for name, (value, allowed) in values.items():
            # What a peer has sent may be of any type.
            if not re.fullmatch(allowed, str(value)):
                shown = repr(value)[:_SHOWN]
                raise StiefelError(f"{name}: {shown} is not what the target's hook takes")
        return " ".join(f"{name}={value}" for name, (value, _) in values.items())
