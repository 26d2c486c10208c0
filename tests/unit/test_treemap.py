"""The report's picture: areas are sizes, nothing is lost, and any XML parser reads it."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stiefelsystem.host import treemap
from stiefelsystem.host.report import By, Item
from stiefelsystem.host.treemap import Box

SVG = "{http://www.w3.org/2000/svg}"
# Edges are rounded to a hundredth of a pixel.
ROUNDING = 0.02
BASH = Item("usr/bin/bash", 1_300_000, "bash", "the shell")
EMPTY = Item("etc/empty", 0, "base-files", "configuration")

items_of_any_kind = st.lists(
    st.builds(
        Item,
        name=st.text(max_size=30),
        size=st.one_of(st.integers(0, 1000), st.integers(0, 10**9)),
        package=st.text(max_size=30),
        reason=st.sampled_from(["the shell", "wired NICs", "firmware", "<&>", "x" * 100]),
    ),
    max_size=40,
)


@dataclass(frozen=True)
class Label:
    """A text of the picture: its left end (or its middle, if `centred`) and its baseline."""

    text: str
    x: float
    y: float
    size: float
    centred: bool

    @property
    def box(self) -> Box:
        """With half the font's size for a character, which is less than most have."""
        width = 0.5 * self.size * len(self.text)
        left = self.x - width / 2 if self.centred else self.x
        return Box(left, self.y - 0.75 * self.size, width, self.size)


@dataclass(frozen=True)
class Shape:
    """A frame or a cell, read back."""

    tip: list[str]
    box: Box
    fill: str
    labels: list[Label]
    cells: list[Shape]

    @property
    def name(self) -> str:
        return self.tip[0]

    @property
    def size(self) -> int:
        found = re.fullmatch(r"[\d.]+ MB, [\d.]+ % \((\d+) bytes\)", self.tip[1])
        assert found, self.tip
        return int(found[1])


def read(picture: str) -> tuple[Shape, list[Shape]]:
    """The page and its frames."""
    root = ET.fromstring(picture.encode())
    assert root.tag == f"{SVG}svg"
    page = shape(root)
    assert root.get("viewBox") == f"0 0 {page.box.width:g} {page.box.height:g}"
    return page, page.cells


def shape(element: ET.Element) -> Shape:
    (title,) = element.findall(f"{SVG}title")
    (rect,) = element.findall(f"{SVG}rect")
    return Shape(
        tip=(title.text or "").split("\n"),
        box=Box(*(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))),
        fill=rect.attrib["fill"],
        labels=[
            Label(
                text.text or "",
                *(float(text.attrib[name]) for name in ("x", "y", "font-size")),
                centred={None: False, "middle": True}[text.get("text-anchor")],
            )
            for text in element.findall(f"{SVG}text")
        ],
        cells=[shape(group) for group in element.findall(f"{SVG}g")],
    )


def draw(items: Sequence[Item], by: By = "reason") -> list[Shape]:
    return read(treemap.svg(items, title="stiefel.cpio", by=by))[1]


def image(count: int, *, seed: int = 1) -> list[Item]:
    """As many files as an image may have, most of them small, with paths of a usual length."""
    chance = random.Random(seed)
    folder = "usr/lib/modules/6.12.107+deb13-amd64/kernel/drivers/net/ethernet"
    return [
        Item(
            f"{folder}/vendor{n % 40}/driver{n:05}.ko",
            int(chance.paretovariate(0.9) * 3000) - 3000,
            f"package{int(chance.paretovariate(0.5)) % 200}",
            f"class {int(chance.paretovariate(0.5)) % 12}",
        )
        for n in range(count)
    ]


def is_inside(inner: Box, outer: Box, rounding: float = ROUNDING) -> bool:
    return (
        inner.x >= outer.x - rounding
        and inner.y >= outer.y - rounding
        and inner.x + inner.width <= outer.x + outer.width + rounding
        and inner.y + inner.height <= outer.y + outer.height + rounding
    )


def overlap(one: Box, other: Box) -> float:
    """How many pixels one must move to be off the other."""
    return min(
        min(one.x + one.width, other.x + other.width) - max(one.x, other.x),
        min(one.y + one.height, other.y + other.height) - max(one.y, other.y),
    )


def require_apart(boxes: Sequence[Box], rounding: float = ROUNDING) -> None:
    for one, other in combinations(boxes, 2):
        assert overlap(one, other) <= rounding, (one, other)


def require_fair(cells: Sequence[Shape]) -> None:
    """Equal areas are equal sizes, but for rounded edges."""
    scale = sum(cell.box.area for cell in cells) / sum(cell.size for cell in cells)
    for cell in cells:
        rounding = ROUNDING * (cell.box.width + cell.box.height + 1)
        assert cell.box.area == pytest.approx(cell.size * scale, abs=rounding, rel=1e-3), cell


def require_sound(items: Sequence[Item], frames: Sequence[Shape]) -> None:
    """What is true of every picture."""
    total = sum(item.size for item in items)
    assert sum(frame.size for frame in frames) == total
    require_apart([frame.box for frame in frames])
    for frame in frames:
        assert sum(cell.size for cell in frame.cells) == frame.size
        assert all(is_inside(cell.box, frame.box) for cell in frame.cells), frame
        require_apart([cell.box for cell in frame.cells])
    if total:
        require_fair([cell for frame in frames for cell in frame.cells])


sizes_from_large_to_small = st.lists(st.integers(1, 10**9), min_size=1, max_size=60).map(
    lambda sizes: sorted(sizes, reverse=True)
)


@given(sizes_from_large_to_small, st.integers(1, 2000), st.integers(1, 2000))
@example([10**12, 1], 1280, 859)
def test_squarify(sizes: list[int], width: int, height: int) -> None:
    page = Box(3, 5, width, height)
    boxes = treemap.squarify(sizes, page)
    for size, box in zip(sizes, boxes, strict=True):
        assert box.area == pytest.approx(page.area * size / sum(sizes), rel=1e-6)
        assert is_inside(box, page, 1e-6)
    require_apart(boxes, 1e-6)


def test_squarify_as_in_the_paper() -> None:
    """Its section 3.1: 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 by 4."""
    rounded = [
        tuple(round(value, 2) for value in (box.x, box.y, box.width, box.height))
        for box in treemap.squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    ]
    assert rounded == [
        (0, 0, 3, 2),
        (0, 2, 3, 2),
        (3, 0, 1.71, 2.33),
        (4.71, 0, 1.29, 2.33),
        (3, 2.33, 1.2, 1.67),
        (4.2, 2.33, 1.2, 1.67),
        (5.4, 2.33, 0.6, 1.67),
    ]


def test_squarify_with_the_largest_last() -> None:
    """As the cell of all small files is: in one row, the first would be flat."""
    boxes = treemap.squarify([1, 3], Box(0, 0, 6, 4))
    assert boxes == [Box(0, 0, 1.5, 4), Box(1.5, 0, 4.5, 4)]


@given(items_of_any_kind, st.sampled_from(["reason", "package"]))
def test_any_items(items: list[Item], by: By) -> None:
    require_sound(items, draw(items, by))


@pytest.mark.parametrize("by", ["reason", "package"])
@pytest.mark.parametrize("seed", range(3))
def test_image(by: By, seed: int) -> None:
    items = image(1000, seed=seed)
    page, frames = read(treemap.svg(items, title="stiefel.cpio", by=by))
    require_sound(items, frames)
    assert all(is_inside(frame.box, page.box) for frame in frames)
    used = sum(cell.box.area for frame in frames for cell in frame.cells)
    assert used > 0.8 * page.box.area
    for one in [page, *frames, *(cell for frame in frames for cell in frame.cells)]:
        texts = [label.box for label in one.labels]
        assert all(is_inside(text, one.box) for text in texts), one
        require_apart([*texts, *(inner.box for inner in one.cells)])


@pytest.mark.parametrize("by", ["reason", "package"])
def test_large_files_have_cells(by: By) -> None:
    items = image(1000)
    cells = {cell.name: cell for frame in draw(items, by) for cell in frame.cells}
    total = sum(item.size for item in items)
    large = [item for item in items if item.size > total / 1000]
    assert large
    for item in large:
        assert cells[item.name].size == item.size
        assert cells[item.name].tip[2:] == [item.reason, item.package]


def test_labels() -> None:
    large = Item("usr/bin/large", 80_000_000, "p", "the shell")
    long = Item("usr/bin/" + "long" * 60, 20_000_000, "p", "the shell")
    (frame,) = draw([large, long])
    assert [label.text for label in frame.labels] == ["the shell: 100.0 MB"]
    assert [label.text for label in frame.cells[0].labels] == ["large", "80.0 MB"]
    name, amount = (label.text for label in frame.cells[1].labels)
    assert re.fullmatch("(long)+l?o?n?…", name)
    assert amount == "20.0 MB"


def test_frames_by_class_and_by_package() -> None:
    items = [BASH, Item("a", 10**6, "bash", "other"), Item("b", 10**5, "libc6", "other")]
    assert [frame.tip for frame in draw(items)] == [
        ["the shell", "1.3 MB, 54.2 % (1300000 bytes)", "1 file"],
        ["other", "1.1 MB, 45.8 % (1100000 bytes)", "2 files"],
    ]
    assert [frame.name for frame in draw(items, "package")] == ["bash", "libc6"]


def test_small_frames_are_one() -> None:
    small = [Item(f"small{n}", 1000, f"small{n}", "r") for n in range(7)]
    frames = draw([BASH, *small], "package")
    assert [frame.tip for frame in frames] == [
        ["bash", "1.3 MB, 99.5 % (1300000 bytes)", "1 file"],
        ["7 others", "0.0 MB, 0.5 % (7000 bytes)", "7 files"],
    ]
    assert frames[1].fill == "#dddddd"
    assert frames[0].fill != frames[1].fill


def test_frames_are_in_the_order_of_size() -> None:
    """The small ones together, too: as a large last one, they would squeeze those before it."""
    small = [Item(f"small{n}", 1000, f"small{n}", "r") for n in range(1200)]
    frames = draw([Item("a", 10**6, "p", "r"), *small, BASH], "package")
    assert [frame.name for frame in frames] == ["bash", "1200 others", "p"]


def test_small_files_are_one_cell_and_the_last() -> None:
    small = [Item(f"small{n}", 100 + n, "bash", "the shell") for n in range(10)]
    none = [Item("none", 0, "bash", "the shell")]
    (frame,) = draw([*none, *small, BASH])
    assert [(cell.name, cell.size) for cell in frame.cells] == [
        ("usr/bin/bash", BASH.size),
        ("11 small files", 1045),
    ]


def test_single_small_file_has_its_name() -> None:
    (frame,) = draw([Item("small", 1, "bash", "the shell"), BASH])
    assert [cell.name for cell in frame.cells] == ["usr/bin/bash", "small"]


@pytest.mark.parametrize(
    ("items", "count"), [([], "0 files"), ([EMPTY], "1 file"), ([EMPTY, EMPTY], "2 files")]
)
def test_nothing_to_draw(items: list[Item], count: str) -> None:
    page, frames = read(treemap.svg(items, title="nothing"))
    assert frames == []
    assert [label.text for label in page.labels] == [
        "nothing",
        f"0.0 MB in {count}, before compression",
    ]


def test_one_file() -> None:
    page, (frame,) = read(treemap.svg([BASH, EMPTY], title="stiefel.cpio"))
    assert page.labels[1].text == "1.3 MB in 2 files, before compression"
    (cell,) = frame.cells
    assert cell.tip == [
        "usr/bin/bash",
        "1.3 MB, 100.0 % (1300000 bytes)",
        "the shell",
        "bash",
    ]
    assert cell.box.area > 0.9 * frame.box.area


@pytest.mark.parametrize("by", ["reason", "package"])
def test_order_of_the_files_has_no_influence(by: By) -> None:
    twins = [Item("twin", 10**6, f"p{n % 2}", f"r{n % 3}") for n in range(6)]
    items = [*image(300), *twins]
    expected = treemap.svg(items, title="t", by=by)
    for seed in range(5):
        shuffled = random.Random(seed).sample(items, len(items))
        assert treemap.svg(shuffled, title="t", by=by) == expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('<b>&amp;"]]>', '<b>&amp;"]]>'),
        ("löscher-日本語", "löscher-日本語"),
        ("a\x00\x1b\n\udcff\ufffe", "a?????"),
    ],
)
def test_odd_names(name: str, shown: str) -> None:
    page, (frame,) = read(treemap.svg([Item(name, 10**6, name, name)], title=name))
    assert page.tip == [shown]
    assert page.labels[0].text == shown
    assert frame.name == shown
    assert frame.labels[0].text == f"{shown}: 1.0 MB"
    (cell,) = frame.cells
    assert (cell.name, *cell.tip[2:]) == (shown, shown, shown)
    assert cell.labels[0].text == shown.rpartition("/")[2]


def test_stands_alone() -> None:
    """No script, and nothing to be fetched: it is looked at where there may be no network."""
    picture = treemap.svg(image(300), title="t")
    names = {element.tag.removeprefix(SVG) for element in ET.fromstring(picture).iter()}
    assert names == {"svg", "title", "style", "rect", "text", "g"}
    assert picture.count("://") == 1  # SVG's own name
    assert not re.search(r"url\(|@import|href| on\w+=", picture)


@pytest.mark.parametrize("by", ["reason", "package"])
@pytest.mark.parametrize("equal", [True, False])
def test_stays_small(by: By, equal: bool) -> None:
    items = image(5000)
    if equal:
        items = [Item(item.name, 50_000, item.package, item.reason) for item in items]
    assert 100_000 < len(treemap.svg(items, title="t", by=by).encode()) < 1_000_000


def test_dark_text_is_readable_on_all_colours() -> None:
    """A contrast of 4.5 and more (WCAG 2.2, 1.4.3)."""
    items = [Item(f"f{n}/{k}", 10**6, f"p{n}", "r") for n in range(20) for k in range(3)]
    rest = [Item(f"s{n}", 10, f"s{n}", "r") for n in range(20)]
    picture = treemap.svg([*items, *rest], title="t", by="package")
    fills = set(re.findall(r'fill="#(\w{6})"', picture))
    assert len(fills) > 2 * 8
    for fill in fills:
        assert (luminance(fill) + 0.05) / 0.05 > 4.5, fill


def luminance(colour: str) -> float:
    """Relative luminance of a colour of sRGB, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
