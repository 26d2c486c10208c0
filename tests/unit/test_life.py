"""How long the server goes on: a clock, a disk that is in use or not, and what is said."""

from __future__ import annotations

import os
import signal

import pytest

from stiefelsystem.ramdisk import life
from stiefelsystem.ramdisk.life import Life

WAIT = 600


class Laptop:
    """The server's clock, and whether a client has the disk."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.in_use = False

    def monotonic(self) -> float:
        return self.now

    def life(self, after: str = "reboot") -> Life:
        return Life(after=after, wait=WAIT, in_use=lambda: self.in_use)


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> Laptop:
    laptop = Laptop()
    monkeypatch.setattr(life, "time", laptop)
    return laptop


@pytest.mark.parametrize("after", ["reboot", "wait", "poweroff"])
def test_nobody_comes(laptop: Laptop, after: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Then it is the machine's own OS, whatever is to come after a session: there was none."""
    one = laptop.life(after)
    laptop.now += WAIT
    assert one.over() == ""
    laptop.now += 0.1
    assert one.over() == "reboot"
    assert "no desktop for 600 s" in capsys.readouterr().err


def test_time_counts_from_the_last_client(laptop: Laptop) -> None:
    one = laptop.life()
    for _ in range(5):
        laptop.now += WAIT - 1
        laptop.in_use = True
        assert one.over() == ""
        laptop.in_use = False
        assert one.over() == ""
    laptop.now += WAIT + 1
    assert one.over() == "reboot"


def test_a_long_session(laptop: Laptop) -> None:
    one = laptop.life()
    laptop.in_use = True
    for _ in range(100):
        laptop.now += WAIT
        assert one.over() == ""


@pytest.mark.parametrize("after", ["reboot", "poweroff"])
def test_after_a_session(laptop: Laptop, after: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not at once: what the desktop said is confirmed again, if it did not hear it."""
    one = laptop.life(after)
    laptop.in_use = True
    assert one.over() == ""
    laptop.in_use = False
    one.session_ended()
    laptop.now += 3
    assert one.over() == ""
    assert capsys.readouterr().err == ""
    laptop.now += 0.1
    assert one.over() == after
    assert capsys.readouterr().err == f"the session is over: {after}\n"


def test_waiting_after_a_session(laptop: Laptop) -> None:
    one = laptop.life("wait")
    laptop.now += WAIT - 1
    one.session_ended()
    laptop.now += WAIT - 1
    assert one.over() == ""
    laptop.now += 2
    assert one.over() == "reboot"


def test_the_next_client_comes_at_once(laptop: Laptop) -> None:
    """As after a reboot of the desktop: then that is served, for as long as it takes."""
    one = laptop.life()
    one.session_ended()
    laptop.in_use = True
    assert one.over() == ""
    laptop.now += 10_000
    assert one.over() == ""
    laptop.in_use = False
    laptop.now += WAIT - 1
    assert one.over() == ""
    one.session_ended()
    laptop.now += 3.1
    assert one.over() == "reboot"


def test_what_systemd_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGRTMIN+4 and +5 start poweroff.target and reboot.target: systemd(1)."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *words: told.append(words))
    life.leave("poweroff")
    life.leave("reboot")
    assert told == [(1, signal.SIGRTMIN + 4), (1, signal.SIGRTMIN + 5)]
