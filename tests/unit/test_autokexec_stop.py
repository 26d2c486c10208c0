"""How the laptop's OS is stopped, by its init. The order itself: test_autokexec_service.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import stop
from tests.unit.standin_commands import Commands

GENTOO = """\
id:3:initdefault:
si::sysinit:/sbin/openrc sysinit
l0:0:wait:/sbin/openrc shutdown
l0s:0:wait:/sbin/halt -dhnp
l6:6:wait:/sbin/openrc reboot
l6r:6:wait:/sbin/reboot -d{}n
#l6x:6:wait:/sbin/reboot -k
"""


def test_systemd(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert stop.command(tmp_path) == ["systemctl", "kexec"]


def test_openrc_as_the_init(tmp_path: Path) -> None:
    (tmp_path / "run/openrc").mkdir(parents=True)
    os.mkfifo(tmp_path / "run/openrc/init.ctl")
    assert stop.command(tmp_path) == ["openrc-shutdown", "--kexec", "now"]


def test_openrc_below_sysvinit(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/inittab").write_text(GENTOO.format("k"))
    assert stop.command(tmp_path) == ["shutdown", "-r", "now"]


@pytest.mark.parametrize("inittab", [GENTOO.format(""), None])
def test_an_init_that_would_not_kexec(tmp_path: Path, inittab: str | None) -> None:
    if inittab:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/inittab").write_text(inittab)
    with pytest.raises(StiefelError, match="cannot tell how this OS is stopped"):
        stop.command(tmp_path)


def test_an_order_of_which_nothing_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(tmp_path / "bin", monkeypatch)
    commands.add("systemctl")
    monkeypatch.setattr(stop, "command", lambda: ["systemctl", "kexec"])
    monkeypatch.setattr(stop, "_PATIENCE", 0.1)
    former = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(StiefelError, match=r"systemctl kexec was accepted, but this OS still runs"):
        stop.stop()
    # Else nothing could end this program any more.
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == former
