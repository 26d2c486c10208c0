"""What GRUB's scripts make: entries of a menu, and what the commands of an entry load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stiefelsystem.bootloader import bls
from stiefelsystem.bootloader.grub_condition import Value
from stiefelsystem.bootloader.grub_script import Block

# Options of `menuentry` with a value, which may be the next word.
_HAS_VALUE = ("--class", "--users", "--hotkey", "--source", "--id")


@dataclass(frozen=True, kw_only=True)
class MenuItem:
    """A `menuentry` or `submenu`, or an entry that `blscfg` made."""

    place: str
    title: Value
    id: Value
    body: Block
    is_submenu: bool = False
    is_certain: bool = True
    entry: bls.Item | None = None


@dataclass
class Loaded:
    """What the commands of an entry have loaded so far."""

    place: str = ""
    kernel: Value = ""
    words: tuple[Value, ...] = ()
    initrds: tuple[Value, ...] = ()
    root: Value = ""
    other: str = ""  # a command that boots something else
    is_certain: bool = True


def labels(words: Sequence[Value]) -> tuple[Value, Value]:
    """The title and the id among the words of a `menuentry`."""
    title: Value = ""
    identity: Value = ""
    rest = iter(words)
    seen = False
    for word in rest:
        if isinstance(word, str) and word.startswith("--"):
            option, separator, value = word.partition("=")
            given = value if separator else (next(rest, "") if option in _HAS_VALUE else "")
            identity = given if option == "--id" else identity
        elif not seen:
            title, seen = word, True
    return title, identity
