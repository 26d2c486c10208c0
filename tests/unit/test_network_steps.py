"""The rules for network managers as steps: for whom, where, and gone again without a trace."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from stiefelsystem.host.server_os import network
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.undo import undo
from tests.unit import setup_tree as system

ALWAYS = {
    "etc/systemd/network/00-stiefellink.network",
    "etc/systemd/network/00-stiefellink.link",
    "etc/udev/rules.d/00-stiefellink.rules",
    "etc/NetworkManager/conf.d/zz-stiefellink.conf",
    "etc/sysctl.d/zz-stiefellink.conf",
}
INTERFACES = "auto lo\niface lo inet loopback\n"
SOURCE = "source /etc/network/interfaces.d/*\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def write(tree: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, newline="")


def install(tree: Path) -> list[str]:
    """Install, once more with nothing to do; the ids of the steps."""
    root = Root(tree)
    plan = network.steps(root)
    assert execute(plan, root=root, yes=True)
    before = system.snapshot(tree)
    again = network.steps(root)
    assert execute(again, root=root)
    assert system.snapshot(tree) == before
    assert [step.id for step in again] == [step.id for step in plan]
    return [step.id for step in plan]


def files(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): path.read_text()
        for path in tree.rglob("*")
        if path.is_file() and not str(path.relative_to(tree)).startswith(system.RECORD)
    }


def test_a_system_with_nothing(tree: Path) -> None:
    assert install(tree) == ["network"]
    assert files(tree).keys() == ALWAYS


UGLY = {
    "interfaces without source": {"etc/network/interfaces": INTERFACES.rstrip()},
    "interfaces with source": {"etc/network/interfaces": INTERFACES + SOURCE},
    "dhcpcd": {"etc/dhcpcd.conf": "hostname\r\ninterface eth0\r\n"},
    "connman": {"etc/connman/main.conf": "[General]\nNetworkInterfaceBlacklist=veth"},
    "connman without a file": {"usr/sbin/connmand": ""},
    "ours, older": {"etc/udev/rules.d/00-stiefellink.rules": "# older"},
}


@pytest.mark.parametrize("before", UGLY.values(), ids=list(UGLY))
def test_and_back(tree: Path, before: dict[str, str]) -> None:
    write(tree, before)
    snapshot = system.snapshot(tree)
    install(tree)
    assert files(tree).keys() >= ALWAYS
    assert undo(root=Root(tree), yes=True)
    assert system.snapshot(tree) == snapshot


def test_ifupdown_has_a_folder(tree: Path) -> None:
    write(tree, UGLY["interfaces with source"])
    assert install(tree) == ["network", "network-ifupdown"]
    now = files(tree)
    assert now["etc/network/interfaces"] == INTERFACES + SOURCE
    assert "iface stiefellink inet manual\n" in now["etc/network/interfaces.d/00-stiefellink"]


def test_ifupdown_has_one_file(tree: Path) -> None:
    write(tree, UGLY["interfaces without source"])
    install(tree)
    now = files(tree)
    assert "etc/network/interfaces.d/00-stiefellink" not in now
    assert "\niface stiefeltun inet manual\n" in now["etc/network/interfaces"]
    assert now["etc/network/interfaces"].endswith("manual\n" + INTERFACES.rstrip())


@pytest.mark.parametrize(
    "other", ["etc/network/ifupdown2/ifupdown2.conf", "etc/network/ifupdown-ng.conf"]
)
def test_ifupdowns_successors_need_none(tree: Path, other: str) -> None:
    write(tree, UGLY["interfaces with source"] | {other: ""})
    assert install(tree) == ["network"]


def test_files_behind_links(tree: Path) -> None:
    """Absolute ones, which lead somewhere else from outside."""
    write(tree, {"opt/network/dhcpcd.conf": "duid\n", "opt/bin/connmand": ""})
    (tree / "etc/dhcpcd.conf").symlink_to("/opt/network/dhcpcd.conf")
    (tree / "usr").mkdir()
    (tree / "usr/sbin").symlink_to("/opt/bin")
    assert install(tree) == ["network", "network-dhcpcd", "network-connman"]
    now = files(tree)
    assert now["opt/network/dhcpcd.conf"].endswith(
        "\ndenyinterfaces stiefellink stiefeltun\nduid\n"
    )
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.read_string(now["etc/connman/main.conf"])
    assert "stiefellink" in parser["General"]["NetworkInterfaceBlacklist"]


NFT = "/usr/sbin/nft -f\nflush ruleset\ntable {family} filter {{\n{chains}}}\n"
IN, OUT = (
    f"  chain {hook} {{{{\n    type filter hook {hook} priority 0; policy drop;\n{{0}}  }}}}\n"
    for hook in ("input", "output")
)
GOOD_IN = "    ct state established,related accept\n    meta l4proto ipv6-icmp accept\n"


def nft(*chains: str, family: str = "inet") -> dict[str, str]:
    return {
        "etc/systemd/system/sysinit.target.wants/nftables.service": "",
        "etc/nftables.conf": NFT.format(family=family, chains="".join(chains)),
    }


def saved(*lines: str) -> dict[str, str]:
    return {
        "etc/systemd/system/multi-user.target.wants/netfilter-persistent.service": "",
        "etc/iptables/rules.v6": "\n".join(("*filter", *lines, "COMMIT\n")),
    }


def ufw(defaults: str, enabled: str = "yes", rules: str = "") -> dict[str, str]:
    return {
        "etc/ufw/ufw.conf": f"# conf\nENABLED={enabled}\n",
        "etc/default/ufw": defaults,
        "etc/ufw/user6.rules": rules,
    }


WARNED = {
    "nft, nothing out": (nft(OUT.format("")), "drops by policy"),
    "nft, no answers": (nft(IN.format("    tcp dport 22 accept\n")), "answers"),
    "nft, answers in a comment": (nft(IN.format("    # ct state established accept\n")), "answers"),
    "nft, in one line": (
        nft()
        | {
            "etc/nftables.conf": "add chain inet f o { type filter hook output priority 0;"
            " policy drop; }"
        },
        "drops by policy",
    ),
    "ip6tables, nothing": (saved(":INPUT DROP [0:0]", ":OUTPUT DROP [0:0]"), "drops by policy"),
    "ip6tables, no answers": (saved(":INPUT DROP [0:0]", "-A INPUT -i lo -j ACCEPT"), "answers"),
    "ufw without IPv6": (ufw("IPV6=yes\nIPV6=no\n"), "IPV6=no"),
    "ufw, nothing out": (ufw('DEFAULT_OUTPUT_POLICY="REJECT"\n'), "ufw allow out on stiefellink"),
    "shorewall": (
        {
            "etc/runlevels/default/shorewall": "",
            "etc/shorewall/shorewall.conf": "DISABLE_IPV6=Yes\n",
        },
        "DISABLE_IPV6",
    ),
    "shorewall6": (
        {
            "etc/systemd/system/basic.target.wants/shorewall6.service": "",
            "etc/shorewall6/interfaces": "net eth0\n",
        },
        "does not name",
    ),
}
SILENT: dict[str, dict[str, str]] = {
    "nothing": {},
    "nft as Debian ships it": nft(
        "  chain input {\n    type filter hook input priority filter;\n  }\n"
    ),
    "nft with answers": nft(IN.format(GOOD_IN)),
    "nft for IPv4": nft(IN.format(""), OUT.format(""), family="ip"),
    "nft for IPv4 by default": nft(OUT.format(""), family=""),
    "nft that knows us": nft(OUT.format('    oifname { "stiefellink", "stiefeltun" } accept\n')),
    "nft switched off": {"etc/nftables.conf": nft(OUT.format(""))["etc/nftables.conf"]},
    "nft that forwards nothing": nft(OUT.format("").replace("output", "forward")),
    "ip6tables with answers": saved(
        ":INPUT DROP [0:0]",
        "-A INPUT -m state --state ESTABLISHED -j ACCEPT",
        "-A INPUT -p ipv6-icmp -j ACCEPT",
    ),
    "ufw": ufw('IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\nDEFAULT_OUTPUT_POLICY="ACCEPT"\n'),
    "ufw switched off": ufw("IPV6=no\n", enabled="no"),
    "ufw that knows us": ufw(
        'DEFAULT_OUTPUT_POLICY="DROP"\n', rules="-A ufw6-user-output -o stiefellink -j ACCEPT\n"
    ),
    "shorewall6 with a pattern": {
        "etc/systemd/system/basic.target.wants/shorewall6.service": "",
        "etc/shorewall6/interfaces": "net\t+\n",
    },
}


@pytest.mark.parametrize(("content", "said"), WARNED.values(), ids=list(WARNED))
def test_a_firewall_that_cuts(tree: Path, content: dict[str, str], said: str) -> None:
    write(tree, content)
    (sentence,) = network.warnings(Root(tree))
    assert said in sentence
    assert "would cut the link" in sentence


@pytest.mark.parametrize("content", SILENT.values(), ids=list(SILENT))
def test_a_firewall_that_does_not(tree: Path, content: dict[str, str]) -> None:
    write(tree, content)
    assert network.warnings(Root(tree)) == []
