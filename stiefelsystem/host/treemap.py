"""What makes the ramdisk's image large, as a picture: an SVG in which area is size.

A squarified treemap (Bruls, Huizing, van Wijk, "Squarified Treemaps", 2000): groups are frames,
files are cells in them. Equal areas are equal sizes all over the page: what titles and borders
take, which is more of a small frame than of a large one, is added to what a frame gets.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from stiefelsystem.host.report import By, Group, Item, folded, grouped, printable

# In pixels. The page's proportions are those of A4 across.
_WIDTH = 1280
_HEIGHT = 905
_HEADER = 46
_STRIP = 20  # a frame's title, at most
_BORDER = 3  # around a frame's cells, at most
_SMALLEST_FONT = 8
_SMALLEST_HEADING = 10
_LARGEST_FONT = 20
_FEWEST_CHARACTERS = 4  # of a name that is cut
# Characters and their widths, as shares of the font's size: those of DejaVu Sans, which is the
# widest of the usual fonts, rounded up. Others are as wide as most letters; bold ones wider.
_THIN = (0.42, frozenset("!'(),-./:;I[]fijlrt| "))
_THICK = (1.0, frozenset("%@MWmw…"))
_LETTER = 0.65
_BOLD = 1.1
# What is less than this share of all is drawn together with others like it. A frame of this size
# has room for a title; a cell is about 11 pixels wide.
_SMALLEST_FRAME = 1 / 150
_SMALLEST_CELL = 1 / 8000
# On the whole page; each frame has its share of them. One takes about 250 bytes.
_MOST_CELLS = 3000
# Most pictures come out even to a thousandth within 7; some never, but to a few hundredths.
_STEPS = 10
# Dark text is readable on these, and the colour-blind can tell them apart: Paul Tol, "Colour
# Schemes", SRON/EPS/TN/09-002, 2021, scheme "light", with its grey for the rest.
_COLOURS = (0x77AADD, 0xEE8866, 0xEEDD88, 0x44BB99, 0xFFAABB, 0xBBCC33, 0x99DDFF, 0xAAAA00)
_GREY = 0xDDDDDD
# Thin dark lines are seen in print even between pale cells.
_STYLE = "text{font-family:sans-serif}rect{stroke:#444;stroke-width:.4}"


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels from the page's top left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height


@dataclass(frozen=True)
class _Cell:
    label: str
    tip: str
    size: int  # bytes
    merged: bool = False


def svg(items: Sequence[Item], *, title: str, by: By = "reason") -> str:
    """The items as a treemap, below `title`: a frame for each class or package, a cell for a file.

    A standalone SVG, to be stored as UTF-8. Small files and small frames are merged, so that it
    stays below 1 MB. The order of `items` has no influence.
    """
    total = sum(item.size for item in items)
    summary = f"{_megabytes(total)} in {_files(len(items))}, before compression"
    page = Box(0, _HEADER, _WIDTH, _HEIGHT - _HEADER)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        f"<title>{_escaped(title)}</title>",
        f"<style>{_STYLE}</style>",
        _rect(Box(0, 0, _WIDTH, _HEIGHT), 0xFFFFFF),
        _text(title, 4, 20, size=18, bold=True),
        _text(summary, 4, 39, size=14),
        *(_frames(_visible(grouped(items, by), total), page) if total else ()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Divide `box` into boxes in proportion to `sizes`, all above zero, as square as possible.

    Works best if the largest comes first. There must be at least one.
    """
    scale = box.area / sum(sizes)
    areas = [size * scale for size in sizes]
    boxes: list[Box] = []
    while areas:
        length = _row_length(areas, min(box.width, box.height))
        row, areas = areas[:length], areas[length:]
        placed, box = _place(row, box, left=sum(areas))
        boxes += placed
    return boxes


def _row_length(areas: Sequence[float], side: float) -> int:
    """How many of `areas` make a row along `side`: one more would make its worst box worse."""
    total, smallest, largest = 0.0, math.inf, 0.0
    worst = math.inf
    for number, area in enumerate(areas):
        total, smallest, largest = total + area, min(smallest, area), max(largest, area)
        depth = total / side
        ratio = max(largest / depth**2, depth**2 / smallest)
        if ratio > worst:
            return number
        worst = ratio
    return len(areas)


def _place(row: Sequence[float], box: Box, *, left: float) -> tuple[list[Box], Box]:
    """Boxes along the shorter side of `box`, and what is left of it: an area of `left`."""
    placed = []
    x, y = box.x, box.y
    if box.width >= box.height:
        depth = sum(row) / box.height
        for area in row:
            placed.append(Box(x, y, depth, area / depth))
            y += area / depth
        return placed, Box(x + depth, box.y, left / box.height, box.height)
    depth = sum(row) / box.width
    for area in row:
        placed.append(Box(x, y, area / depth, depth))
        x += area / depth
    return placed, Box(box.x, y + depth, box.width, left / box.width)


def _visible(groups: Sequence[Group], total: int) -> list[Group]:
    """The groups that are worth a frame, the others as one; none without a byte."""
    keep = sum(group.size >= _SMALLEST_FRAME * total for group in groups)
    found = [group for group in folded(groups, keep) if group.size]
    return sorted(found, key=lambda group: -group.size)


def _frames(groups: Sequence[Group], page: Box) -> Iterator[str]:
    total = sum(group.size for group in groups)
    boxes, scale = _fair([group.size for group in groups], page)
    for number, (group, box) in enumerate(zip(groups, boxes, strict=True)):
        colour = _GREY if group.rest else _COLOURS[number % len(_COLOURS)]
        tip = _tip(group.name, group.size, total, _files(len(group.items)))
        yield f"<g>{tip}{_rect(box, colour)}"
        yield _heading(group, box)
        cells = _cells(group, total)
        inside = _inside(box)
        used = Box(inside.x, inside.y, inside.width, scale * group.size / inside.width)
        for cell, place in zip(cells, squarify([cell.size for cell in cells], used), strict=True):
            yield _drawn(cell, place, _tint(colour, 0.8 if cell.merged else 0.45))
        yield "</g>"


def _fair(sizes: Sequence[int], page: Box) -> tuple[list[Box], float]:
    """Boxes for the frames, and how many square pixels a byte has inside all of them.

    What a frame needs for its title and border depends on its shape, and that on what all others
    need: found step by step. Where it does not come out even, a frame keeps a little of its colour.
    """
    boxes: list[Box] = []
    best = 0.0
    weights: Sequence[float] = sizes
    for _ in range(_STEPS):
        tried = squarify(weights, page)
        insides = [_inside(box).area for box in tried]
        scale = min(inside / size for inside, size in zip(insides, sizes, strict=True))
        if scale > best:
            boxes, best = tried, scale
        fair = sum(insides) / sum(sizes)
        weights = [
            size * fair + box.area - inside
            for size, box, inside in zip(sizes, tried, insides, strict=True)
        ]
    return boxes, best


def _inside(box: Box) -> Box:
    """Where a frame's cells are: below its title, within its border."""
    strip, border = _strip(box), min(_BORDER, box.width / 8, box.height / 8)
    return Box(
        box.x + border,
        box.y + strip,
        box.width - 2 * border,
        box.height - strip - border,
    )


def _strip(box: Box) -> float:
    return min(_STRIP, box.height / 4)


def _cells(group: Group, total: int) -> list[_Cell]:
    """A cell for each of the group's files, and one for all the small ones; the largest first."""
    keep = sum(item.size >= _SMALLEST_CELL * total for item in group.items)
    keep = min(keep, math.ceil(_MOST_CELLS * group.size / total))
    small = group.items[keep:]
    if len(small) < 2:
        keep, small = len(group.items), ()
    cells = [
        _Cell(
            label=item.name.rpartition("/")[2],
            tip=_tip(item.name, item.size, total, item.reason, item.package),
            size=item.size,
        )
        for item in group.items[:keep]
        if item.size
    ]
    if size := sum(item.size for item in small):
        name = f"{len(small)} small files"
        cells.append(_Cell(name, _tip(name, size, total), size, merged=True))
    return cells


def _heading(group: Group, box: Box) -> str:
    """A frame's title in its strip: name and size, the name alone, or as much of it as fits."""
    strip, room = _strip(box), (box.width - 2 * _BORDER) / _BOLD
    cut = _cut(group.name, room / _SMALLEST_HEADING)
    for text in (f"{group.name}: {_megabytes(group.size)}", group.name, cut):
        size = min(strip * 0.7, room / _ems(text)) if text else 0
        if size >= _SMALLEST_HEADING:
            return _text(text, box.x + _BORDER, box.y + strip * 0.75, size=size, bold=True)
    return ""


def _drawn(cell: _Cell, box: Box, fill: int) -> str:
    return f"<g>{cell.tip}{_rect(box, fill)}{_label(cell, box)}</g>"


def _label(cell: _Cell, box: Box) -> str:
    """A cell's name and size, as large as they fit; the name alone; or nothing."""
    width, height = box.width - 4, box.height - 2
    amount = _megabytes(cell.size)
    cut = _cut(cell.label, width / _SMALLEST_FONT)
    for lines in ((cell.label, amount), (cell.label,), (cut, amount), (cut,)):
        widest = max(map(_ems, lines))
        size = min(_LARGEST_FONT, width / widest if lines[0] else 0, height / 1.2 / len(lines))
        if size >= _SMALLEST_FONT:
            middle = box.x + box.width / 2
            # A line takes 1.2 of the font's size, and its text stands at 0.95 of that size.
            first = box.y + box.height / 2 + size * (0.95 - 0.6 * len(lines))
            return "".join(
                _text(line, middle, first + 1.2 * size * number, size=size, anchor="middle")
                for number, line in enumerate(lines)
            )
    return ""


def _ems(text: str) -> float:
    """The width of a text, in units of its font's size."""
    return sum(map(_em, text))


def _em(character: str) -> float:
    for width, characters in (_THIN, _THICK):
        if character in characters:
            return width
    return 1.0 if unicodedata.east_asian_width(character) in "WF" else _LETTER


def _cut(text: str, ems: float) -> str:
    """As much of `text` as fits, with an ellipsis; nothing where that would say nothing."""
    end = len(text)
    while end and _ems(text[:end]) + _ems("…") > ems:
        end -= 1
    return f"{text[:end]}…" if end >= _FEWEST_CHARACTERS else ""


def _text(
    text: str, x: float, y: float, *, size: float, bold: bool = False, anchor: str = "start"
) -> str:
    more = ' font-weight="bold"' if bold else ""
    more += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" font-size="{size:.1f}"{more}>'
        f"{_escaped(text)}</text>"
    )


def _rect(box: Box, fill: int) -> str:
    """A rectangle; its edges are rounded, not its width, so that neighbours touch each other."""
    x, y = round(box.x, 2), round(box.y, 2)
    width, height = round(box.x + box.width, 2) - x, round(box.y + box.height, 2) - y
    return (
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
        f'height="{_number(height)}" fill="#{fill:06x}"/>'
    )


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _tint(colour: int, white: float) -> int:
    """A colour with a share of white in it."""
    parts = (colour >> shift & 0xFF for shift in (16, 8, 0))
    red, green, blue = (round(part + (255 - part) * white) for part in parts)
    return red << 16 | green << 8 | blue


def _tip(name: str, size: int, total: int, *more: str) -> str:
    """What a viewer shows for what lies below the pointer."""
    share = f"{_megabytes(size)}, {100 * size / total:.1f} % ({size} bytes)"
    return "<title>" + "\n".join(map(_escaped, (name, share, *more))) + "</title>"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _escaped(text: str) -> str:
    return escape(printable(text))
