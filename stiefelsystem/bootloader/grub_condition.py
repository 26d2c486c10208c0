"""GRUB's `test` and `[`, where not every word need be known: the GRUB manual, "test"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Unknown(NamedTuple):
    """What only the machine knows when it boots, and the place in the script that has it so."""

    place: str


Value = str | Unknown
Truth = bool | None  # None: not known

_MAX_DEPTH = 40


def both(left: Truth, right: Truth) -> Truth:
    """`left` and `right`: one that is false is enough to know."""
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def evaluate(words: Sequence[Value], ask: Mapping[str, Callable[[str], Truth]]) -> Truth:
    """Whether the expression `words` is true; `ask` answers about files, by -e, -f, -d and -s.

    Syntax that is not understood is not known, too.
    """
    try:
        expression = _Expression(list(words), ask)
        truth = expression.alternatives()
    except IndexError:
        return None
    return truth if not expression.left else None


class _Expression:
    def __init__(self, words: list[Value], ask: Mapping[str, Callable[[str], Truth]]) -> None:
        self.left = words[::-1]
        self._ask = ask
        self._depth = 0

    def alternatives(self) -> Truth:
        """`… -o …`, of which one that is true is enough."""
        truth = negated(self._all())
        while self.left and self.left[-1] == "-o":
            self.left.pop()
            truth = both(truth, negated(self._all()))
        return negated(truth)

    def _all(self) -> Truth:
        truth = self._one() if self.left else False  # nothing is false
        while self.left and self.left[-1] == "-a":
            self.left.pop()
            truth = both(truth, self._one())
        return truth

    def _one(self) -> Truth:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise IndexError
        try:
            return self._term()
        finally:
            self._depth -= 1

    def _term(self) -> Truth:
        word = self.left.pop()
        following = self.left[-1] if self.left else None
        if len(self.left) >= 2 and isinstance(following, str) and following in _COMPARE:
            self.left.pop()
            return _compare(word, following, self.left.pop())
        if word == "!":
            return negated(self._one())
        if word == "(":
            truth = self.alternatives()
            if self.left.pop() != ")":
                raise IndexError
            return truth
        if isinstance(word, str) and self.left and word in ("-n", "-z", *self._ask):
            return self._unary(word, self.left.pop())
        return None if isinstance(word, Unknown) else word != ""

    def _unary(self, operator: str, value: Value) -> Truth:
        if isinstance(value, Unknown):
            return None
        if operator in ("-n", "-z"):
            return (value == "") == (operator == "-z")
        return self._ask[operator](value)


_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": lambda one, other: one == other,
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "-eq": lambda one, other: _number(one) == _number(other),
    "-ne": lambda one, other: _number(one) != _number(other),
    "-lt": lambda one, other: _number(one) < _number(other),
    "-le": lambda one, other: _number(one) <= _number(other),
    "-gt": lambda one, other: _number(one) > _number(other),
    "-ge": lambda one, other: _number(one) >= _number(other),
}


def _compare(left: Value, operator: str, right: Value) -> Truth:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return None
    return _COMPARE[operator](left, right)


def _number(text: str) -> int:
    """The number that a text begins with; 0 where it does not."""
    match = re.match(r"\s*(-?[0-9]{1,18})", text)
    return int(match[1]) if match else 0
