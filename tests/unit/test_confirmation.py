"""The question at the laptop's console: whose a yes is, how long, and how often it is asked."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest

from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk import confirmation
from stiefelsystem.ramdisk.confirmation import ANSWER_SECONDS, Confirmation

ASKING, OTHER = Peer("fe80::2", 40000, 2**30), Peer("fe80::3", 40000, 2**30)
HOLDER, NEXT_HOLDER = object(), object()


class Console:
    """A console, by a terminal or a pipe; who types at it, and the clock beside it."""

    def __init__(self, source: Path, keyboard: int) -> None:
        self.keyboard = keyboard
        self.now = 1000.0
        self.confirmation = Confirmation(source)

    def monotonic(self) -> float:
        return self.now

    def type(self, text: str) -> None:
        """Type it, and have it heard."""
        os.write(self.keyboard, text.encode())
        self.confirmation.listen()

    def ask(self, asking: Peer = ASKING, holder: object = HOLDER) -> bool:
        return self.confirmation.ask(asking, holder, ["one has it", "it is lost"])

    def given(self, asking: Peer = ASKING, holder: object = HOLDER) -> bool:
        return self.confirmation.given(asking, holder)


@pytest.fixture(params=["terminal", "pipe"])
def console(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Console]:
    if request.param == "terminal":
        keyboard, terminal = pty.openpty()
        source, ends = Path(os.ttyname(terminal)), [keyboard, terminal]
    else:
        source = tmp_path / "fifo"
        os.mkfifo(source)
        keyboard = os.open(source, os.O_RDWR)
        ends = [keyboard]
    before = len(os.listdir("/proc/self/fd"))
    console = Console(source, keyboard)
    monkeypatch.setattr(confirmation, "time", console)
    yield console
    console.confirmation.close()
    assert len(os.listdir("/proc/self/fd")) == before
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("answer", ["yes\n", "YES\n", "  yes \n"])
def test_yes(console: Console, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.ask()
    assert not console.given()
    console.type(answer)
    assert console.given()
    assert not console.given(), "it is used up"
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["one has it", "it is lost"]
    assert said[2].startswith("to give the disk to fe80::2%")
    assert "type yes" in said[2]


@pytest.mark.parametrize(
    "answer", ["no\n", "\n", "y\n", "yess\n", "no\nyes\n", "ye s\n", "yes" * 100 + "\n", "\x04"]
)
def test_whatever_else(console: Console, answer: str) -> None:
    """It ends the question, and is not asked again at once."""
    assert console.ask()
    if answer == "\x04" and not os.isatty(console.keyboard):
        answer += "\n"  # the end of all input only where there is somebody at the keyboard
    console.type(answer)
    console.confirmation.listen()
    console.type("yes\n")
    assert not console.given()
    assert not console.ask()
    console.now += 61
    assert console.ask()


def test_a_line_that_comes_in_pieces(console: Console) -> None:
    assert console.ask()
    console.type("ye")
    assert not console.given()
    console.type("s")
    assert not console.given()
    console.type("\n")
    assert console.given()


def test_what_was_typed_before_is_no_answer(console: Console) -> None:
    os.write(console.keyboard, b"yes\nyes\nye")
    assert console.ask()
    console.confirmation.listen()
    assert not console.given()
    console.type("yes\n")
    assert console.given()


def test_a_yes_is_for_who_has_asked(console: Console) -> None:
    """And for what they were asked about: somebody else may have the disk by now."""
    assert console.ask()
    console.type("yes\n")
    assert not console.given(OTHER)
    assert not console.given(holder=NEXT_HOLDER)
    assert console.given()


def test_one_question_at_a_time(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.ask()
    assert not console.ask(OTHER)
    assert not console.ask(holder=NEXT_HOLDER)
    for _ in range(1000):
        assert console.ask(), "it is still asked for this one"
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_little_is_said_however_often_it_is_asked(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    for second in range(3600):
        console.now += 1
        console.ask(OTHER if second % 2 else ASKING)
        if second % 10 == 0:
            os.write(console.keyboard, b"no\n")
        console.confirmation.listen()
    assert len(capsys.readouterr().err.splitlines()) < 300


def test_nobody_answers(console: Console) -> None:
    assert console.ask()
    console.now += ANSWER_SECONDS + 1
    console.type("yes\n")
    assert not console.given()
    assert not console.ask()
    console.now += 61
    assert console.ask(OTHER)


def test_a_yes_that_is_not_used(console: Console) -> None:
    assert console.ask()
    console.type("yes\n")
    console.now += 61
    assert not console.given()


def test_after_the_end(console: Console) -> None:
    assert console.ask()
    console.confirmation.close()
    console.type("yes\n")
    assert not console.given()
    assert not console.ask()


def test_after_a_yes_the_terminal_is_nobodys(console: Console) -> None:
    """What is typed then is for others."""
    assert console.ask()
    console.type("yes\n")
    console.type("no\n")
    assert console.given()


@pytest.mark.parametrize("source", ["/dev/null", "/nowhere", "/etc/passwd", "/"])
def test_no_console(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked that nobody could answer."""
    before = len(os.listdir("/proc/self/fd"))
    one = Confirmation(Path(source))
    assert not one.ask(ASKING, HOLDER, ["one has it"])
    one.listen()
    assert not one.given(ASKING, HOLDER)
    assert capsys.readouterr().err == ""
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_whose_other_end_is_closed(tmp_path: Path) -> None:
    """In the middle of a question, that is no yes; before one, there is no console."""
    os.mkfifo(tmp_path / "fifo")
    one = Confirmation(tmp_path / "fifo")
    assert not one.ask(ASKING, HOLDER, [])
    keyboard = os.open(tmp_path / "fifo", os.O_RDWR)
    assert one.ask(ASKING, HOLDER, [])
    os.write(keyboard, b"yes")
    os.close(keyboard)
    one.listen()
    one.listen()
    assert not one.given(ASKING, HOLDER)
    one.close()


def test_a_terminal_that_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, terminal = pty.openpty()
    one = Confirmation(Path(os.ttyname(terminal)))
    os.close(terminal)
    assert one.ask(ASKING, HOLDER, [])
    os.close(keyboard)
    one.listen()
    assert not one.given(ASKING, HOLDER)
    one.close()


def test_the_terminal_stays_as_it_was() -> None:
    """Who started the server has it, too: reading from it must wait there, as ever."""
    keyboard, terminal = pty.openpty()
    one = Confirmation(Path(os.ttyname(terminal)))
    assert one.ask(ASKING, HOLDER, [])
    assert os.get_blocking(terminal)
    one.close()
    os.close(keyboard)
    os.close(terminal)
