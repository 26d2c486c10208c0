"""Progress: what is drawn, what is said between, and how it ends; seen as a terminal shows it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem import console
from stiefelsystem.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
MB = 10**6


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A terminal of 80 columns, as far as it knows carriage returns and ends of lines."""

    def __init__(self) -> None:
        self.lines = [""]
        self.written: list[str] = []
        self._column = 0

    def write(self, text: str) -> None:
        self.written.append(text)
        for character in text:
            if character == "\r":
                self._column = 0
            elif character == "\n":
                self.lines.append("")
                self._column = 0
            else:
                line = self.lines[-1]
                self.lines[-1] = line[: self._column] + character + line[self._column + 1 :]
                self._column += 1
                assert self._column < 80, f"too wide: {self.lines[-1]}"

    def flush(self) -> None:
        """As a file has it."""

    def isatty(self) -> bool:
        """Where it is a terminal, the tests say so."""
        return False

    @property
    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.lines]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Screen]:
    """Called by the test itself, since pytest captures anew when that begins."""

    def new() -> Screen:
        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return new


def test_a_bar(clock: Clock, new_screen: Callable[[], Screen]) -> None:
    screen = new_screen()
    with Progress("writing", 80 * MB, show=screen.write, clock=clock) as progress:
        bar = " " * 24
        assert screen.shown == [f"writing [{bar}]   0 %     0.0 MB/s, ? left"]
        clock.now += 2
        progress.advance(20 * MB)
        bar = "#" * 6 + " " * 18
        assert screen.shown == [f"writing [{bar}]  25 %    10.0 MB/s, 0:06 left"]
        clock.now += 8
        progress.advance(60 * MB)
        bar = "#" * 24
        assert screen.shown == [f"writing [{bar}] 100 %     8.0 MB/s, 0:00 left"]
    assert screen.shown == ["writing: 80.0 MB in 10.0 s, 8.0 MB/s", ""]
    assert "".join(screen.written).isascii()


def test_it_is_drawn_some_times_a_second(clock: Clock, new_screen: Callable[[], Screen]) -> None:
    screen = new_screen()
    with Progress("writing", 1000, show=screen.write, clock=clock) as progress:
        for _ in range(1000):
            clock.now += 0.004
            progress.advance(1)
        assert 10 < len(screen.written) <= 17


def test_lines_between(clock: Clock, new_screen: Callable[[], Screen]) -> None:
    """They stand above the bar, which comes again."""
    screen = new_screen()
    with Progress("writing", 100, show=screen.write, clock=clock) as progress:
        console.say("something else")
        assert screen.shown == ["something else", ""]
        console.say("and more")
        clock.now += 1
        progress.advance(50)
        assert screen.shown[:2] == ["something else", "and more"]
        assert screen.shown[2].startswith("writing [############  ")
    console.say("after")
    assert screen.shown[2:] == ["writing: 0.0 MB in 1.0 s, 0.0 MB/s", "after", ""]


def test_the_logs_get_only_lines(
    clock: Clock, new_screen: Callable[[], Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the bar is gone from all terminals by then, some of which may show them."""
    screen = new_screen()
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(console, "_logs", [lambda line: logged.append((line, screen.shown[-1]))])
    with Progress("writing", 2 * MB, show=screen.write, clock=clock) as progress:
        clock.now += 1
        progress.advance(2 * MB)
    assert logged == [("writing: 2.0 MB in 1.0 s, 2.0 MB/s", "")]


def test_below_a_step(clock: Clock, new_screen: Callable[[], Screen]) -> None:
    screen = new_screen()
    with (
        console.step("the stick"),
        Progress("writing", 1, show=screen.write, clock=clock),
    ):
        assert screen.shown[1].startswith("  writing [")
    assert screen.shown[1].startswith("  writing: ")


def test_an_error_leaves_the_bar(clock: Clock, new_screen: Callable[[], Screen]) -> None:
    screen = new_screen()
    with (
        pytest.raises(KeyboardInterrupt),
        Progress("writing", 100, show=screen.write, clock=clock) as progress,
    ):
        clock.now += 1
        progress.advance(50)
        raise KeyboardInterrupt
    console.say("after")
    assert screen.shown[0].startswith("writing [############  ")
    assert screen.shown[1:] == ["after", ""]


def test_an_error_after_a_line(clock: Clock, new_screen: Callable[[], Screen]) -> None:
    """Nothing is drawn then, and no empty line is left."""
    screen = new_screen()
    with (
        pytest.raises(KeyboardInterrupt),
        Progress("writing", 100, show=screen.write, clock=clock),
    ):
        console.say("oh")
        raise KeyboardInterrupt
    console.say("after")
    assert screen.shown == ["oh", "after", ""]


@pytest.mark.parametrize(
    ("size", "seconds", "wanted"),
    [
        ((0, 0), 1.0, "100 %     0.0 MB/s, ? left"),
        ((0, 5 * MB), 1.0, "100 %     5.0 MB/s, 0:00 left"),
        ((MB, 5 * MB), 1.0, "100 %     5.0 MB/s, 0:00 left"),
        ((1000 * MB, 999 * MB), 1.0, " 99 %   999.0 MB/s, 0:00 left"),
        ((100 * MB, MB), 1.0, "  1 %     1.0 MB/s, 1:39 left"),
        ((8000 * MB, MB), 1.0, "  0 %     1.0 MB/s, 2:13:19 left"),
        ((10**18, 1), 100.0, "  0 %     0.0 MB/s, 99:00:00 left"),
    ],
)
def test_odd_numbers(
    size: tuple[int, int],
    seconds: float,
    wanted: str,
    clock: Clock,
    new_screen: Callable[[], Screen],
) -> None:
    """What a peer tells of a size may be anything."""
    screen = new_screen()
    total, done = size
    with Progress("x", total, show=screen.write, clock=clock) as progress:
        clock.now += seconds
        progress.advance(done)
        assert screen.shown[0].endswith(f"] {wanted}")


def test_a_long_name_fits(clock: Clock) -> None:
    shown: list[str] = []
    with Progress("n" * 200, 10**15, show=shown.append, clock=clock) as progress:
        clock.now += 0.3
        progress.advance(10**14)
        assert shown[-1].rstrip().endswith("left")
    assert {len(text) for text in shown} == {1 + 79, 1 + 79 + 1}


def test_lines_elsewhere(clock: Clock, new_screen: Callable[[], Screen]) -> None:
    """Where nothing can be drawn: at the start, now and then, and at the end."""
    screen = new_screen()
    with Progress("writing", 100 * MB, clock=clock) as progress:
        for _ in range(25):
            clock.now += 1
            progress.advance(4 * MB)
    assert screen.shown == [
        "writing …",
        "writing:  40 %     4.0 MB/s, 0:15 left",
        "writing:  80 %     4.0 MB/s, 0:05 left",
        "writing: 100.0 MB in 25.0 s, 4.0 MB/s",
        "",
    ]


def test_a_real_terminal() -> None:
    """Ctrl-C there, of a program that says things."""
    body = """
        from stiefelsystem.console import run_main, say
        from stiefelsystem.progress import Progress

        def main():
            with Progress("writing", 100) as progress:
                say("above")
                progress.advance(100)
            with Progress("verifying", 100):
                raise KeyboardInterrupt

        run_main(main)
    """
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-c", textwrap.dedent(body)]
        done = subprocess.run(command, cwd=ROOT, stderr=theirs, check=False, timeout=60)
        screen = Screen()
        while select.select([ours], [], [], 0)[0]:
            screen.write(os.read(ours, 10000).decode())
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 130
    above, written, verifying, *rest = screen.shown
    assert above == "above"
    assert written.startswith("writing: 0.0 MB in ")
    assert verifying.startswith("verifying [   ")
    assert rest == ["interrupted", ""]
