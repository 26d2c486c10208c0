"""The report's tables: what they say about an image, and that it adds up."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.host.report import Item, folded, grouped, table

BASH = Item("usr/bin/bash", 1_300_000, "bash", "the shell")
LIBC = Item("usr/lib/libc.so.6", 2_600_000, "libc6", "needed by a program")
LOADER = Item("usr/lib/ld.so", 100_000, "libc6", "needed by a program")
EMPTY = Item("etc/empty", 0, "base-files", "configuration")

names = st.text(max_size=60)
items_of_any_kind = st.lists(
    st.builds(
        Item, name=names, size=st.integers(0, 10**11), package=names, reason=st.sampled_from("abc")
    ),
    max_size=60,
)


@dataclass(frozen=True)
class Row:
    """A line of the report, read back."""

    name: str
    megabytes: float
    share: float
    files: int
    bar: str


def rows_of(text: str) -> list[list[Row]]:
    """The rows by package, those by class, and the total with what follows it."""
    parts = [part.splitlines() for part in text.split("\n\n")]
    return [
        [row_of(line) for line in lines if not re.search(r" MB +% +files$", line)]
        for lines in parts
    ]


def row_of(line: str) -> Row:
    found = re.fullmatch(r"(.*?) +([\d.]+) +([\d.]+)(?: +(\d+))?(?:  ([█▏▎▍▌▋▊▉]+))?", line)
    assert found, line
    name, megabytes, share, files, bar = found.groups()
    return Row(name, float(megabytes), float(share), int(files or 0), bar or "")


def many(count: int) -> list[Item]:
    """One file each of this many packages, of 1 MB, 2 MB and so on."""
    return [Item(f"f{n}", n * 10**6, f"package{n}", "a class") for n in range(1, count + 1)]


def test_report() -> None:
    assert table([BASH, EMPTY, LIBC, LOADER], compressed=1_000_000) == (
        "by package                 MB      %    files\n"
        "libc6                     2.7   67.5        2  █████████████████████████████\n"
        "bash                      1.3   32.5        1  ██████████████\n"
        "base-files                0.0    0.0        1\n"
        "\n"
        "by class                   MB      %    files\n"
        "needed by a program       2.7   67.5        2  █████████████████████████████\n"
        "the shell                 1.3   32.5        1  ██████████████\n"
        "configuration             0.0    0.0        1\n"
        "\n"
        "total                     4.0  100.0        4\n"
        "compressed                1.0   25.0"
    )


def test_no_compressed_size() -> None:
    assert "compressed" not in table([BASH], compressed=None)


@pytest.mark.parametrize("items", [[], [EMPTY]])
def test_nothing_has_no_shares(items: list[Item]) -> None:
    *_, totals = rows_of(table(items, compressed=None))
    assert totals == [Row("total", 0, 0, len(items), "")]


@given(items_of_any_kind)
def test_fits_a_terminal(items: list[Item]) -> None:
    text = table(items, compressed=10**11)
    assert max(map(len, text.splitlines())) <= 100
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert text.encode()


@given(
    st.lists(
        st.builds(
            Item,
            names,
            st.integers(0, 10**9),
            st.from_regex(r"\A[a-z]{1,2}\Z"),
            st.sampled_from("abc"),
        )
    )
)
def test_adds_up(items: list[Item]) -> None:
    *parts, (total,) = rows_of(table(items, compressed=None))
    assert total.files == len(items)
    assert total.megabytes == pytest.approx(sum(item.size for item in items) / 1e6, abs=0.051)
    for rows in parts:
        assert sum(row.files for row in rows) == total.files
        rounding = 0.051 * (len(rows) + 1)
        assert sum(row.megabytes for row in rows) == pytest.approx(total.megabytes, abs=rounding)
        assert sum(row.share for row in rows) == pytest.approx(total.share, abs=rounding)


def test_order_of_the_files_has_no_influence() -> None:
    items = [*many(30), BASH, LIBC, LOADER, EMPTY]
    expected = table(items, compressed=None)
    shuffled = random.Random(1).sample(items, len(items))
    assert shuffled != items
    assert table(shuffled, compressed=None) == expected


def test_small_rest_is_one_line() -> None:
    by_package, *_ = rows_of(table(many(25), compressed=None))
    assert [row.name for row in by_package] == [
        *(f"package{n}" for n in range(25, 5, -1)),
        "5 others",
    ]
    assert (by_package[-1].megabytes, by_package[-1].files) == (1 + 2 + 3 + 4 + 5, 5)


def test_single_other_one_has_its_name() -> None:
    by_package, *_ = rows_of(table(many(21), compressed=None))
    assert by_package[-1].name == "package1"


def test_files_of_the_rest_are_in_order() -> None:
    *_, rest = folded(grouped([BASH, LIBC, LOADER, EMPTY], "package"), 0)
    assert rest.rest
    assert rest.items == (LIBC, BASH, LOADER, EMPTY)


def test_bars_are_as_long_as_sizes_are_large() -> None:
    by_package, *_ = rows_of(table(many(20), compressed=None))
    eighths = [8 * row.bar.count("█") + " ▏▎▍▌▋▊▉".find(row.bar[-1]) for row in by_package]
    longest = 8 * len(by_package[0].bar)
    for row, length in zip(by_package, eighths, strict=True):
        whole = length + 1 if row.bar[-1] == "█" else length  # find() said -1
        assert whole == pytest.approx(longest * row.megabytes / 20, abs=0.5)


def test_bar_of_something_tiny() -> None:
    tiny = Item("tiny", 1, "tiny", "a class")
    by_package, *_ = rows_of(table([LIBC, tiny, EMPTY], compressed=None))
    assert [row.bar[-1:] for row in by_package] == ["█", "▏", ""]


def test_long_name_is_cut() -> None:
    name = "x" * 50
    by_package, by_class, _ = rows_of(table([Item("f", 1, name, "y" * 40)], compressed=None))
    assert by_package[0].name == "x" * 39 + "…"
    assert by_class[0].name == "y" * 40


def test_name_with_control_characters() -> None:
    by_package, *_ = rows_of(table([Item("f", 1, "a\n\x1b[2J\udcff", "r")], compressed=None))
    assert by_package[0].name == "a??[2J?"
