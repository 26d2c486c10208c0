"""What several measurements have in common: medians, tables, and what else the machine did."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def medians(runs: Iterable[Sequence[float]]) -> list[float]:
    """The median of each figure of several runs."""
    return [statistics.median(figures) for figures in zip(*runs, strict=True)]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines: the first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *figures in rows:
        right = [f"{cell:>{width}}" for cell, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    return "\n".join(lines)


def processor_seconds() -> tuple[float, float]:
    """What all programs of this machine have taken, and what this one and those it started have
    (proc_stat(5): user, nice, system)."""
    fields = Path("/proc/stat").read_text().split()[1:4]
    return sum(map(int, fields)) / CLOCK_TICKS, sum(os.times()[:4])


def share_of_others(before: tuple[float, float]) -> str:
    """A line on what other programs took since `processor_seconds` was `before`."""
    every, ours = (now - then for now, then in zip(processor_seconds(), before, strict=True))
    return f"(other programs had {1 - ours / every:.0%} of what the processor did)"
