"""The disk over the wire: long cuts, faults again and again in any order, and many power cuts."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.vm.faults import assert_all_is_there, assert_holds, assert_nothing_is_damaged, session
from tests.vm.power import begins_with, powered
from tests.vm.wire import teller, wire

_LONG_SECONDS = 900.0
_FAULTS = 40
_POWER_CUTS = 50


def test_the_cable_is_out_for_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with wire(tmp_path, table="gpt", sector=512, root="ext4") as machines:
        with session(machines, teller(capsys)) as one:
            one.cable_out(_LONG_SECONDS)
            one.end()
            assert_nothing_is_damaged(one.desktop)
        assert_all_is_there(machines, one.desktop)


def test_faults_again_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell = teller(capsys)
    seed = int.from_bytes(os.urandom(4))
    tell(f"seed {seed}")
    chance = random.Random(seed)
    with wire(tmp_path, table="gpt", sector=4096, root="btrfs", ear=True) as machines:
        with session(machines, tell) as one:
            faults = (
                lambda: one.cable_out(chance.uniform(0.1, 30)),
                lambda: one.kill("connection"),
                lambda: one.kill("all"),
                lambda: one.move_nic(one.desktop, chance.uniform(1, 20)),
                lambda: one.move_nic(one.laptop, chance.uniform(1, 20)),
                lambda: one.cable_out_under_pressure(chance.uniform(5, 30)),
            )
            for _ in range(_FAULTS):
                chance.choice(faults)()
            one.end()
            assert_nothing_is_damaged(one.desktop)
        assert_all_is_there(machines, one.desktop)


def test_many_power_cuts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a cut would leave is copied while all goes on: the disk without its server's cache."""
    tell = teller(capsys)
    with (
        wire(tmp_path, table="dos", sector=512, root="xfs") as machines,
        powered(machines, tell) as power,
    ):
        power.on("desktop")
        desktop = power.desktop("desktop")
        begins_with(desktop)
        for number in range(1, _POWER_CUTS + 1):
            copy = tmp_path / "copy.img"
            promised = power.copy_as_cut(desktop, copy)
            assert_holds(machines.with_disk(copy), promised)
            tell(f"power cut {number}: {promised}")
        assert_nothing_is_damaged(desktop)
