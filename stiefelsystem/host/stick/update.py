"""A stick that is there gets another ramdisk; until that is whole, it boots the one it has."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError, step, warn
from stiefelsystem.host import tree
from stiefelsystem.host.stick import compose, loaders, menu
from stiefelsystem.host.stick.contents import WRAPPED, Contents
from stiefelsystem.host.stick.fat import Fat
from stiefelsystem.host.stick.layout import (
    MBR_FIRST_START,
    MENU,
    SECRETS,
    SECTOR,
    SET,
    SETS,
    in_set,
)

# The signature of a master boot record, at its end.
_SIGNATURE = b"\x55\xaa"
_AFRESH = "write it anew, without --update; what else is on it is lost then"


def update(path: Path, contents: Contents) -> None:
    """Put another set onto the stick, a device or an image, in the place of the older one.

    The boot loaders stay: they cannot be replaced without a moment in which nothing boots. Raises
    `StiefelError` for what is no stick of ours, keeps its key in the other way, has no room, or
    reads back as something else; then it boots what it had.
    """
    fat = replace(open_stick(path), time=contents.time)
    _refuse_other_key(fat, wrapped=contents.wrapped)
    numbers = {name: menu.number_of(fat.text(in_set(name, SET)), name) for name in SETS}
    # Of two that are equal, GRUB boots the first one.
    older = min(reversed(SETS), key=lambda name: numbers[name])
    with step("replace the older set of kernel and ramdisk"):
        try:
            compose.put_set(fat, older, contents, number=max(numbers.values()) + 1)
        except StiefelError as error:
            _free(fat, older, contents)
            raise StiefelError(f"the stick keeps what it had: {error}", hint=_AFRESH) from error
    _compare_loaders(fat, contents.loaders)


def open_stick(path: Path) -> Fat:
    """The filesystem of a stick. Raises `StiefelError` for what is none of ours."""
    try:
        with path.open("rb") as file:
            record = file.read(SECTOR)
    except OSError as error:
        raise StiefelError(f"cannot read {path}: {error.strerror}") from error
    if len(record) == SECTOR and record.endswith(_SIGNATURE):
        (first,) = struct.unpack_from("<I", record, MBR_FIRST_START)
        fat = Fat(path, first * SECTOR)
        if first and fat.text(MENU):
            return fat
    raise StiefelError(f"{path} is no stick of stiefelsystem", hint=_AFRESH)


def _refuse_other_key(fat: Fat, *, wrapped: bool) -> None:
    """A set that is not replaced keeps its key, and what is overwritten by a file need not be gone
    from the medium. So a stick's key is wrapped from the beginning, or never."""
    for name in SETS:
        archive = fat.text(in_set(name, SECRETS))
        is_wrapped = f"{WRAPPED}\0" in archive
        if wrapped and not is_wrapped and f"{tree.KEY_PATH}\0" in archive:
            raise StiefelError(
                f"{fat.path} has the key as it is, and an update does not remove it",
                hint="write it anew, with --passphrase and without --update; or leave that out",
            )
        if is_wrapped and not wrapped:
            raise StiefelError(
                f"{fat.path} has the key wrapped by a passphrase; an update would put it there as"
                " it is",
                hint="--passphrase, or write it anew, without --update",
            )


def _free(fat: Fat, name: str, contents: Contents) -> None:
    """Remove what there is of a set that is not valid: its owner may have use for the room."""
    with suppress(StiefelError):
        if not fat.exists(in_set(name, SET)):
            for file in contents.files:
                fat.remove(in_set(name, file))


def _compare_loaders(fat: Fat, folder: Path) -> None:
    for path in sorted((folder / loaders.ESP / "EFI").rglob("*.*")):
        name = str(path.relative_to(folder / loaders.ESP))
        if not fat.exists(name) or fat.digest(name) != files.digest(path):
            warn(f"the stick's boot loader {name} is another one than Debian has now; it stays")
            return
