"""What a person reads while the laptop is looked for: what is missing, and what to do about it."""

from __future__ import annotations

import pytest

from stiefelsystem.datagram import Peer
from stiefelsystem.interfaces import Interface
from stiefelsystem.messages import Accepted, Offer, Role
from stiefelsystem.ramdisk import search
from stiefelsystem.ramdisk.search import Search

KEY = b"k" * 32
LAPTOP = Peer("fe80::1", 40000, 2**30)


class Desktop:
    """A machine with these interfaces, a clock, and a socket that sends nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.interfaces: list[Interface] = []
        monkeypatch.setattr(search, "time", self)
        monkeypatch.setattr(search, "wired", lambda: self.interfaces)
        monkeypatch.setattr(
            search.link, "usable", lambda: [one for one in self.interfaces if one.carrier]
        )
        self.search = Search(KEY)

    def monotonic(self) -> float:
        return self.now

    def ask_all(self, data: bytes, ifindex: int) -> None:
        pass

    send = ask_all

    def plug(self, **carriers: bool) -> None:
        self.interfaces = [Interface(name, 2, True, carrier) for name, carrier in carriers.items()]

    def ask(self, seconds: float) -> None:
        """Search for so long."""
        for _ in range(round(seconds * 2)):
            self.search._ask(self)  # type: ignore[arg-type]
            self.now += 0.5

    def hear(self, data: bytes) -> object:
        return self.search._handle(self, data, LAPTOP)  # type: ignore[arg-type]

    def ordered(self, countdown: int) -> None:
        """The laptop says that it stops its OS."""
        key = self.search._keys[Role.AUTOKEXEC]
        self.hear(Accepted(self.search._nonces[-1], bytes(32), countdown).pack(key))


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Desktop:
    return Desktop(monkeypatch)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_what_is_missing(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    desktop.ask(1)
    assert said(capsys) == ["waiting for a wired network interface: there is none"]
    desktop.plug(eth0=False, eth1=False)
    desktop.ask(4)
    assert said(capsys) == [], "two NICs take their time to agree"
    desktop.ask(3)
    (line,) = said(capsys)
    assert line.startswith("no cable is plugged in: eth0, eth1; plug it in here and at the laptop")
    desktop.plug(eth0=False, eth1=True)
    desktop.ask(1)
    assert said(capsys) == ["searching for the laptop on eth1"]


def test_a_signal_that_comes_soon_is_no_missing_cable(
    desktop: Desktop, capsys: pytest.CaptureFixture[str]
) -> None:
    desktop.ask(60)
    desktop.plug(eth0=False)
    desktop.ask(4)
    desktop.plug(eth0=True)
    desktop.ask(1)
    assert not any("cable" in line for line in said(capsys))


def test_it_is_said_again_now_and_then(
    desktop: Desktop, capsys: pytest.CaptureFixture[str]
) -> None:
    desktop.plug(eth0=True)
    desktop.ask(100)
    state = "searching for the laptop on eth0"
    reminder = f"{state}; is it switched on, and has it been set up?"
    assert said(capsys) == [state, reminder, reminder, reminder]


def test_the_reboot_is_waited_for(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    """Not told as a missing cable, though the laptop's NIC has no signal meanwhile."""
    desktop.plug(eth0=True)
    desktop.ask(1)
    desktop.ordered(7)
    desktop.plug(eth0=False)
    desktop.ask(35)
    lines = said(capsys)
    assert lines[:2] == ["searching for the laptop on eth0", lines[1]]
    assert "its OS stops in 7 s" in lines[1]
    assert lines[2:] == [
        f"waiting for the laptop to stop its OS and reboot, for {seconds} s"
        for seconds in (10, 20, 30)
    ]


def test_a_laptop_that_does_not_come_back(
    desktop: Desktop, capsys: pytest.CaptureFixture[str]
) -> None:
    desktop.plug(eth0=True)
    desktop.ask(1)
    desktop.ordered(7)
    desktop.ask(99)
    lines = said(capsys)
    assert lines[-2].startswith("the laptop has not come back: look at its screen")
    assert lines[-1] == "searching for the laptop on eth0"


def test_a_laptop_that_has_come_back(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    """The next search begins with what is there then."""
    desktop.plug(eth0=True)
    desktop.ask(1)
    desktop.ordered(7)
    desktop.ask(20)
    nonce = desktop.search._nonces[-1]
    key = desktop.search._keys[Role.SERVER]
    assert desktop.hear(Offer(Role.SERVER, nonce, bytes(32)).pack(key))
    said(capsys)
    desktop.ask(1)
    assert said(capsys) == ["searching for the laptop on eth0"]
