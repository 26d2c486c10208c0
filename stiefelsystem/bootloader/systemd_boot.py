"""systemd-boot: its entries, and which of them it boots by default.

systemd-boot(7), loader.conf(5), and the Boot Loader Interface tell. One-time choices
(LoaderEntryOneShot) are no defaults, and are left aside.
"""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path

from stiefelsystem.bootloader import bls, efi, uki
from stiefelsystem.bootloader.bls import Item
from stiefelsystem.bootloader.entry import Entry, misunderstood
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError

NAME = "systemd-boot"
_CONF = Path("loader/loader.conf")
_MACHINE_ID = Path("/etc/machine-id")
_IMAGES = Path("EFI/Linux")
# EFI's names for this machine's architecture; entries for another one are not shown.
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "aa64", "i686": "ia32", "riscv64": "riscv64"}


def config(tree: Tree) -> Path | None:
    """The loader.conf, or the program, or the folder of entries that tells that it is installed."""
    for point in tree.boot_points:
        if tree.is_file(point / _CONF):
            return point / _CONF
        if programs := tree.files(point / "EFI/systemd", ".efi"):
            return programs[0]
    folders = [point / bls.FOLDER for point in tree.boot_points]
    return next((folder for folder in folders if tree.files(folder, ".conf")), None)


def default(tree: Tree, source: Path) -> Entry:
    """What it boots by default; `source` is what `config` has found.

    Raises `StiefelError` if there is no entry that boots a Linux that is there.
    """
    items = bls.in_order(item for item in _items(tree) if _boots_linux(tree, item))
    if not items:
        raise misunderstood(str(source), "no entry of systemd-boot boots a Linux kernel")
    return _entry(tree, _chosen(tree, items))


def images(tree: Tree) -> list[Path]:
    """The unified kernel images where loaders look for them."""
    found = [path for point in tree.boot_points for path in tree.files(point / _IMAGES, ".efi")]
    return [path for path in found if uki.is_image(tree, path)]


def _items(tree: Tree) -> list[Item]:
    found = [item for point in tree.boot_points for item in bls.read(tree, point / bls.FOLDER)]
    return found + [_image_item(tree, path) for path in images(tree)]


def _image_item(tree: Tree, path: Path) -> Item:
    """A unified kernel image has its sort key and version from the os-release within."""
    release = uki.parse(tree, path).release
    sort_key = release.get("IMAGE_ID") or release.get("ID", "")
    names = ("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID")
    version = next((release[name] for name in names if release.get(name)), "")
    return Item(path=path, values={"uki": [""], "sort-key": [sort_key], "version": [version]})


def _boots_linux(tree: Tree, item: Item) -> bool:
    """Whether an entry is shown, and starts Linux; what cannot be read is not shown, either."""
    machine = _ARCHITECTURES.get(os.uname().machine, "")
    wanted = item.last("architecture").lower()
    program = _program(tree, item)
    if program is None or (wanted and machine and wanted != machine):
        return False
    return bool(item.last("linux")) or uki.is_image(tree, program)


def _program(tree: Tree, item: Item) -> Path | None:
    """What an entry starts, if it is there."""
    if not item.path.name.lower().endswith(".conf"):
        return item.path
    name = item.last("linux") or item.last("uki") or item.last("efi")
    path = _point(item) / name.replace("\\", "/").lstrip("/")
    return path if name and tree.is_file(path) else None


def _point(item: Item) -> Path:
    """Where the filesystem with an entry is mounted: paths in it begin there."""
    return item.path.parents[2]


def _chosen(tree: Tree, items: list[Item]) -> Item:
    """The first entry that a default names, the user's choice in the menu before loader.conf's."""
    conf = next((point / _CONF for point in tree.boot_points if tree.is_file(point / _CONF)), None)
    settings = bls.parse(conf, tree.text(conf)) if conf else Item(path=Path("/"))
    for pattern in (efi.loader_text(tree, "LoaderEntryDefault"), settings.last("default")):
        wanted = efi.loader_text(tree, "LoaderEntryLastBooted") if pattern == "@saved" else pattern
        if matching := [item for item in items if _matches(item, wanted)]:
            return matching[0]
    return items[0]


def _matches(item: Item, pattern: str) -> bool:
    try:
        return fnmatch.fnmatchcase(item.id.lower(), pattern.lower())
    except re.error:  # a pattern that is none matches nothing
        return False


def _entry(tree: Tree, item: Item) -> Entry:
    program = _program(tree, item)
    if program is None:
        raise misunderstood(str(item.path), "what it boots is not there any more")
    if uki.is_image(tree, program):
        if item.all("options"):
            raise misunderstood(
                str(item.path),
                "has options for a unified kernel image, which may refuse them",
            )
        return uki.entry(tree, uki.parse(tree, program), source=item.path)
    return Entry(
        title=item.last("title") or item.id,
        kernel=program,
        initrds=tuple(_initrd(tree, item, name) for name in item.values.get("initrd", ())),
        cmdline=item.all("options"),
        source=item.path,
        kind="bls",
        notes=_whose(tree, item),
    )


def _whose(tree: Tree, item: Item) -> tuple[str, ...]:
    """A note, if the entry belongs to another installation."""
    own = tree.text(_MACHINE_ID).strip() if tree.is_file(_MACHINE_ID) else ""
    other = item.last("machine-id")
    if own and other and own != other:
        return (f"{item.path} belongs to another system on this machine, by its machine-id",)
    return ()


def _initrd(tree: Tree, item: Item, name: str) -> Path:
    path = _point(item) / name.replace("\\", "/").lstrip("/")
    if not tree.is_file(path):
        raise StiefelError(
            f"{item.path}: there is no initrd {path}", hint="make the initrd anew, or the entry"
        )
    return path
