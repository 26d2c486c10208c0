"""A real Debian whose disk is out of reach for minutes: nothing in it may take that for its end."""

from __future__ import annotations

import time
from pathlib import Path

from stiefelsystem.host.laptop import Laptop
from tests.vm.console import ask, log_in
from tests.vm.test_target import parts
from tests.vm.two import both

__all__ = ["parts"]  # the fixture

# Longer than systemd's watchdogs wait (3 min), and than its default for a start or a stop (90 s).
_OUT_SECONDS = 400.0
_SECONDS = 120.0


def test_a_stall_of_minutes(parts: tuple[Path, Laptop], tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    with both(parts, disk) as (server, desktop):
        log_in(desktop)
        desktop.type("(while sleep 1; do logger still-here; sync; done) &\n")
        at = desktop.position
        for machine in (server, desktop):
            machine.order("set_link", name="cable", up=False)
        desktop.wait_for("the disk waits for the laptop", _SECONDS, after=at)
        time.sleep(_OUT_SECONDS)
        for machine in (server, desktop):
            machine.order("set_link", name="cable", up=True)
        desktop.wait_for(r"the disk goes on after \d+ s", _SECONDS, after=at)
        assert ask(desktop, "systemctl --failed --no-legend | wc -l") == "0"
        told = "journalctl -b --no-pager | grep -ciE 'watchdog (timeout|timestamp)|I/O error'"
        assert ask(desktop, told) == "0"
        assert "running" in ask(desktop, "systemctl is-system-running")
        desktop.type("systemctl poweroff\n")
        desktop.wait_until_off(_SECONDS)
    disk.unlink()
