"""A session in which everything happens to the link, and nothing to the data."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.vm import small
from tests.vm.faults import assert_all_is_there, assert_nothing_is_damaged, session
from tests.vm.wire import teller, wire

# WireGuard makes new keys after 120 s. A peer whose wish for them is not heard, since its clock is
# behind, is given new ones by the other when the old ones end, after 180 s.
_REKEY_SECONDS, _KEYS_END_SECONDS = 120.0, 180.0
_MARGIN_SECONDS = 10.0
_STALL_SECONDS = 15.0
_HOURS = 12


def test_the_session_survives_what_happens_to_its_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Meanwhile, the target's clock is 12 hours ahead, and then set back."""
    with wire(tmp_path, table="gpt", sector=4096, root="xfs", ear=True) as machines:
        with session(machines, teller(capsys)) as one:
            one.set_clock(_HOURS)
            ahead = time.monotonic()
            one.cable_out(5)
            one.kill("connection")
            one.kill("all")
            one.move_nic(one.desktop, 20)
            one.move_nic(one.laptop, 20)
            left = ahead + _REKEY_SECONDS + _MARGIN_SECONDS - time.monotonic()
            one.calm("clock-ahead", left, stall=_STALL_SECONDS)
            one.set_clock(-_HOURS)
            one.calm("clock-back", _KEYS_END_SECONDS + _MARGIN_SECONDS, stall=_STALL_SECONDS)
            one.cable_out(60)
            one.cable_out_under_pressure(15)
            one.end()
            assert_nothing_is_damaged(one.desktop)
        small.check(machines.disk)  # before any journal could be replayed: there is none
        assert_all_is_there(machines, one.desktop)
