"""What a boot server hands out instead of a stick: the same, but for the key."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import loaders, menu
from stiefelsystem.host.stick.contents import Contents
from stiefelsystem.host.stick.layout import FOLDER, MENU, NET_CONFIG, SET, SETS, in_set

# The boot loaders' own folder, and those of the menu and of what leads to it.
_TOP = {"EFI", FOLDER, NET_CONFIG.partition("/")[0]}


def write(folder: Path, contents: Contents) -> None:
    """Make the folder, or replace one that was made here, as a whole.

    Raises `StiefelError` for a folder with anything else in it.
    """
    folder = folder.resolve()
    if folder.exists() and not _is_ours(folder):
        raise StiefelError(
            f"{folder} is there already, and is not just what setup-client-usbdrive has made",
            hint="name a folder that does not exist",
        )
    if not folder.parent.is_dir():
        raise StiefelError(f"cannot make {folder}: there is no folder {folder.parent}")
    unique = os.urandom(8).hex()
    new, old = (folder.with_name(f".{folder.name}.{unique}.{end}") for end in ("new", "old"))
    try:
        _lay_out(new, contents)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder, and empty, or with nothing at its top but what is made here."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or (names == _TOP and (folder / MENU).exists())


def _lay_out(folder: Path, contents: Contents) -> None:
    shutil.copytree(contents.loaders / loaders.NET, folder)
    for file, source in contents.files.items():
        target = folder / in_set(SETS[0], file)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    files.write(folder / MENU, menu.menu(network=True))
    (folder / NET_CONFIG).parent.mkdir()
    files.write(folder / NET_CONFIG, menu.EFI_CONFIG)
    files.write(folder / in_set(SETS[0], SET), menu.set_config(SETS[0], 1, contents.settings))
    # What a server of files by TFTP may not read, it does not hand out.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        files.belongs_to_invoker(path)
