"""The rules for network managers: each, in its own language, leaves the link alone."""

from __future__ import annotations

import configparser
from fnmatch import fnmatch
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "autokexec/network"
NAMES = ("stiefellink", "stiefeltun")


def settings(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((FOLDER / name).read_text())
    return parser


def lines(name: str) -> list[list[str]]:
    text = (FOLDER / name).read_text()
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_systemd_networkd() -> None:
    rules = settings("00-stiefellink.network")
    assert all(name in rules["Match"]["Name"].split() for name in NAMES)
    assert rules["Link"]["Unmanaged"] == "yes"


def test_networkmanager() -> None:
    rules = settings("zz-stiefellink-networkmanager.conf")
    unmanaged = rules["keyfile"]["unmanaged-devices+"].split(";")
    assert {f"interface-name:{name}" for name in NAMES} == set(unmanaged)
    assert rules["device-stiefellink"]["match-device"].split(";") == unmanaged
    assert rules["device-stiefellink"]["managed"] == "0"


def test_udev() -> None:
    """What udev makes of them: tests/netns/test_link_settings.py."""
    assert settings("00-stiefellink.link")["Match"]["OriginalName"].split() == list(NAMES)
    (rule,) = lines("00-stiefellink.rules")
    assert f'KERNEL=="{"|".join(NAMES)}",' in rule


def test_dhcpcd() -> None:
    """Patterns of fnmatch(3)."""
    (line,) = lines("stiefellink-dhcpcd.conf")
    assert line[0] == "denyinterfaces"
    assert all(any(fnmatch(name, pattern) for pattern in line[1:]) for name in NAMES)


@pytest.mark.parametrize(
    ("interface", "left"),
    [
        *((name, True) for name in NAMES),
        *((name, True) for name in ("vmnet8", "virbr0", "ve-debian", "veth12")),
        *((name, False) for name in ("eth0", "enp1s0", "wlan0", "wwan0")),
    ],
)
def test_connman(interface: str, left: bool) -> None:
    """The beginnings of names; the list stands in place of ConnMan's own."""
    listed = settings("stiefellink-connman.conf")["General"]["NetworkInterfaceBlacklist"]
    assert interface.startswith(tuple(listed.split(","))) is left


def test_ifupdown() -> None:
    stanzas = lines("stiefellink-ifupdown")
    for name in NAMES:
        assert ["iface", name, "inet", "manual"] in stanzas
    for option in ("no-auto-down", "no-scripts"):
        assert [option, *NAMES] in stanzas
    assert ["auto", *(f"/{name}" for name in NAMES)] in stanzas
