"""Entries of the Boot Loader Specification (UAPI.1), type 1: one small file for each kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from stiefelsystem.bootloader import versions
from stiefelsystem.bootloader.places import Tree

FOLDER = Path("loader/entries")
# Boot counting: the tries that are left, and those that failed, before the file's last suffix.
_COUNTED = re.compile(r"(?P<name>.+)\+(?P<left>[0-9]{1,9})(-[0-9]{1,9})?(?P<suffix>\.[^.]+)", re.S)


@dataclass(frozen=True, kw_only=True)
class Item:
    """An entry as it stands in its file, or is told by a unified kernel image (type 2)."""

    path: Path
    values: dict[str, list[str]] = field(default_factory=dict)  # by key, in the file's order

    @property
    def id(self) -> str:
        """The file's name without boot counters, by which loaders know the entry."""
        counted = _COUNTED.fullmatch(self.path.name)
        return counted["name"] + counted["suffix"] if counted else self.path.name

    @property
    def is_bad(self) -> bool:
        """Whether boot counting has given this entry up."""
        counted = _COUNTED.fullmatch(self.path.name)
        return counted is not None and int(counted["left"]) == 0

    def all(self, key: str) -> str:
        """All values of a key, joined by blanks: `options` may stand on several lines."""
        return " ".join(self.values.get(key, ()))

    def last(self, key: str) -> str:
        """The value of a key that stands once."""
        return self.values.get(key, [""])[-1]


def parse(path: Path, text: str) -> Item:
    """Read an entry, or a loader.conf, which has the same syntax. Any text is one: what is not
    understood is left out, as loaders do."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key and not key.startswith("#"):
            values.setdefault(key, []).append(value.strip())
    return Item(path=path, values=values)


def read(tree: Tree, folder: Path) -> list[Item]:
    """The entries in a folder, unsorted."""
    return [parse(path, tree.text(path)) for path in tree.files(folder, ".conf")]


def in_order(items: Iterable[Item]) -> list[Item]:
    """As menus show them: given up by boot counting last; with a sort key first, by that, the
    machine, and the newest version; then by the newest name."""
    order = sorted(items, key=lambda item: versions.key(item.id), reverse=True)
    keyed = [item for item in order if item.last("sort-key")]
    keyed.sort(key=lambda item: versions.key(item.last("version")), reverse=True)
    keyed.sort(key=lambda item: (item.last("sort-key"), item.last("machine-id")))
    order = keyed + [item for item in order if not item.last("sort-key")]
    return sorted(order, key=lambda item: item.is_bad)
