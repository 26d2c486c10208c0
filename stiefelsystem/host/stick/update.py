"""A stick that is there gets another ramdisk; until that is whole, it boots the one it has."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError, step, warn
from stiefelsystem.host import tree
from stiefelsystem.host.stick import chains, compose, loaders, menu
from stiefelsystem.host.stick.contents import WRAPPED, Contents
from stiefelsystem.host.stick.fat import AFRESH, Fat, beginning
from stiefelsystem.host.stick.layout import (
    EFI_CONFIG,
    FOLDER,
    MBR_FIRST_START,
    MENU,
    SECRETS,
    SECTOR,
    SET,
    SETS,
    UNNAMED,
    in_set,
)
from stiefelsystem.run import run

# The signature of a master boot record, at its end.
_SIGNATURE = b"\x55\xaa"
_NAMED = 3
_SECONDS = 30.0


def update(path: Path, contents: Contents) -> None:
    """Put another set onto the stick, a device or an image, in the place of the older one.

    The boot loaders stay: they cannot be replaced without a moment in which nothing boots. Raises
    `StiefelError` for what is no stick of ours, keeps its key in the other way, has no room, fails,
    or reads back as something else; then it boots what it had.
    """
    fat = replace(open_stick(path), time=contents.time)
    numbers = {name: menu.number_of(fat.text(in_set(name, SET)), name) for name in SETS}
    _refuse_other_key(fat, [name for name in SETS if numbers[name]], wrapped=contents.wrapped)
    _tell_what_stays(fat, contents.loaders)
    # Of two that are equal, GRUB boots the first one.
    older = min(reversed(SETS), key=lambda name: numbers[name])
    with step("replace the older set of kernel and ramdisk"):
        try:
            chains.prepare(path, fat.offset, f"{FOLDER}/{older}")
            with _freeing(fat, older, contents):
                compose.put_set(fat, older, contents, number=max(numbers.values()) + 1)
        except StiefelError as error:
            raise StiefelError(f"the stick keeps what it had: {error}", hint=error.hint) from error


def update_image(image: Path, contents: Contents) -> None:
    """The same for an image file, which nobody but its owner can read from then on.

    Raises `StiefelError` for one that another program of ours updates, too, or that is a loop
    device's.
    """
    with _claimed(image) as handle:
        _make_private(handle, image)
        update(image, contents)


def open_stick(path: Path) -> Fat:
    """The filesystem of a stick. Raises `StiefelError` for what is none of ours."""
    record = beginning(path, SECTOR)
    wrong = f"{path} is no stick of stiefelsystem"
    if len(record) == SECTOR and record.endswith(_SIGNATURE):
        (first,) = struct.unpack_from("<I", record, MBR_FIRST_START)
        fat = Fat(path, first * SECTOR)
        try:
            if first and fat.text(MENU):
                return fat
        except StiefelError as error:
            raise StiefelError(
                f"{wrong}, as far as can be told: {error}", hint=error.hint
            ) from error
    raise StiefelError(wrong, hint=AFRESH)


def _refuse_other_key(fat: Fat, valid: Collection[str], *, wrapped: bool) -> None:
    """A set that is not replaced keeps its key, and what is overwritten by a file need not be gone
    from the medium. So a stick's key is wrapped from the beginning, or never; and where it cannot
    be told which, as without a valid set, nothing is put there."""
    if not valid:
        raise StiefelError(f"neither of the sets on {fat.path} is whole", hint=AFRESH)
    for name in valid:
        archive = fat.text(in_set(name, SECRETS))
        is_wrapped, is_plain = (f"{path}\0" in archive for path in (WRAPPED, tree.KEY_PATH))
        if not is_wrapped and not is_plain:
            raise StiefelError(f"{fat.path} has no key in {in_set(name, SECRETS)}", hint=AFRESH)
        if wrapped and is_plain:
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


@contextmanager
def _claimed(image: Path) -> Iterator[int]:
    """For us alone, as far as programs of ours go: mtools would not notice another's writing."""
    try:
        handle = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise StiefelError(f"cannot open {image} for writing: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StiefelError(
                f"another program of stiefelsystem updates {image}", hint="wait until it is done"
            ) from error
        _refuse_attached(image)
        yield handle
    finally:
        os.close(handle)


def _refuse_attached(image: Path) -> None:
    """A loop device has pages of its own, and who has mounted it would not notice our writing."""
    command = ["losetup", "--noheadings", "--output", "NAME", "--associated", str(image)]
    devices = run(command, check=False, timeout=_SECONDS).stdout.split()
    if devices:
        raise StiefelError(
            f"{image} is attached to {' and '.join(devices)}",
            hint=f"losetup --detach {devices[0]}; or update that device, without --image",
        )


def _make_private(handle: int, image: Path) -> None:
    if stat.S_IMODE(os.fstat(handle).st_mode) & 0o077:
        try:
            os.fchmod(handle, 0o600)
        except OSError as error:
            warn(f"{image} holds the key, and others may have access to it: {error.strerror}")


@contextmanager
def _freeing(fat: Fat, name: str, contents: Contents) -> Iterator[None]:
    """After an error or Ctrl-C, remove what there is of a set that is not valid: its owner may
    have use for the room."""
    try:
        yield
    except BaseException:
        with suppress(StiefelError):
            if not fat.exists(in_set(name, SET)):
                for file in (*contents.files, UNNAMED):
                    fat.remove(in_set(name, file))
        raise


def _tell_what_stays(fat: Fat, folder: Path) -> None:
    """Warn of what an update leaves as it is where a stick that is written now has another."""
    esp = folder / loaders.ESP
    paths = sorted(path for path in esp.rglob("*") if path.is_file())
    names = {str(path.relative_to(esp)): path for path in paths}
    others = [name for name, path in names.items() if fat.digest(name) != files.digest(path)]
    if not compose.has_bios_loader(fat, folder):
        others.insert(0, "GRUB for a BIOS")
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        warn(
            "boot loaders on the stick are others than the ramdisk's build has, and stay:"
            f" {', '.join(others[:_NAMED])}{more}; only writing it anew replaces them"
        )
    if fat.text(MENU) != menu.menu() or fat.text(EFI_CONFIG) != menu.EFI_CONFIG:
        warn("the stick's menu is another version's, and stays; only writing it anew replaces it")
