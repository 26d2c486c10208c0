"""A disk changes hands by a yes on the laptop, and by power cuts while a desktop writes to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stiefelsystem.host.vm import VirtualMachine
from tests.vm.faults import assert_all_is_there, assert_nothing_is_damaged
from tests.vm.power import Power, begins_with, powered
from tests.vm.wire import SECONDS, acknowledged, teller, wait_for_writes, wire

_FORGOTTEN = "the laptop does not answer, though the cable has a signal"


def take_over(power: Power, first: VirtualMachine, name: str) -> VirtualMachine:
    """Switch another desktop on while the first one has the disk, and have it get that."""
    second = power.desktop(name)
    second.wait_for("not without a yes: the disk is in use by", SECONDS)
    wait_for_writes(first, SECONDS, after=first.position)
    power.say_yes()
    begun = begins_with(second)
    promised = acknowledged(first)
    assert all(begun[kind] > last for kind, last in promised.items()), (begun, promised)
    return second


def test_what_was_acknowledged_outlives_power_cuts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a desktop that had the disk before the first one never writes to it again."""
    tell = teller(capsys)
    with (
        wire(tmp_path, table="dos", sector=512, root="btrfs") as machines,
        powered(machines, tell) as power,
    ):
        power.on("first", "second")
        first = power.desktop("first")
        begins_with(first)
        second = take_over(power, first, "second")
        promised = power.cut(second)
        power.on("second", "third")
        since = time.monotonic()
        third = power.desktop("third")
        third.wait_for("received and verified kernel and initrd", SECONDS)
        assert power.writes() == 0
        tell(f"the former desktop has written nothing in {time.monotonic() - since:.0f} s")
        begun = begins_with(third)
        assert power.writes() > 0  # which would have been seen before, too
        assert all(begun[kind] > last for kind, last in promised.items()), (begun, promised)
        second.wait_for(_FORGOTTEN, SECONDS)
        assert acknowledged(second) == promised
        power.cut(third)
        for desktop in (first, second, third):
            assert_nothing_is_damaged(desktop)
        assert_all_is_there(machines, first, second, third)
