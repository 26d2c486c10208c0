"""GRUB's scripts: the truth of conditions, known or not, and where statements stand."""

from __future__ import annotations

import pytest

from stiefelsystem.bootloader import grub_script
from stiefelsystem.bootloader.grub_condition import Unknown, evaluate

EXPRESSIONS = [
    ("", False),
    ("x", True),
    ("a = a", True),
    ("a = b", False),
    ("? = b", None),
    ("a != b -a x", True),
    ("a = b -a ? = b", False),
    ("a = a -o ? = b", True),
    ("a != b -a ? = b", None),
    ("! a = b", True),
    ("! ? = b", None),
    ("-n x -a ! -z x", True),
    ("-z ?", None),
    ("-f here", True),
    ("-f gone -o -f here", True),
    ("( a = b -o a = a ) -a 2 -gt 10", False),
    ("10 -ge 2", True),
    ("( a = a", None),
    ("a b", None),
    ("a -pgt b", None),
    ("-n", True),  # a word like any other
]


@pytest.mark.parametrize(("expression", "truth"), EXPRESSIONS)
def test_test(expression: str, truth: bool | None) -> None:
    words = [Unknown("") if word == "?" else word for word in expression.split()]
    assert evaluate(words, {"-f": lambda name: name == "here"}) is truth


def test_deep_expressions() -> None:
    assert evaluate(["!"] * 5000, {}) is None
    assert evaluate(["("] * 5000, {}) is None


def test_places_in_the_script() -> None:
    block = grub_script.parse("a\n\nb \\\n c\n'd\ne' f\ng", "x")
    assert [statement.place for statement in block] == ["x:1", "x:3", "x:5", "x:7"]
