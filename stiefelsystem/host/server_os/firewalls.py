"""Firewalls that would cut the link to the disk, as far as their files tell.

From the desktop's side, the link is connections that it opens itself: UDP over stiefellink, TCP
inside of the tunnel. So nearly all firewalls let it live. docs/network.md tells which were tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from stiefelsystem.host.preflight import tree
from stiefelsystem.host.setup.root import Root

# Files in the languages of nft(8) and ip6tables-save(8), and the services that load them.
_NFTABLES = {
    "/etc/nftables.conf": "nftables",
    "/etc/sysconfig/nftables.conf": "nftables",
    "/var/lib/nftables/rules-save": "nftables",
}
_IP6TABLES = {
    "/etc/iptables/rules.v6": "netfilter-persistent",
    "/etc/iptables/ip6tables.rules": "ip6tables",
    "/etc/sysconfig/ip6tables": "ip6tables",
    "/var/lib/ip6tables/rules-save": "ip6tables",
}
_ENABLED = (
    *(f"/etc/systemd/system/{target}.target.wants" for target in ("sysinit", "multi-user")),
    *(f"/etc/systemd/system/{target}.target.wants" for target in ("basic", "network-pre")),
    *("/etc/runlevels/boot", "/etc/runlevels/default"),
)
# Whose rules know the link need not be told.
_KNOWN = re.compile(r"\bstiefel(link|tun)\b")
_ESTABLISHED = re.compile(r"\bestablished\b", re.I)
_FAMILY = r"(inet|ip6?|arp|bridge|netdev)"
# A table without a family is one for IPv4.
_NFT_PLACE = re.compile(rf"\btable\s+(?:{_FAMILY}\s+)?[\w.$-]+|\bchain\s+{_FAMILY}\s")
_NFT_POLICY = re.compile(r"\bhook\s+(input|output)\b[^{}]*?\bpolicy\s+drop\b")
_SAVED_POLICY = re.compile(r"^:(INPUT|OUTPUT)\s+DROP\b", re.M)


def warnings(root: Root) -> list[str]:
    """A sentence for each firewall that is switched on and would cut the link; not for those of
    which it cannot be known.

    Raises `StiefelError` for a file that only root may read.
    """
    return [*_ufw(root), *_shorewall(root), *_rules(root)]


def _is_enabled(root: Root, service: str) -> bool:
    names = {service, f"{service}.service"}
    return any(names & set(tree.names(root, folder)) for folder in _ENABLED)


def _value(text: str, name: str) -> str:
    """What a file of shell assignments gives a name, in lower case."""
    found = re.findall(rf"^\s*{name}=[\"']?(\w*)", text, re.M)
    return found[-1].lower() if found else ""


def _ufw(root: Root) -> Iterator[str]:
    if _value(tree.text(root, "/etc/ufw/ufw.conf"), "ENABLED") != "yes":
        return
    defaults = tree.text(root, "/etc/default/ufw")
    if _value(defaults, "IPV6") == "no":
        yield (
            "ufw would cut the link to the disk: IPV6=no in /etc/default/ufw drops all IPv6; set "
            "IPV6=yes there"
        )
    elif _value(defaults, "DEFAULT_OUTPUT_POLICY") in ("drop", "reject"):
        files = ("/etc/ufw/before6.rules", "/etc/ufw/user6.rules")
        if not any(_KNOWN.search(tree.text(root, file)) for file in files):
            yield (
                "ufw would cut the link to the disk: it lets nothing out by default; "
                "`ufw allow out on stiefellink` and `ufw allow out on stiefeltun` open it"
            )


def _shorewall(root: Root) -> Iterator[str]:
    settings = tree.text(root, "/etc/shorewall/shorewall.conf")
    if _is_enabled(root, "shorewall") and _value(settings, "DISABLE_IPV6") == "yes":
        yield (
            "shorewall would cut the link to the disk: DISABLE_IPV6=Yes in "
            "/etc/shorewall/shorewall.conf drops all IPv6"
        )
    interfaces = tree.text(root, "/etc/shorewall6/interfaces")
    if _is_enabled(root, "shorewall6") and not re.search(r"\s\+|\bstiefellink\b", interfaces):
        yield (
            "shorewall6 would cut the link to the disk: it lets nothing through on interfaces that "
            "/etc/shorewall6/interfaces does not name; add stiefellink and stiefeltun"
        )


def _rules(root: Root) -> Iterator[str]:
    languages: tuple[tuple[dict[str, str], Callable[[str], set[str]]], ...] = (
        (_NFTABLES, _nft_drops),
        (_IP6TABLES, _saved_drops),
    )
    for files, drops in languages:
        for path, service in files.items():
            if _is_enabled(root, service):
                text = re.sub(r"#.*", "", tree.text(root, path))
                if problem := _problem(text, drops(text)):
                    yield f"{service} would cut the link to the disk: {path} {problem}"


def _problem(text: str, drops: set[str]) -> str:
    if _KNOWN.search(text):
        return ""
    if "output" in drops:
        return (
            "drops by policy what goes out; admit all that goes out on stiefellink and stiefeltun"
        )
    if "input" in drops and not _ESTABLISHED.search(text):
        return "drops the laptop's answers; admit what is established"
    return ""


def _nft_drops(text: str) -> set[str]:
    """The directions that have a chain for IPv6 which drops what none of its rules takes."""
    found = set()
    for policy in _NFT_POLICY.finditer(text):
        places = list(_NFT_PLACE.finditer(text, 0, policy.start()))
        family = places and (places[-1][1] or places[-1][2])
        if family in ("inet", "ip6"):
            found.add(policy[1])
    return found


def _saved_drops(text: str) -> set[str]:
    return {chain.lower() for chain in _SAVED_POLICY.findall(text)}
