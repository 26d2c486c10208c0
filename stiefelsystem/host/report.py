"""What makes the ramdisk's image large: its files, grouped, as a table for the terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

By = Literal["package", "reason"]

_TITLES: dict[By, str] = {"package": "by package", "reason": "by class"}
_ROWS = 20
# With numbers of up to a terabyte and a million files, a line has 98 columns at most.
_NAME_WIDTH = 40
_BAR_WIDTH = 29
# A cell's left eighths, from none to seven.
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


@dataclass(frozen=True)
class Item:
    """A file of the image."""

    name: str  # its path, without a leading slash: usr/bin/bash
    size: int  # bytes, uncompressed
    package: str  # Debian's, or "stiefelsystem", "kernel modules", "firmware"
    reason: str  # its class: why it is in


@dataclass(frozen=True)
class Group:
    """Files that belong together, the largest first; `rest` if it stands for several groups."""

    name: str
    items: tuple[Item, ...]
    rest: bool = False

    @property
    def size(self) -> int:
        """Bytes, uncompressed."""
        return sum(item.size for item in self.items)


def grouped(items: Iterable[Item], by: By) -> list[Group]:
    """The items' groups, the largest first. The order of `items` has no influence."""
    found: defaultdict[str, list[Item]] = defaultdict(list)
    for item in _ordered(items):
        found[item.package if by == "package" else item.reason].append(item)
    groups = [Group(name, tuple(members)) for name, members in found.items()]
    return sorted(groups, key=lambda group: (-group.size, group.name))


def folded(groups: Sequence[Group], keep: int) -> list[Group]:
    """The first `keep` groups, and one for all the others. A single other one stays itself."""
    others = groups[keep:]
    if len(others) < 2:
        return list(groups)
    rest = _ordered(item for group in others for item in group.items)
    return [*groups[:keep], Group(f"{len(others)} others", tuple(rest), rest=True)]


def _ordered(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (-item.size, item.name, item.package, item.reason))


def printable(text: str) -> str:
    """`text` without what neither a terminal nor XML is to see: control characters, odd bytes."""
    return "".join(c if c.isprintable() else "?" for c in text)


def table(items: Sequence[Item], *, compressed: int | None) -> str:
    """Two tables, by package and by class, and the totals: lines of at most 100 columns.

    MB are 1e6 bytes, before compression; shares are of all of them. `compressed` is the size of the
    whole image in bytes, if it is known.
    """
    parts = [(title, folded(grouped(items, by), _ROWS)) for by, title in _TITLES.items()]
    names = [group.name for _, groups in parts for group in groups]
    width = min(max(map(len, ("compressed", *_TITLES.values(), *names))), _NAME_WIDTH)
    total = sum(item.size for item in items)
    lines = []
    for title, groups in parts:
        lines.append(f"{title:<{width}}  {'MB':>8}  {'%':>5}  {'files':>7}")
        largest = max((group.size for group in groups), default=0)
        for group in groups:
            row = _row(group.name, group.size, total, width=width, files=len(group.items))
            lines.append(f"{row}  {_bar(group.size, largest)}".rstrip())
        lines.append("")
    lines.append(_row("total", total, total, width=width, files=len(items)))
    if compressed is not None:
        lines.append(_row("compressed", compressed, total, width=width))
    return "\n".join(lines)


def _row(name: str, size: int, total: int, *, width: int, files: int | None = None) -> str:
    share = 100 * size / total if total else 0
    count = "" if files is None else f"  {files:>7}"
    return f"{_cut(printable(name), width):<{width}}  {size / 1e6:>8.1f}  {share:>5.1f}{count}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _bar(size: int, largest: int) -> str:
    """As long as `size` is large; what is not empty has a bar, however short."""
    if not size:
        return ""
    full, eighths = divmod(max(1, round(8 * _BAR_WIDTH * size / largest)), 8)
    return "█" * full + _EIGHTHS[eighths]
