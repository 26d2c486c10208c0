"""The laptop's power is cut twice, each time while a desktop writes to its disk."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.vm.faults import assert_all_is_there, assert_nothing_is_damaged
from tests.vm.power import begins_with, powered
from tests.vm.wire import SECONDS, acknowledged, teller, wire


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
        promised = power.cut(first)
        power.on("first", "second")
        since = time.monotonic()
        second = power.desktop("second")
        second.wait_for("received and verified kernel and initrd", SECONDS)
        assert power.writes() == 0
        tell(f"the former desktop has written nothing in {time.monotonic() - since:.0f} s")
        begun = begins_with(second)
        assert power.writes() > 0  # which would have been seen before, too
        assert all(begun[kind] > last for kind, last in promised.items()), (begun, promised)
        first.wait_for("the laptop does not answer, though the cable has a signal", SECONDS)
        assert acknowledged(first) == promised
        power.cut(second)
        assert_nothing_is_damaged(second)
        assert_all_is_there(machines, first, second)
