"""GRUB: the entry that its grub.cfg boots by default.

The GRUB manual, "default", "submenu", "blscfg" and "The GRUB environment block". One-time choices
(next_entry) are no defaults, and are left aside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from stiefelsystem.bootloader import uki, words
from stiefelsystem.bootloader.efi import VARIABLES
from stiefelsystem.bootloader.entry import Entry, misunderstood
from stiefelsystem.bootloader.grub_condition import Unknown, Value
from stiefelsystem.bootloader.grub_menu import Loaded, MenuItem
from stiefelsystem.bootloader.grub_run import ANY_DISK, Context, Limits
from stiefelsystem.bootloader.places import BOOT_POINTS, TREE, Tree, split_device
from stiefelsystem.console import StiefelError

NAME = "GRUB"
_FOLDERS = tuple(point / name for point in BOOT_POINTS for name in ("grub", "grub2"))
_MAX_MENUS = 8


def configs(tree: Tree) -> list[Path]:
    """The grub.cfg of each GRUB that may be used; that on the EFI system partition only where there
    is no other, since it leads to the others."""
    found = [folder / "grub.cfg" for folder in _FOLDERS if tree.is_file(folder / "grub.cfg")]
    if not found:
        vendors = [path for point in tree.boot_points for path in _vendors(tree, point / "EFI")]
        found = [path / "grub.cfg" for path in vendors if tree.is_file(path / "grub.cfg")]
    return list({tree.real(path): path for path in found}.values())


def default(tree: Tree, source: Path) -> Entry:
    """What it boots by default. Raises `StiefelError`, with the line, if that cannot be known."""
    context = Context(tree, _variables(tree, source), Limits())
    context.run_file(source)
    item = _default_item(context, source)
    titles = [item.title]
    while item.is_submenu:
        if len(titles) > _MAX_MENUS:
            raise misunderstood(item.place, "menus are nested too deeply to be meant")
        chosen = context.variables.get("default", "")
        context = context.submenu()
        rest = _split_default(chosen)[1] if isinstance(chosen, str) else chosen
        context.variables["default"] = rest
        context.run(item.body)
        context.variables["default"] = rest  # a submenu's own script does not set it anew
        item = _default_item(context, source)
        titles.append(item.title)
    title = " > ".join(title for title in titles if isinstance(title, str))
    if item.entry:
        return _from_bls(context, source, item, title)
    return _from_commands(context, source, item, title)


def _vendors(tree: Tree, folder: Path) -> list[Path]:
    """What is in an EFI system partition's folder of loaders."""
    if not tree.is_folder(folder):
        return []
    try:
        return [folder / name for name in sorted(os.listdir(tree.real(folder)))]
    except OSError as error:
        raise StiefelError(f"cannot read {folder}: {error.strerror}") from error


def _variables(tree: Tree, source: Path) -> dict[str, Value]:
    """What GRUB itself has set when it begins with its configuration."""
    unknown = Unknown(f"{source}:1")
    firmware = VARIABLES.parents[1]
    running = "efi" if tree.is_folder(VARIABLES.parent) else "pc"
    platform = running if tree.is_folder(firmware) else unknown
    here = f"({TREE}){source.parent}"
    return {
        "prefix": here,
        "config_directory": here,
        "config_file": f"({TREE}){source}",
        "root": ANY_DISK,
        "grub_platform": platform,
        "grub_cpu": unknown,
    }


def _split_default(default: str) -> tuple[str, str]:
    """The first step of a default such as `1>2`, and the rest; `>>` is a `>` in a title."""
    match = re.match(r"((?:[^>]|>>)*)(?:>(.*))?", default, re.S)
    return (match[1].replace(">>", ">"), match[2] or "") if match else (default, "")


def _default_item(context: Context, source: Path) -> MenuItem:
    """The entry of a menu that its variable `default` names: by number, title, or id; else the
    first one."""
    if not context.menu:
        raise misunderstood(str(source), "makes no menu that can be followed")
    wanted = context.variables.get("default", "")
    if isinstance(wanted, Unknown):
        raise misunderstood(wanted.place, "what the default becomes here is known at boot only")
    name = _split_default(wanted)[0]
    if re.fullmatch(r"[0-9]{1,6}", name):
        return _certain(context.menu, int(name))
    for position, item in enumerate(context.menu):
        if name and (name in (item.title, item.id) or name == f"{item.id}.conf"):
            return item if item.is_certain else _certain(context.menu, position)
    return _certain(context.menu, 0)


def _certain(menu: Sequence[MenuItem], position: int) -> MenuItem:
    """The entry at a position, or the first one if there are not so many; what stands before it
    must be certain, too."""
    position = position if position < len(menu) else 0
    for item in menu[: position + 1]:
        if not item.is_certain:
            raise misunderstood(item.place, "whether this is in the menu is known at boot only")
    return menu[position]


def _known(value: Value) -> str:
    if isinstance(value, Unknown):
        raise misunderstood(value.place, "what the kernel gets from here on is known at boot only")
    return value


def _from_commands(context: Context, source: Path, item: MenuItem, title: str) -> Entry:
    """The entry that its commands have loaded."""
    loaded = context.boot(item.body)
    place = loaded.place or item.place
    if not loaded.is_certain:
        raise misunderstood(place, "whether this is executed is known at boot only")
    if loaded.other in ("chainloader", "uki"):
        for path in _places(context, loaded, loaded.kernel):
            if uki.is_image(context.tree, path):
                return uki.entry(context.tree, uki.parse(context.tree, path), source=source)
    if not loaded.place or loaded.other or not loaded.kernel:
        does = loaded.other or "loads no kernel"
        raise misunderstood(place, f"the default {title!r} boots no Linux: {does}")
    return Entry(
        title=title,
        kernel=_locate(context, loaded, loaded.kernel),
        initrds=tuple(_locate(context, loaded, name) for name in loaded.initrds),
        cmdline=" ".join(_as_word(_known(word)) for word in loaded.words),
        source=source,
        kind="grub",
    )


def _from_bls(context: Context, source: Path, item: MenuItem, title: str) -> Entry:
    """The entry that blscfg has made; the values of its file may have variables in them."""
    entry, place = item.entry, item.place
    assert entry is not None
    root = context.variables.get("root", "")
    options = entry.all("options") or "$default_kernelopts"
    initrds = _known(context.text(entry.all("initrd"), place)).split()
    loaded = Loaded(place, context.text(entry.last("linux"), place), root=root)
    if not loaded.kernel:
        raise misunderstood(place, f"the default {title!r} boots no Linux: it has no kernel")
    return Entry(
        title=title or entry.id,
        kernel=_locate(context, loaded, loaded.kernel),
        initrds=tuple(_locate(context, loaded, name) for name in initrds),
        cmdline=" ".join(words.split(_known(context.text(options, place)))),
        source=entry.path,
        kind="bls",
    )


def _locate(context: Context, loaded: Loaded, name: Value) -> Path:
    """Where a file is that a command names."""
    text = _known(name)
    if text.startswith("newc:"):
        raise misunderstood(loaded.place, "an initrd of newc:… is made by GRUB itself")
    return context.tree.locate(*_on_device(text, loaded), place=loaded.place)


def _places(context: Context, loaded: Loaded, name: Value) -> list[Path]:
    """Where a file may be that a command names."""
    return context.tree.find(*_on_device(_known(name), loaded))


def _on_device(name: str, loaded: Loaded) -> tuple[str, str]:
    device, path = split_device(name)
    return path, device or (loaded.root if isinstance(loaded.root, str) else "")


def _as_word(word: str) -> str:
    """A word as GRUB passes it to the kernel: in quotes where it has blanks."""
    return f'"{word}"' if " " in word else word
