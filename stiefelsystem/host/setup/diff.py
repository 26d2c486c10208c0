"""What changes in a file, for the eyes of who is asked."""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Iterable

from stiefelsystem.host.setup.states import ABSENT, FILE, FOLDER, State

# difflib takes long for large files, and nobody reads them.
_LARGEST = 1 << 18
_COLOURS = {"+": "32", "-": "31", "@": "36"}


def describe(state: State, content: bytes) -> str:
    """A state in some words, with mode and owner."""
    if state.kind == ABSENT:
        return "nothing"
    if state.kind not in (FILE, FOLDER):
        return f"a link to {state.content}"
    kind = "a folder" if state.kind == FOLDER else f"{len(content)} bytes"
    return f"{kind}, mode {state.mode:04o}, owner {state.uid}:{state.gid}"


def unified(path: str, before: bytes, after: bytes) -> list[str]:
    """The lines of a unified diff; or what has to be said instead, for what is no small text."""
    if any(len(content) > _LARGEST or b"\0" in content for content in (before, after)):
        return [f"  (no text to show: {len(before)} bytes become {len(after)})"]
    lines = []
    for line in difflib.unified_diff(_lines(before), _lines(after), f"a{path}", f"b{path}"):
        lines.append(line.removesuffix("\n"))
        if not line.endswith("\n"):
            lines.append("\\ No newline at end of file")
    return lines


def _lines(content: bytes) -> list[str]:
    """Only "\n" ends a line: whatever else is in it is to be seen."""
    return io.StringIO(content.decode(errors="replace"), newline="\n").readlines()


def show(lines: Iterable[str]) -> None:
    """Print lines of a diff: in colour on a terminal, and with nothing that could command it."""
    coloured = sys.stderr.isatty()
    for line in lines:
        text = "".join(c if c.isprintable() or c == "\t" else "?" for c in line)
        colour = _COLOURS.get(text[:1]) if coloured else None
        print(f"\033[{colour}m{text}\033[0m" if colour else text, file=sys.stderr)
    sys.stderr.flush()
