"""syslinux and extlinux: their configuration, and what they boot by default.

The manual page syslinux.cfg(5), and syslinux' doc/menu.txt. U-Boot reads extlinux.conf, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stiefelsystem.bootloader import words
from stiefelsystem.bootloader.entry import Entry, misunderstood
from stiefelsystem.bootloader.places import BOOT_POINTS, TREE, Tree

NAME = "syslinux"
_FOLDERS = tuple(
    point / name
    for point in (*BOOT_POINTS, Path("/"))
    for name in ("syslinux", "extlinux", "EFI/syslinux", "")
)
_CONFIGS = tuple(folder / name for folder in _FOLDERS for name in ("extlinux.conf", "syslinux.cfg"))
_MAX_INCLUDES = 16
# Programs of syslinux' own, which are no kernels.
_MODULES = (".c32", ".com", ".cbt", ".bin", ".bss", ".0", ".img")


class Line(NamedTuple):
    """A directive: its first word in upper case, the rest, and where it stands."""

    word: str
    rest: str
    place: str


@dataclass
class Label:
    """A LABEL, in the making."""

    name: str
    place: str
    title: str = ""
    kernel: str = ""
    initrd: str = ""
    append: str | None = None
    other: str = ""  # the directive by which it boots something else


@dataclass
class Menu:
    """A configuration, in the making."""

    labels: dict[str, Label] = field(default_factory=dict)
    default: str = ""
    chosen: str = ""  # MENU DEFAULT
    on_timeout: str = ""
    has_menu: bool = False
    append: str = ""  # of labels that have none


def config(tree: Tree) -> Path | None:
    """The configuration, where it is searched for."""
    return next((path for path in _CONFIGS if tree.is_file(path)), None)


def default(tree: Tree, source: Path) -> Entry:
    """What it boots when nobody chooses. Raises `StiefelError` if that cannot be known."""
    menu, current = Menu(), list[Label]()
    for line in _lines(tree, source):
        _take(menu, current, line)
    label, more = _choice(menu, source)
    return _entry(tree, source, menu, label, more)


def _lines(tree: Tree, path: Path) -> list[Line]:
    """All directives, with those of included files, and without help texts."""
    lines, waiting, files = list[Line](), [iter(_numbered(tree, path))], 1
    in_help = False
    while waiting:
        line = next(waiting[-1], None)
        if line is None:
            waiting.pop()
        elif in_help or line.word == "TEXT":
            in_help = line.word != "ENDTEXT"
        elif name := _included(line):
            files += 1
            if files > _MAX_INCLUDES:
                raise misunderstood(line.place, "more files are included than can be meant")
            included = _locate(tree, path, name, line.place)
            waiting.append(iter(_numbered(tree, included)))
        else:
            lines.append(line)
    return lines


def _included(line: Line) -> str:
    """The file that a line includes."""
    words = line.rest.split()
    if line.word == "MENU" and words and words[0].upper() == "INCLUDE":
        words = words[1:]
    elif line.word != "INCLUDE":
        return ""
    return words[0] if words else ""


def _numbered(tree: Tree, path: Path) -> list[Line]:
    found = []
    for number, text in enumerate(tree.text(path).splitlines(), 1):
        word, _, rest = text.strip().replace("\t", " ").partition(" ")
        if word and not word.startswith("#"):
            found.append(Line(word.upper(), rest.strip(), f"{path}:{number}"))
    return found


def _take(menu: Menu, current: list[Label], line: Line) -> None:
    """Apply a directive, to the label that stands before it where there is one."""
    word, rest, place = line
    label = current[-1] if current else None
    match word:
        case "LABEL":
            # The first of two labels with one name counts.
            current[:] = [Label(rest, place)]
            menu.labels.setdefault(rest.lower(), current[0])
        case "DEFAULT":
            menu.default = rest
        case "ONTIMEOUT":
            menu.on_timeout = rest
        case "UI":
            menu.has_menu = True
        case "APPEND" if label is None:
            menu.append = rest
        case "MENU":
            _take_menu(menu, label, rest)
        case _ if label is not None:
            _take_label(label, word, rest)


def _take_menu(menu: Menu, label: Label | None, rest: str) -> None:
    word, _, text = rest.partition(" ")
    if label is None:
        return
    if word.upper() == "DEFAULT":
        menu.chosen = label.name
    elif word.upper() == "LABEL":
        label.title = text.strip().replace("^", "")


def _take_label(label: Label, word: str, rest: str) -> None:
    match word:
        case "KERNEL" | "LINUX":
            label.kernel = rest
        case "INITRD":
            label.initrd = rest
        case "APPEND":
            label.append = "" if rest == "-" else rest
        case "LOCALBOOT" | "CONFIG" | "COM32" | "BOOT" | "BSS" | "PXE" | "FDIMAGE" | "COMBOOT":
            label.other = f"{word} {rest}".strip()


def _choice(menu: Menu, source: Path) -> tuple[Label, str]:
    """The label that is booted, and the words that a DEFAULT or ONTIMEOUT adds."""
    if not menu.labels:
        raise misunderstood(str(source), "has no LABEL")
    first = menu.default.partition(" ")[0]
    default = "" if first.lower().endswith(".c32") else menu.default
    has_menu = menu.has_menu or default != menu.default
    wanted = (menu.on_timeout, menu.chosen if has_menu else "", default)
    command = next((text for text in wanted if text), "")
    if not command:
        if not has_menu and len(menu.labels) > 1:
            raise misunderstood(str(source), "has several labels, and neither DEFAULT nor a menu")
        return next(iter(menu.labels.values())), ""
    # A label's name may have blanks in it; then nothing can follow.
    name, _, more = command.partition(" ")
    for whole, rest in ((command, ""), (name, more.strip())):
        if label := menu.labels.get(whole.lower()):
            return label, rest
    raise misunderstood(str(source), f"boots the label {name!r}, which is not there")


def _entry(tree: Tree, source: Path, menu: Menu, label: Label, more: str) -> Entry:
    kernel = label.kernel or label.name
    if label.other or kernel.lower().endswith(_MODULES):
        boots = label.other or kernel
        raise misunderstood(label.place, f"the default {label.name!r} boots no Linux: {boots}")
    append = menu.append if label.append is None else label.append
    parts = words.split(f"{append} {more}")
    within = [word.removeprefix("initrd=") for word in parts if word.startswith("initrd=")]
    initrds = label.initrd or (within[-1] if within else "")
    return Entry(
        title=label.title or label.name,
        kernel=_locate(tree, source, kernel, label.place),
        initrds=tuple(
            _locate(tree, source, name, label.place)
            for name in re.split(r"[,\s]+", initrds)
            if name
        ),
        cmdline=" ".join(word for word in parts if not word.startswith("initrd=")),
        source=source,
        kind="syslinux",
    )


def _locate(tree: Tree, source: Path, name: str, place: str) -> Path:
    """A file's path: from the filesystem's root if it is absolute, else from the configuration."""
    if name.startswith("/"):
        return tree.locate(name, place=place)
    return tree.locate(f"{source.parent}/{name}", place=place, device=TREE)
