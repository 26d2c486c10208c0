"""What is said again and again is said now and then."""

from __future__ import annotations

import pytest

from stiefelsystem.console import RateLimited
from tests.unit.one_clock import Clock, clock

__all__ = ["clock"]  # the fixture


def test_rate_limit(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    report = RateLimited(10)
    for _ in range(1000):
        report.say("the same")
    assert capsys.readouterr().err == "the same\n"
    clock.now += 9.9
    report.say("the same")
    report.say("another")
    assert capsys.readouterr().err == "another\n"
    clock.now += 0.2
    report.say("the same")
    report.say("another")
    assert capsys.readouterr().err == "the same\n"


def test_rate_limit_of_many_texts(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    report = RateLimited(10)
    for second in range(100):
        for number in range(50):
            report.say(f"{second} {number}")
        clock.now += 1
    assert len(capsys.readouterr().err.splitlines()) == 160
