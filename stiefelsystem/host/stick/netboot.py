"""What a boot server hands out instead of a stick: the same, but for the key."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import loaders, menu
from stiefelsystem.host.stick.contents import Contents
from stiefelsystem.host.stick.layout import MENU, NET_CONFIG, SET, SETS, in_set

_OTHER_FOLDER = "name another folder; or remove it, if it may go"


def write(folder: Path, contents: Contents) -> None:
    """Make the folder, or replace one that was made here, as a whole.

    Raises `StiefelError` for a folder with anything else in it.
    """
    folder = folder.resolve()
    if folder.exists():
        _refuse_other_folder(folder, contents)
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


def _refuse_other_folder(folder: Path, contents: Contents) -> None:
    """Every file in it has to be one that would be written now. Without a menu, none is ours: the
    boot loaders' names are usual."""
    if not folder.is_dir():
        raise StiefelError(f"{folder} is there already, and is no folder", hint=_OTHER_FOLDER)
    ours = _names(contents) if (folder / MENU).is_file() else set()
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name not in ours and (path.is_symlink() or not path.is_dir()):
            raise StiefelError(
                f"{folder} is there already, and {name} in it is not what setup-client-usbdrive"
                " writes",
                hint=_OTHER_FOLDER,
            )


def _names(contents: Contents) -> set[str]:
    """All files of the folder, by `_lay_out`."""
    net = contents.loaders / loaders.NET
    of_loaders = {str(path.relative_to(net)) for path in net.rglob("*") if path.is_file()}
    of_set = {in_set(SETS[0], file) for file in (*contents.files, SET)}
    return of_loaders | of_set | {MENU, NET_CONFIG}


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
