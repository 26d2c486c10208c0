"""The order of versions by UAPI.10, the Version Format Specification."""

from __future__ import annotations

import re

# What is matched by none of these separates parts, and means nothing else.
_PART = re.compile(r"0*(?P<number>[0-9]+)|(?P<letters>[a-zA-Z]+)|[~.^-]")
_END = 1
_ORDER = "~ -^."  # with the end at its place
_LETTERS, _NUMBER = 5, 6


def key(version: str) -> list[tuple[int, int, str]]:
    """A key by which older versions sort before newer ones.

    They are compared part by part: where they differ first, `~` is oldest, then what has ended,
    `-`, `^`, `.`, letters, and numbers.
    """
    parts: list[tuple[int, int, str]] = []
    for match in _PART.finditer(version):
        if number := match["number"]:
            # By their lengths first: numbers of one length compare as text.
            parts.append((_NUMBER, len(number), number))
        elif letters := match["letters"]:
            parts.append((_LETTERS, 0, letters))
        else:
            parts.append((_ORDER.index(match[0]), 0, ""))
    return [*parts, (_END, 0, "")]
