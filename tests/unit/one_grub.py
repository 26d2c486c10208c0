"""A tree with a grub.cfg, and the entry that it boots by default."""

from __future__ import annotations

from pathlib import Path

from stiefelsystem.bootloader import grub
from stiefelsystem.bootloader.entry import Entry
from stiefelsystem.bootloader.places import Tree
from tests.unit.bootloader import empty, make

CONFIG = Path("/boot/grub/grub.cfg")


def default(root: Path, config: str = CONFIG.as_posix()) -> Entry:
    return grub.default(Tree(root), Path(config))


def script(root: Path, text: str, **more: str) -> Path:
    files = empty("boot/vmlinuz", "boot/initrd.img", "boot/vmlinuz-2", "boot/initrd.img-2")
    return make(root, {"boot/grub/grub.cfg": text, **files, **more})
