"""What is typed: at whichever terminal, unseen, and the terminals are as they were afterwards."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stiefelsystem.ramdisk import keyboards
from stiefelsystem.ramdisk.keyboards import Keyboards, answers


class Terminal:
    """A terminal, and the person at it."""

    def __init__(self) -> None:
        self.person, self.end = pty.openpty()
        self.path = Path(os.ttyname(self.end))

    def type(self, text: str) -> None:
        os.write(self.person, text.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.end)[3] & termios.ECHO)

    def hang_up(self) -> None:
        os.close(self.person)
        self.person = -1

    def close(self) -> None:
        for end in (self.person, self.end):
            if end >= 0:
                os.close(end)


@pytest.fixture
def two() -> Iterator[tuple[Terminal, Terminal]]:
    before = len(os.listdir("/proc/self/fd"))
    pair = Terminal(), Terminal()
    yield pair
    for terminal in pair:
        terminal.close()
    assert len(os.listdir("/proc/self/fd")) == before


Two = tuple[Terminal, Terminal]


def paths(two: Two) -> list[Path]:
    return [terminal.path for terminal in two]


@pytest.mark.parametrize("first", [0, 1])
def test_whichever_answers_first(two: Two, first: int) -> None:
    with Keyboards(paths(two)) as typed:
        assert typed.line() is None
        two[1 - first].type("half of a li")
        assert typed.line() is None
        two[first].type("an answer\n")
        typed.wait(10)
        assert typed.line() == "an answer"
        two[1 - first].type("ne\n")
        typed.wait(10)
        assert typed.line() == "half of a line"


def test_what_was_typed_before_does_not_count(two: Two) -> None:
    two[0].type("early\nha")
    with Keyboards(paths(two)) as typed:
        two[0].type("late\n")
        typed.wait(10)
        assert typed.line() == "late"
        two[1].type("in between\n")
        typed.wait(10)
        typed.discard()
        assert typed.line() is None


def test_one_that_is_hung_up_leaves_the_other(two: Two) -> None:
    with Keyboards(paths(two), echo=False) as typed:
        two[0].hang_up()
        assert typed.line() is None
        two[1].type("here\n")
        typed.wait(10)
        assert typed.line() == "here"
        two[1].hang_up()
        assert typed.line() == ""
        assert not typed


def test_the_end_of_input_is_no_end(two: Two) -> None:
    """Ctrl-D is an empty answer; the next one counts, too."""
    with Keyboards(paths(two)) as typed:
        two[0].type("\x04")
        typed.wait(10)
        assert typed.line() == ""
        two[0].type("more\n")
        typed.wait(10)
        assert typed.line() == "more"


def test_a_line_without_end(two: Two) -> None:
    settings = termios.tcgetattr(two[0].end)
    settings[3] &= ~termios.ICANON
    termios.tcsetattr(two[0].end, termios.TCSANOW, settings)
    with Keyboards(paths(two)) as typed:
        found = None
        for _ in range(10):
            two[0].type("x" * 500)
            typed.wait(10)
            found = found if found is not None else typed.line()
        assert found == ""


def test_nothing_is_shown_and_all_is_restored(two: Two) -> None:
    before = [termios.tcgetattr(terminal.end) for terminal in two]
    with pytest.raises(KeyboardInterrupt), Keyboards(paths(two), echo=False):
        assert [terminal.echoes() for terminal in two] == [False, False]
        raise KeyboardInterrupt
    assert [termios.tcgetattr(terminal.end) for terminal in two] == before


def test_places_that_are_none(tmp_path: Path, two: Two) -> None:
    (tmp_path / "file").write_text("yes\n")
    nowhere = [Path("/dev/null"), tmp_path / "file", tmp_path / "nothing", tmp_path]
    assert not Keyboards(nowhere)
    with Keyboards([*nowhere, two[0].path]) as typed:
        two[0].type("here\n")
        typed.wait(10)
        assert typed.line() == "here"


def test_answers(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, unseen all the while; a terminal that comes is asked, too."""
    there = [two[0].path]
    with closing(answers("who?", lambda: list(there))) as lines:
        threading.Timer(0.2, two[0].type, ["one\n"]).start()
        assert next(lines) == "one"
        assert not two[0].echoes()
        two[0].type("too early\n")
        threading.Timer(0.3, two[0].type, ["in time\n"]).start()
        assert next(lines) == "in time"
        two[0].type("too early\n")
        there.append(two[1].path)
        threading.Timer(1.5, two[1].type, ["two\n"]).start()
        assert next(lines) == "two"
        assert not two[0].echoes()
        threading.Timer(0.2, two[0].type, ["\n"]).start()
        assert next(lines) == ""
    assert two[0].echoes()
    assert two[1].echoes()
    said = capsys.readouterr().err.splitlines()
    assert set(said) == {"who?"}
    assert len(said) == 5


def test_a_quick_person(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed as soon as the question is to be seen, counts, and is not shown."""

    def typed_at_once(_: str) -> None:
        assert not two[0].echoes()
        two[0].type("quick\n")

    monkeypatch.setattr(keyboards, "say", typed_at_once)
    with closing(answers("who?", lambda: [two[0].path])) as lines:
        assert next(lines) == "quick"


def test_answers_outlast_all_terminals(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyboards, "_LOOK_SECONDS", 0.05)
    there = [two[0].path]
    with closing(answers("who?", lambda: list(there))) as lines:
        threading.Timer(0.2, two[0].hang_up).start()
        threading.Timer(0.5, there.append, [two[1].path]).start()
        threading.Timer(1.0, two[1].type, ["here\n"]).start()
        assert next(lines) == "here"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_restores_the_terminal(two: Two, number: signal.Signals) -> None:
    code = f"""
import sys
sys.path[:] = {sys.path}
from pathlib import Path
from stiefelsystem.console import run_main
from stiefelsystem.ramdisk import keyboards
where = [Path("{two[0].path}"), Path("{two[1].path}")]
def main():
    one = keyboards.answers("who?", lambda: where)
    for _ in one:
        print("asking", flush=True)
run_main(main)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"who?\n"
        # Typed until it is heard: what comes before it is open does not count.
        while not (heard := _ready(process.stdout.fileno())):
            two[0].type("x\n")
        assert heard
        assert not two[0].echoes()
        process.send_signal(number)
        process.wait(20)
    assert two[0].echoes()
    assert two[1].echoes()


def _ready(handle: int) -> bool:
    import select

    return bool(select.select([handle], [], [], 0.1)[0])
