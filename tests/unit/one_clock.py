"""A clock that passes by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from stiefelsystem import challenges, console


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the modules under test, which passes by hand."""
    clock = Clock()
    passing = SimpleNamespace(
        monotonic=clock, clock_gettime=lambda _: clock(), CLOCK_BOOTTIME=time.CLOCK_BOOTTIME
    )
    for module in (challenges, console):
        monkeypatch.setattr(module, "time", passing)
    return clock
