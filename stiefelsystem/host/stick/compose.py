"""A stick's image: partition table, filesystem, boot loaders, one set of kernel and ramdisk."""

from __future__ import annotations

import math
import os
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import loaders, menu
from stiefelsystem.host.stick.contents import Contents
from stiefelsystem.host.stick.fat import Fat, beginning
from stiefelsystem.host.stick.layout import (
    EFI_CONFIG,
    FOLDER,
    INITRD,
    MBR_CODE,
    MENU,
    MIB,
    README,
    SECTOR,
    SET,
    SETS,
    UNNAMED,
    in_set,
)
from stiefelsystem.progress import Progress
from stiefelsystem.run import run

# With the smallest clusters, one sector each, FAT32 begins at 65,525 of them (Microsoft's FAT32
# File System Specification, "FAT type determination"); and its own tables, and a reserve.
_SMALLEST = 40 * MIB
_RESERVE = 6 * MIB
_SECONDS = 60.0
# What a 32 bit number of sectors can tell, less the place before the partition.
_LARGEST = (1 << 32) * SECTOR - 1 * MIB

_README = """\
This stick boots a computer that is connected to your laptop by a network cable, so that it runs the
laptop's own system from the laptop's own disk: stiefelsystem.

{key}
Whoever has it can change what it boots, too: keep it like a key.

What lies in the folder stiefelsystem, and EFI, belongs to it. All else is yours; it is left alone.
"""
_PLAIN = "It holds the key: whoever has this stick, or a copy of it, may use the laptop's disk."
_WRAPPED = "It holds the key, which wants a passphrase to be used."


def smallest(contents: Contents) -> int:
    """The bytes that a stick needs at least; then there is no room to update it."""
    size = contents.size + loaders.size(contents.loaders) + _RESERVE
    return contents.first * SECTOR + max(_SMALLEST, size)


def comfortable(contents: Contents) -> int:
    """The bytes of an image that can be updated, too."""
    size = 2 * contents.size + loaders.size(contents.loaders) + _RESERVE
    size = contents.first * SECTOR + max(math.ceil(size * 1.25), _SMALLEST)
    return math.ceil(size / (16 * MIB)) * 16 * MIB


def compose(image: Path, contents: Contents, *, size: int) -> None:
    """Make the image file, `size` bytes and sparse.

    Raises `StiefelError` if its partition begins too early, or a tool fails.
    """
    first = contents.first
    core = contents.loaders / loaders.BIOS_CORE
    if core.exists() and core.stat().st_size > (first - 1) * SECTOR:
        least = 1 + math.ceil(core.stat().st_size / SECTOR)
        raise StiefelError(
            f"the boot loader does not fit in front of sector {first}",
            hint=f"client-setup.first-sector: {least} or more; 2048 is usual",
        )
    os.truncate(image, size)
    sectors = min(size, _LARGEST) // SECTOR - first
    # Equal ramdisks make equal images.
    identity = files.digest(contents.files[INITRD])[:8]
    table = f"label: dos\nlabel-id: 0x{identity}\n"
    table += f"start={first}, size={sectors}, type=ef, bootable\n"
    run(["sfdisk", "--quiet", image], text=table, timeout=_SECONDS)
    if core.exists():
        _put_bios_loader(image, contents.loaders)
    fat = Fat.create(image, first=first, sectors=sectors, identity=identity, time=contents.time)
    fat.put_tree(contents.loaders / loaders.ESP)
    for name in (MENU, EFI_CONFIG):
        fat.make_folder(name.rpartition("/")[0])
    fat.put_text(menu.menu(), MENU)
    fat.put_text(menu.EFI_CONFIG, EFI_CONFIG)
    fat.put_text(_README.format(key=_WRAPPED if contents.wrapped else _PLAIN), README)
    # Both: a folder that an update makes may not be whole after a power cut.
    for name in SETS:
        fat.make_folder(f"{FOLDER}/{name}")
    put_set(fat, SETS[0], contents, number=1)


def put_set(fat: Fat, name: str, contents: Contents, *, number: int) -> None:
    """Write a set, which is valid only when all of it is on the medium, and is what was meant.

    Raises `StiefelError` for what reads back as something else.
    """
    # What makes it valid comes and goes by its name, which is in one sector: it has several itself,
    # and the table of the filesystem, which a power cut may part.
    fat.remove(in_set(name, UNNAMED))
    if fat.exists(in_set(name, SET)):
        fat.rename(in_set(name, SET), UNNAMED)
        fat.flush()
    # All of it, before any of it is written: after a power cut, a name may have what is free.
    for file in (UNNAMED, *contents.files):
        fat.remove(in_set(name, file))
    fat.flush()
    fat.make_folder(f"{FOLDER}/{name}")
    with Progress("writing kernel and ramdisk", contents.size) as progress:
        for file, source in contents.files.items():
            fat.put(source, in_set(name, file))
            fat.flush()
            progress.advance(source.stat().st_size)
    with Progress("reading them back", contents.size) as progress:
        for file, source in contents.files.items():
            if fat.digest(in_set(name, file), progress.advance) != files.digest(source):
                raise _something_else(in_set(name, file))
    unnamed, line = in_set(name, UNNAMED), menu.set_config(name, number, contents.settings)
    fat.put_text(line, unnamed)
    fat.flush()
    if fat.text(unnamed) != line:
        raise _something_else(unnamed)
    fat.rename(unnamed, SET)
    fat.flush()


def has_bios_loader(fat: Fat, folder: Path) -> bool:
    """Whether that of a stick is the one in a folder of loaders, or there is none to be had.

    Raises `StiefelError` if it cannot be read.
    """
    if not (folder / loaders.BIOS_CORE).exists():
        return True
    boot, core = ((folder / name).read_bytes() for name in (loaders.BIOS_BOOT, loaders.BIOS_CORE))
    found = beginning(fat.path, SECTOR + len(core))
    return found[:MBR_CODE] == boot[:MBR_CODE] and found[SECTOR:] == core


def _something_else(file: str) -> StiefelError:
    return StiefelError(
        f"{file} reads back as something else than was written",
        hint="the stick is worn out; take another one",
    )


def _put_bios_loader(image: Path, folder: Path) -> None:
    """GRUB's first sector, without a table of partitions, and its core right behind it, where the
    first one looks for it, and the second for its rest (grub-mkimage fills in how long it is)."""
    with image.open("r+b") as file:
        file.write((folder / loaders.BIOS_BOOT).read_bytes()[:MBR_CODE])
        file.seek(SECTOR)
        file.write((folder / loaders.BIOS_CORE).read_bytes())
