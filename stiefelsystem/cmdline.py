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
SHELL_UNIT = "systemd.unit=stiefel-rescue.service"


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
    """What the server must know: the disk, the partition with the kernel, what to load, and how it
    serves.

    Names are relative to the partition, as `boot_files.find` reads them; several initrds are
    separated by commas. An initrd that is the kernel stands for a unified kernel image.
    """

    disk: Path
    part: Path
    kernel: str
    initrd: str
    cmdline: str
    encryption: str = "wireguard"
    after: str = "reboot"
    wait: int = 600  # seconds
    swap: bool = False

    @property
    def initrds(self) -> tuple[str, ...]:
        """The initrds' names, in their order."""
        return tuple(self.initrd.split(","))

    def words(self) -> str:
        """The settings as they stand on the ramdisk's command line."""
        words = {
            "stiefel_bootdisk": str(self.disk),
            "stiefel_bootpart": str(self.part),
            "stiefel_kernel": self.kernel,
            "stiefel_initrd": self.initrd,
            "stiefel_cmdline": encode(self.cmdline),
            "stiefel_encryption": self.encryption,
            "stiefel_after": self.after,
            "stiefel_wait": str(self.wait),
            "stiefel_swap": "yes" if self.swap else "no",
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
            encryption=_one_of(values, "encryption", "wireguard", "none"),
            after=_one_of(values, "after", "reboot", "wait", "poweroff"),
            wait=_number(values, "wait", 600, most=10**6),
            swap=_one_of(values, "swap", "no", "yes") == "yes",
        )


def _one_of(values: dict[str, str], name: str, default: str, *others: str) -> str:
    value = values.get(f"stiefel_{name}") or default
    if value not in (default, *others):
        known = ", ".join((default, *others))
        raise StiefelError(f"kernel command line: stiefel_{name}={value} is none of {known}")
    return value


def _number(values: dict[str, str], name: str, default: int, *, most: int) -> int:
    value = values.get(f"stiefel_{name}") or str(default)
    if not re.fullmatch("[0-9]{1,9}", value) or not 0 < int(value) <= most:
        raise StiefelError(
            f"kernel command line: stiefel_{name}={value} is no number from 1 to {most}"
        )
    return int(value)


def inner(cmdline: str) -> str:
    """What the client shall add to the target's command line."""
    name = "stiefel_innercmdline"
    return _decode(name, _values(cmdline).get(name, ""))


def target(mac: str, *, swap: bool) -> str:
    """The words for the target: they tell that it is one, and by which NIC it has its disk.

    Swap on that disk would be memory at the other end of a cable, and could not be freed while it
    is out; systemd leaves it alone, and zram as it is: kernel-command-line(7).
    """
    return f"stiefel_link={mac}" + ("" if swap else " systemd.swap=0")
