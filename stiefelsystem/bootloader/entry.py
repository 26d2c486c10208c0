"""What a boot loader would start, and which boot loaders there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stiefelsystem.console import StiefelError

# What to do where a configuration cannot be understood.
OVERRIDE = "name kernel, initrd and cmdline under boot.load in config.yaml"

Kind = Literal["bls", "grub", "syslinux", "uki"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a boot menu; all paths are those of the system's own tree, and are there.

    For a unified kernel image, `kernel` is that image, and the initrds are in it.
    """

    title: str
    kernel: Path
    initrds: tuple[Path, ...] = ()
    cmdline: str = ""
    source: Path
    kind: Kind
    loader: str = ""  # its name, once it is known which loader reads the source
    notes: tuple[str, ...] = ()  # what is left out, or may not work elsewhere


@dataclass(frozen=True, kw_only=True)
class Found:
    """A boot loader that is installed, and its default entry, or why that cannot be known."""

    loader: str
    config: Path
    entry: Entry | None = None
    problem: StiefelError | None = None


def misunderstood(place: str, what: str) -> StiefelError:
    """The error for a place in a configuration (file, or file and line) that gives no answer."""
    return StiefelError(f"{place}: {what}", hint=OVERRIDE)
