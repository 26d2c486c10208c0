"""mkinitcpio's presets: which kernels there are, and for which one the desktops' image is made."""

from __future__ import annotations

import re
from pathlib import Path

from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError

FOLDER = "/etc/mkinitcpio.d"
OURS = f"{FOLDER}/stiefelsystem.preset"
# mkinitcpio(8) sources a preset by bash. Plain words that are assigned are read, and nothing else;
# none has a ' in it, so that it can stand between two of them in a preset of ours.
_ASSIGNMENT = (
    r"""^[ \t]*{name}=("([^"'$`\\\n]*)"|'([^'\n]*)'|([^\s"'$`\\;&|<>()]*))[ \t]*(?:#.*)?$"""
)


def value(text: str, name: str) -> str:
    """What a preset assigns to `name` at last; empty if that is nothing, or no plain word."""
    found = re.findall(_ASSIGNMENT.format(name=re.escape(name)), text, re.MULTILINE)
    return "".join(found[-1][1:]) if found else ""


def kernel_of_ours(text: str) -> str:
    """The kernel that our own preset, of this text, is for; empty if that is not plainly told."""
    return value(text, "stiefel_kver") or value(text, "ALL_kver")


def kernels(root: Path) -> list[str]:
    """The kernels, by their paths, for which the user's own presets make images."""
    tree = Tree(root)
    found: dict[str, None] = {}
    for path in tree.files(Path(FOLDER), ".preset"):
        if str(path) == OURS:
            continue
        try:
            kernel = value(tree.text(path), "ALL_kver")
        except StiefelError:
            continue  # no text: nothing of mkinitcpio's
        if kernel.startswith("/"):  # not a version, or a pattern
            found[kernel] = None
    return list(found)
