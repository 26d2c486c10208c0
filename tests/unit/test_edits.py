"""Edits to network managers' files: once, and nothing else is changed by a byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.host.server_os import edits

RULES = Path(__file__).resolve().parents[2] / "autokexec/network"
NAMES = ("stiefellink", "stiefeltun")
DHCPCD = (RULES / "stiefellink-dhcpcd.conf").read_text()
CONNMAN = (RULES / "stiefellink-connman.conf").read_text()
IFUPDOWN = (RULES / "stiefellink-ifupdown").read_text()
LISTED = CONNMAN.splitlines()[-1]

# Lines that mean something to one of them, and what else there is in files: also line ends that are
# none to them, and bytes that are not UTF-8.
LINES = st.lists(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "# stiefellink \\",
                "\r",
                "a b\\",
                "\\",
                "\x0b\u2028",
                "\udcff",
                "[General]",
            ),
            *(
                " [General] \r",
                "[Other]",
                "[General",
                "NetworkInterfaceBlacklist=",
                "denyinterfaces",
            ),
            *(
                "NetworkInterfaceBlacklist = a,b \r",
                " NetworkInterfaceBlacklist=stiefel",
                "auto lo",
            ),
            *("#NetworkInterfaceBlacklist=x", "denyinterfaces a,b stiefel*", "interface eth0"),
            *(
                "iface stiefellink inet manual",
                "iface stiefeltun inet manual",
                "source x/*",
                LISTED,
            ),
        ]
    )
)
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, LINES, st.sampled_from(["", "\n"]))


def dhcpcd(text: str) -> str:
    return edits.dhcpcd(text, DHCPCD, NAMES)


def connman(text: str) -> str:
    return edits.connman(text, CONNMAN, NAMES)


def interfaces(text: str) -> str:
    return edits.interfaces(text, IFUPDOWN, NAMES)


@pytest.mark.parametrize("edit", [dhcpcd, connman, interfaces])
@given(text=TEXTS)
def test_once_and_nothing_else(edit: Callable[[str], str], text: str) -> None:
    """What is there stays, in its order; there are only things between."""
    once = edit(text)
    assert edit(once) == once
    left = iter(once)
    assert all(character in left for character in text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hostname\nduid",
        "# A sample\r\nhostname\r\n",
        "denyinterfaces eth1 stiefellink",
        "interface eth0\ndenyinterfaces stiefel*\n",
        "#denyinterfaces stiefel*\n",
        "denyinterfacesx stiefel*\n",
        "denyinterfaces\n",
    ],
)
def test_dhcpcd_gets_the_rule(text: str) -> None:
    assert dhcpcd(text) == DHCPCD + text


@pytest.mark.parametrize(
    "text",
    [
        "\tdenyinterfaces\tveth*,stiefel*",
        "denyinterfaces stiefellink\r\n\ndenyinterfaces stiefeltun\r\ninterface eth0",
        "x\ndenyinterfaces *\n",
    ],
)
def test_dhcpcd_denies_them_already(text: str) -> None:
    assert dhcpcd(text) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", CONNMAN),
        ("# none\n[Other]\na=b", f"# none\n[Other]\na=b\n{CONNMAN}"),
        ("[General]", f"[General]\n{LISTED}"),
        ("\n[General]\r\n", f"\n[General]\r\n{LISTED}\n"),
        (
            "[General]\n# NetworkInterfaceBlacklist=vmnet\na=b\n[General]\nc=d",
            f"[General]\n{LISTED}\n# NetworkInterfaceBlacklist=vmnet\na=b\n[General]\nc=d",
        ),
        (
            "[Other]\nNetworkInterfaceBlacklist=a\n[General]\n",
            f"[Other]\nNetworkInterfaceBlacklist=a\n[General]\n{LISTED}\n",
        ),
        (
            "[General]\nNetworkInterfaceBlacklist = a, b ,\t\r\nx=y",
            "[General]\nNetworkInterfaceBlacklist = a, b ,stiefellink,stiefeltun\t\r\nx=y",
        ),
        (
            "[General]\nNetworkInterfaceBlacklist=\n",
            "[General]\nNetworkInterfaceBlacklist=stiefellink,stiefeltun\n",
        ),
        (
            "[General]\nNetworkInterfaceBlacklist=a\n[X]\n[General]\n NetworkInterfaceBlacklist=b",
            "[General]\nNetworkInterfaceBlacklist=a\n[X]\n[General]\n "
            "NetworkInterfaceBlacklist=b,stiefellink,stiefeltun",
        ),
        (
            "[General]\nNetworkInterfaceBlacklist=stiefell,veth",
            "[General]\nNetworkInterfaceBlacklist=stiefell,veth,stiefeltun",
        ),
        (
            "[General]\nNetworkInterfaceBlacklist=stiefel",
            "[General]\nNetworkInterfaceBlacklist=stiefel",
        ),
    ],
)
def test_connman(before: str, after: str) -> None:
    assert connman(before) == after


@pytest.mark.parametrize(
    "before",
    [
        "",
        "auto lo\r\niface lo inet loopback",
        "iface stiefellink inet manual\n",
        "# iface stiefellink inet manual\n# iface stiefeltun inet manual\n",
    ],
)
def test_ifupdown_gets_the_rule(before: str) -> None:
    assert interfaces(before) == IFUPDOWN + before


def test_ifupdown_has_them_already() -> None:
    text = "iface stiefellink \\\n  inet manual\n iface\tstiefeltun inet6 auto"
    assert interfaces(text) == text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("source /etc/network/interfaces.d/*\n", True),
        ("auto lo\nsource interfaces.d/*", True),
        ("source-directory /etc/network/interfaces.d\n", True),
        ("source-directory interfaces.d/", True),
        ("\tsource \\\n /etc/network/*.d/*\n", True),
        ("source /etc/network/interfaces.d/*.cfg /etc/network/interfaces.d/00-s*\n", True),
        ("source interfaces.d/*\nauto /*=lan\n", True),
        ("allow-hotplug /*\nauto lo eth0\nsource interfaces.d/*\n", True),
        ("auto lo /*=lan\nsource interfaces.d/*\n", False),
        ("allow-auto mac/02:*=lan\nsource interfaces.d/*\n", False),
        ("", False),
        ("#source /etc/network/interfaces.d/*\n", False),
        ("source /etc/network/interfaces.d/*.cfg\n", False),
        ("source /etc/network/*\n", False),
        ("source-directory /etc/network/other.d\n", False),
        ("up echo source \\\nsource /etc/network/interfaces.d/*\n", False),
        ("source\n", False),
        ("source /etc/network/interfaces.d/[\n", False),
    ],
)
def test_interfaces_that_are_read_as_well(text: str, read: bool) -> None:
    path = "/etc/network/interfaces.d/00-stiefellink"
    assert edits.reads(text, path, of="/etc/network/interfaces") is read


def test_the_rules_are_what_the_edits_look_for() -> None:
    assert dhcpcd(DHCPCD) == DHCPCD
    assert connman(CONNMAN) == CONNMAN
    assert interfaces(IFUPDOWN) == IFUPDOWN
    assert re.match("NetworkInterfaceBlacklist=.*,stiefellink,stiefeltun$", LISTED)
