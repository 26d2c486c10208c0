"""The shell for looking around: what it says first, and what it leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem import cmdline
from stiefelsystem.interfaces import Interface
from stiefelsystem.ramdisk import consoles, rescue

UNITS = Path(__file__).parents[2] / "initrd/etc/systemd/system"


class Started(Exception):
    """Another program has taken the place of ours."""


def test_what_is_said_and_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execv(program: Path, argv: list[str]) -> None:
        raise Started(str(program), *argv)

    there = [Interface("eth0", 2, True, True), Interface("eth1", 3, True, False)]
    monkeypatch.setattr(consoles, "take_over", lambda: None)
    # What is down has no signal to be read.
    switched_on: list[Interface] = []
    monkeypatch.setattr(rescue.link, "usable", lambda: switched_on.extend(there))
    monkeypatch.setattr(rescue.interfaces, "wired", lambda: switched_on)
    monkeypatch.setattr(rescue.interfaces, "mac", lambda name: f"02:00:00:00:00:0{name[-1]}")
    monkeypatch.setattr(rescue.os, "execv", execv)
    with pytest.raises(Started) as started:
        rescue.main()
    assert started.value.args == ("/usr/sbin/sulogin", "sulogin", "--force")
    said = capsys.readouterr().err.splitlines()
    assert said[1:3] == [
        "  wired network interface eth0, 02:00:00:00:00:00: has a signal",
        "  wired network interface eth1, 02:00:00:00:00:01: has no signal, or not yet",
    ]
    assert "serves nothing" in said[0]
    assert "poweroff" in said[3]
    assert "reboot" in said[3]


def test_the_unit_of_the_boot_menu() -> None:
    """The menu's word names a unit that runs this, and that starts neither server nor client."""
    _, _, name = cmdline.SHELL_UNIT.partition("systemd.unit=")
    unit = (UNITS / name).read_text()
    assert f"-m {rescue.__name__}\n" in unit
    assert "stiefel-client" not in unit
    assert "stiefel-server" not in unit
    # sulogin takes all consoles only where it is started at /dev/console.
    assert "TTYPath=/dev/console\n" in unit
    assert "StandardInput=tty-force\n" in unit
