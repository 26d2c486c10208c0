"""What makes the laptop serve: a desktop that asks, and an adapter that is plugged in.

With the kernel's own events and datagrams, in a network of their own. Only /sys is a stand-in: that
of the test's process is of another network, where nothing that can be made has a device.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stiefelsystem import interfaces, keys
from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket, Peer
from stiefelsystem.laptop import asked, orders, plugged
from stiefelsystem.laptop.asked import Desktops
from stiefelsystem.laptop.orders import Order as OrderToServe
from stiefelsystem.laptop.plugged import Adapters
from stiefelsystem.messages import NONCE_SIZE, Hello, Offer, Order, Role
from tests.namespaces import in_own_network, link

SUBKEY = keys.subkey(b"\x5a" * 32, keys.AUTOKEXEC)
MAC = "00:11:22:aa:bb:cc"


@pytest.fixture
def sys_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /sys/class/net."""
    for module in (plugged, interfaces):
        monkeypatch.setattr(module, "_SYS", tmp_path)
    return tmp_path


def shown(sys_net: Path, name: str, mac: str = MAC, *, kind: str = "", device: bool = True) -> None:
    """An interface as /sys shows it."""
    folder = sys_net / name
    folder.mkdir()
    (folder / "address").write_text(f"{mac}\n")
    (folder / "type").write_text("1\n")
    (folder / "uevent").write_text(f"DEVTYPE={kind}\n" if kind else "")
    if device:
        (folder / "device").mkdir()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def plug_in(name: str) -> None:
    ip("link", "add", name, "type", "bridge")


def heard(adapters: Adapters) -> list[OrderToServe]:
    """The orders of all that the kernel has said by now: it says it before `ip` ends."""
    found = []
    while select.select([adapters], [], [], 0)[0]:
        found.append(adapters.read())
    assert found, "the kernel has said nothing"
    return [order for order in found if order]


@in_own_network
def test_an_adapter_is_plugged_in(sys_net: Path) -> None:
    with Adapters([MAC, "00:00:00:00:00:07"]) as adapters:
        shown(sys_net, "usb0")
        plug_in("usb0")
        assert heard(adapters) == [OrderToServe(f"the adapter {MAC} was plugged in")]


@in_own_network
def test_each_time_it_is_plugged_in(sys_net: Path) -> None:
    shown(sys_net, "usb0")
    with Adapters([MAC]) as adapters:
        for _ in range(2):
            plug_in("usb0")
            ip("link", "del", "usb0")
            # It is gone already: which is no consent any more.
            assert heard(adapters) == []
        plug_in("usb0")
        assert len(heard(adapters)) == 1


@in_own_network
def test_what_was_there_before_is_no_consent(sys_net: Path) -> None:
    shown(sys_net, "usb0")
    plug_in("usb0")
    with Adapters([MAC]) as adapters:
        shown(sys_net, "usb1")
        ip("link", "set", "usb0", "name", "usb1")  # the event "move"
        ip("link", "set", "usb1", "up")
        assert heard(adapters) == []
    # Nor is what happens while nobody listens.
    ip("link", "del", "usb1")
    plug_in("usb0")
    with Adapters([MAC]) as adapters:
        assert not select.select([adapters], [], [], 0)[0]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"mac": "00:11:22:aa:bb:cd"}, ""),
        ({"device": False}, f"usb0 has the MAC {MAC}, but it is no wired adapter"),
        ({"kind": "wlan"}, f"usb0 has the MAC {MAC}, but it is no wired adapter"),
        ({"kind": "vlan"}, f"usb0 has the MAC {MAC}, but it is no wired adapter"),
    ],
    ids=["another MAC", "no hardware", "wireless", "VLAN"],
)
@in_own_network
def test_another_interface(
    sys_net: Path, how: dict[str, str | bool], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Adapters([MAC]) as adapters:
        shown(sys_net, "usb0", **how)
        plug_in("usb0")
        assert heard(adapters) == []
    assert said in capsys.readouterr().err


@in_own_network
def test_an_adapter_that_has_another_mac_by_now(
    sys_net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its hardware says counts, too; a stand-in, since what can be made here has none."""
    monkeypatch.setattr(plugged, "_permanent_mac", {"usb0": MAC}.get)
    with Adapters([MAC]) as adapters:
        shown(sys_net, "usb0", "02:00:00:00:00:01")
        plug_in("usb0")
        assert len(heard(adapters)) == 1


def test_the_permanent_mac_is_read_as_ethtool_does() -> None:
    """Of whatever this machine has."""
    for one in interfaces.wired():
        done = subprocess.run(
            ["ethtool", "--show-permaddr", one.name], check=False, capture_output=True, text=True
        )
        if done.returncode == 0 and "not set" not in done.stdout:
            assert done.stdout.split()[-1] == plugged._permanent_mac(one.name)
    assert plugged._permanent_mac("no-such") == ""


@in_own_network
def test_an_adapter_that_is_renamed_meanwhile(
    sys_net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["usb0", "usb0", "enx1"])
    shown(sys_net, "enx1")
    with Adapters([MAC]) as adapters:
        plug_in("usb0")
        monkeypatch.setattr(plugged.socket, "if_indextoname", lambda _: next(names, "enx1"))
        assert len(heard(adapters)) == 1


@in_own_network
def test_an_adapter_that_cannot_be_asked_about_yet(
    sys_net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel sends its event in the middle of register_netdevice(), before it lists it."""
    name_of, refusals = socket.if_indextoname, iter(range(3))

    def late(ifindex: int) -> str:
        if next(refusals, None) is not None:
            raise OSError(errno.ENODEV, "not yet")
        return name_of(ifindex)

    monkeypatch.setattr(plugged.socket, "if_indextoname", late)
    shown(sys_net, "usb0")
    with Adapters([MAC]) as adapters:
        plug_in("usb0")
        assert len(heard(adapters)) == 1


@in_own_network
def test_an_interface_that_sys_does_not_show(sys_net: Path) -> None:
    with Adapters([MAC]) as adapters:
        plug_in("usb0")
        assert heard(adapters) == []


@in_own_network
def test_too_many_events_are_no_end(sys_net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Adapters([MAC]) as adapters:
        adapters._monitor.set_receive_buffer_size(4096)
        for number in range(40):
            plug_in(f"usb{number}")
        heard(adapters)
        assert "an adapter may be missed" in capsys.readouterr().err
        shown(sys_net, "last")
        plug_in("last")
        assert len(heard(adapters)) == 1


def test_without_pyudev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyudev", None)
    with pytest.raises(StiefelError, match="needs pyudev") as caught:
        Adapters([MAC])
    assert "python3-pyudev (Debian, Fedora)" in caught.value.hint


class Desktop:
    """A desktop on the same link, by hand."""

    def __init__(self, desktops: Desktops) -> None:
        self._desktops = desktops
        self._laptop = Peer("fe80::1", DISCOVERY_PORT, socket.if_nametoindex("lan"))
        self._socket = LinkSocket()
        self.peer = Peer("fe80::1", self._socket._socket.getsockname()[1], self._laptop.ifindex)

        # The kernel takes a moment until a new address is its own.
        assert any(self._is_heard() for _ in range(100))
        assert desktops.read() is None

    def _is_heard(self) -> bool:
        self._socket.send(b"noise", self._laptop)
        return bool(select.select([self._desktops], [], [], 0.1)[0])

    def say(self, data: bytes) -> OrderToServe | None:
        assert self._socket.send(data, self._laptop)
        assert select.select([self._desktops], [], [], 5)[0]
        return self._desktops.read()

    def offer(self) -> Offer | None:
        """The answer to a question, if there is one."""
        assert self.say(Hello(os.urandom(NONCE_SIZE)).pack()) is None
        received = self._socket.receive(0)
        return Offer.unpack(received[0]) if received else None

    def order(self) -> OrderToServe | None:
        offer = self.offer()
        assert offer
        order = self.say(Order(offer.nonce, offer.challenge).pack(SUBKEY))
        received = self._socket.receive(0)
        assert bool(received) is bool(order)  # ACCEPTED
        return order


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time in which desktops are silent."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(asked, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def listening(test: Callable[[Desktops, Desktop], None], *, wired: bool = True) -> None:
    """On a link of its own; which one counts as wired, as /sys says it, is a stand-in."""
    link("lan", "fe80::1")
    vars(asked)["is_wired"] = lambda _: wired
    with Desktops(SUBKEY, delay=7) as desktops:
        test(desktops, Desktop(desktops))


@in_own_network
def test_a_desktop_asks() -> None:
    def test(desktops: Desktops, desktop: Desktop) -> None:
        offer = desktop.offer()
        assert offer
        assert offer.role is Role.AUTOKEXEC
        order = desktop.order()
        assert order == OrderToServe(
            "a desktop on lan asks for this machine's disk", desktop.peer.identity
        )

    listening(test)


@in_own_network
def test_a_desktop_on_a_link_without_a_cable() -> None:
    listening(lambda _, desktop: _none(desktop.offer()), wired=False)


def _none(offer: Offer | None) -> None:
    assert offer is None


@in_own_network
def test_a_refused_desktop_is_heard_again_when_it_was_silent(clock: SimpleNamespace) -> None:
    def test(desktops: Desktops, desktop: Desktop) -> None:
        assert desktop.order()
        desktops.refuse(desktop.peer.identity)
        for _ in range(1000):  # as long as it goes on asking
            assert desktop.offer() is None
            clock.now += 0.5
        clock.now += 10
        assert desktop.order()
        assert desktop.order()

    listening(test)


@in_own_network
def test_another_desktop_is_not_refused(clock: SimpleNamespace) -> None:
    def test(desktops: Desktops, desktop: Desktop) -> None:
        desktops.refuse("fe80::2%1")
        assert desktop.order()

    listening(test)


class _OnceListenedTo(Adapters):
    """One is plugged in as soon as somebody listens."""

    def __enter__(self) -> _OnceListenedTo:
        super().__enter__()
        plug_in("usb0")
        return self


@in_own_network
def test_both_are_listened_to_at_once(sys_net: Path) -> None:
    shown(sys_net, "usb0")
    order = orders.wait([Desktops(SUBKEY, delay=7), _OnceListenedTo([MAC])])
    assert order.why == f"the adapter {MAC} was plugged in"
