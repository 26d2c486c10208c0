"""Which boot loader this machine uses, and what that boots by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from stiefelsystem.bootloader import efi, grub, pe, syslinux, systemd_boot, uki, words
from stiefelsystem.bootloader.entry import OVERRIDE, Entry, Found, misunderstood
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError

# A unified kernel image that the firmware starts without any loader.
FIRMWARE = "the firmware"
# How systemd finds a root that no word names: by what its own loader, or stub, has noted.
_DISCOVERED = "the root filesystem is found by EFI variables that only this machine has: add root="


def find(root: Path) -> list[Found]:
    """All boot loaders that are installed in the tree below `root`, with what each boots by
    default, or why that cannot be known."""
    return _find(Tree(root))


def default(root: Path) -> Entry:
    """What this machine boots by default. Raises `StiefelError` if that cannot be known: no
    loader, several of which none is known to be used, or a configuration that is not understood."""
    tree = Tree(root)
    found = _find(tree)
    used, path = _used(tree)
    mine = [one for one in found if one.loader == used] if used else found
    if path:
        mine = [_found(FIRMWARE, path, _image)(tree)]
    if used and not mine:
        raise StiefelError(
            f"this machine is booted by {used}, of which no configuration is found",
            hint=f"mount the partition that it is on; or {OVERRIDE}",
        )
    if not mine:
        raise StiefelError(
            f"no boot loader's configuration is found in {root}",
            hint="GRUB, systemd-boot, unified kernel images and syslinux are known: mount /boot and"
            f" the EFI system partition; or {OVERRIDE}",
        )
    if len(mine) > 1:
        names = "; ".join(f"{one.loader} ({one.config})" for one in mine)
        raise StiefelError(f"several boot loaders are installed: {names}", hint=OVERRIDE)
    if mine[0].entry is None:
        assert mine[0].problem is not None
        raise mine[0].problem
    return mine[0].entry


def _find(tree: Tree) -> list[Found]:
    return [look(tree) for look in _looks(tree)]


def _looks(tree: Tree) -> Iterator[Callable[[Tree], Found]]:
    grubs = grub.configs(tree)
    for config in grubs:
        yield _found(grub.NAME, config, grub.default)
    conf = systemd_boot.config(tree)
    # Entries alone may be GRUB's.
    if conf and not (grubs and tree.is_folder(conf)):
        yield _found(systemd_boot.NAME, conf, systemd_boot.default)
    elif not grubs and (images := systemd_boot.images(tree)):
        yield _found(FIRMWARE, images[0], _only_image)
    if syslinux_config := syslinux.config(tree):
        yield _found(syslinux.NAME, syslinux_config, syslinux.default)


def _found(name: str, config: Path, read: Callable[[Tree, Path], Entry]) -> Callable[[Tree], Found]:
    def look(tree: Tree) -> Found:
        try:
            entry = replace(_checked(read(tree, config)), loader=name)
        except StiefelError as error:
            return Found(loader=name, config=config, problem=error)
        return Found(loader=name, config=config, entry=entry)

    return look


def _image(tree: Tree, path: Path) -> Entry:
    return uki.entry(tree, uki.parse(tree, path))


def _only_image(tree: Tree, path: Path) -> Entry:
    """The one unified kernel image, where nothing tells which one the firmware starts."""
    images = systemd_boot.images(tree)
    if len(images) > 1:
        names = ", ".join(str(image) for image in images)
        raise misunderstood(str(path.parent), f"there are several unified kernel images: {names}")
    return _image(tree, path)


def _checked(entry: Entry) -> Entry:
    """The entry with its command line on one line, and a note if that names no root."""
    entry = replace(entry, cmdline=" ".join(words.split(entry.cmdline)))
    if not entry.cmdline.isprintable():
        raise misunderstood(str(entry.source), f"its command line is no text: {entry.cmdline!r}")
    root = words.value(entry.cmdline, "root")
    if root is None or root in ("gpt-auto", "gpt-auto-force", "dissect"):
        return replace(entry, notes=(*entry.notes, _DISCOVERED))
    return entry


def _used(tree: Tree) -> tuple[str, Path | None]:
    """The loader that the firmware starts, as far as it is known, and the path of the image if that
    is a unified kernel image: as the loader has noted itself, else by the firmware's boot order."""
    if info := efi.loader_text(tree, "LoaderInfo"):
        known = (grub.NAME, systemd_boot.NAME)
        return next((name for name in known if info.lower().startswith(name.lower())), info), None
    if efi.loader_text(tree, "StubInfo"):
        path = efi.find_file(tree, efi.loader_text(tree, "LoaderImageIdentifier"))
        if path and uki.is_image(tree, path):
            return FIRMWARE, path
    for option in efi.boot_options(tree):
        path = efi.find_file(tree, option.path)
        if path and (kind := _kind(tree, path)):
            return kind, path if kind == FIRMWARE else None
    return "", None


def _kind(tree: Tree, path: Path) -> str:
    """What loader an EFI program is: by its sections, else by its name."""
    if uki.is_image(tree, path):
        return FIRMWARE
    names = _sections(tree, path)
    if ".sdmagic" in names or path.name.lower().startswith("systemd-boot"):
        return systemd_boot.NAME
    # shim starts the grub*.efi beside it.
    if "mods" in names or path.name.lower().startswith(("grub", "shim")):
        return grub.NAME
    return syslinux.NAME if path.name.lower().startswith("syslinux") else ""


def _sections(tree: Tree, path: Path) -> set[str]:
    try:
        with tree.real(path).open("rb") as file:
            return {section.name for section in pe.sections(file, str(path))}
    except (OSError, StiefelError):
        return set()
