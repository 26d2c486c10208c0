"""How far long work is: a bar on a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self

from stiefelsystem import console

# A bar that is drawn more often is not read any better, and a serial line carries little.
_REDRAW_SECONDS = 0.25
_LINE_SECONDS = 10.0
# A text console has 80 columns, and some begin a new line after the last.
_WIDTH = 79
# Short enough to stay the same while the numbers grow.
_LONGEST_BAR = 24
_LONGEST_NAME = 36
_LONGEST_LEFT = 99 * 3600.0


class Progress:
    """A context manager around work on `total` bytes, of which `advance` tells that they are done.

    `show` writes on the terminals on which the bar is drawn; without it, that is stderr if it is a
    terminal, and else there are lines. What is said meanwhile stands above the bar. The end is a
    line about the whole; after an exception, the bar stays as it is.
    """

    def __init__(
        self,
        name: str,
        total: int,
        *,
        show: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._total = total
        self._show = show or (_on_stderr if sys.stderr.isatty() else None)
        self._every = _REDRAW_SECONDS if self._show else _LINE_SECONDS
        self._clock = clock
        self._done = 0
        self._drawn = False

    def __enter__(self) -> Self:
        self._forget = console.before_lines(self._erase)
        self._started = self._told = self._clock()
        if self._show:
            self._draw(self._show, 0.0)
        else:
            console.say(f"{self._name} …")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            seconds = self._clock() - self._started
            size, rate = self._done / 1e6, self._rate(seconds) / 1e6
            console.say(f"{self._name}: {size:.1f} MB in {seconds:.1f} s, {rate:.1f} MB/s")
        elif self._drawn and self._show:
            self._show("\n")
        self._forget()

    def advance(self, size: int) -> None:
        """So many more bytes are done."""
        self._done += size
        now = self._clock()
        if now - self._told < self._every:
            return
        self._told = now
        if self._show:
            self._draw(self._show, now - self._started)
        else:
            console.say(f"{self._name}:{self._numbers(now - self._started)}")

    def _draw(self, show: Callable[[str], None], seconds: float) -> None:
        head = f"{console.indentation()}{self._name}"[:_LONGEST_NAME]
        numbers = self._numbers(seconds)
        width = max(0, min(_LONGEST_BAR, _WIDTH - len(f"{head} []{numbers}")))
        bar = "#" * int(width * self._share())
        self._drawn = True
        show("\r" + f"{head} [{bar:<{width}}]{numbers}"[:_WIDTH].ljust(_WIDTH))

    def _erase(self) -> None:
        if self._drawn and self._show:
            self._drawn = False
            self._show("\r" + " " * _WIDTH + "\r")

    def _numbers(self, seconds: float) -> str:
        rate = self._rate(seconds)
        left = _duration((self._total - self._done) / rate) if rate else "?"
        return f" {int(100 * self._share()):3d} % {rate / 1e6:7.1f} MB/s, {left} left"

    def _share(self) -> float:
        return min(self._done / self._total, 1.0) if self._total > 0 else 1.0

    def _rate(self, seconds: float) -> float:
        return self._done / seconds if seconds > 0 else 0.0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(min(max(seconds, 0.0), _LONGEST_LEFT)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _on_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
