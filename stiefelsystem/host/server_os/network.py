"""Rules that keep the OS's hands off the link to its disk; docs/network.md tells why."""

from __future__ import annotations

from collections.abc import Callable

from stiefelsystem.host.preflight import tree
from stiefelsystem.host.server_os import edits
from stiefelsystem.host.server_os.firewalls import warnings
from stiefelsystem.host.server_os.parts import copy
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import EditFile, Step, WriteFiles
from stiefelsystem.host.tree import SOURCE

__all__ = ["steps", "warnings"]

_NAMES = ("stiefellink", "stiefeltun")
_RULES = "autokexec/network"
# For whoever may be installed later, too.
_FILES = {
    "00-stiefellink.network": "/etc/systemd/network/00-stiefellink.network",
    "00-stiefellink.link": "/etc/systemd/network/00-stiefellink.link",
    "00-stiefellink.rules": "/etc/udev/rules.d/00-stiefellink.rules",
    "zz-stiefellink-networkmanager.conf": "/etc/NetworkManager/conf.d/zz-stiefellink.conf",
    "zz-stiefellink-sysctl.conf": "/etc/sysctl.d/zz-stiefellink.conf",
}
_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin")
_INTERFACES = "/etc/network/interfaces"
_OF_INTERFACES = "/etc/network/interfaces.d/00-stiefellink"
# Successors of ifupdown: they leave alone what is in no file of theirs, and take a part of our rule
# for an error.
_SUCCESSORS = ("/etc/network/ifupdown2", "/etc/network/ifupdown-ng.conf")


def steps(root: Root) -> list[Step]:
    """The rules for those that have a folder for them, and edits for those that have one file.

    Raises `StiefelError` for a file that only root may read.
    """
    return [
        WriteFiles(
            id="network",
            purpose="keep networkd, NetworkManager, udev and sysctl off the link to the disk",
            files=tuple(copy(f"{_RULES}/{name}", path) for name, path in _FILES.items()),
        ),
        *_ifupdown(root),
        *_one_file(root, "dhcpcd", "/etc/dhcpcd.conf", edits.dhcpcd, program="dhcpcd"),
        *_one_file(root, "connman", "/etc/connman/main.conf", edits.connman, program="connmand"),
    ]


def _ifupdown(root: Root) -> list[Step]:
    if not _has(root, _INTERFACES) or any(_has(root, path) for path in _SUCCESSORS):
        return []
    rule = f"{_RULES}/stiefellink-ifupdown"
    id, purpose = "network-ifupdown", "keep ifupdown off the link to the disk"
    if edits.reads(tree.text(root, _INTERFACES), _OF_INTERFACES, of=_INTERFACES):
        files = (copy(rule, _OF_INTERFACES),)
        return [WriteFiles(id=id, purpose=purpose, files=files)]
    edit = _with_rule(edits.interfaces, rule)
    return [EditFile(id=id, purpose=purpose, path=_INTERFACES, edit=edit)]


def _one_file(root: Root, name: str, path: str, edit: edits.Edit, *, program: str) -> list[Step]:
    """The edit of a network manager's one file, if it is installed."""
    programs = (f"{folder}/{program}" for folder in _PROGRAM_FOLDERS)
    if not any(_has(root, one) for one in (path, *programs)):
        return []
    return [
        EditFile(
            id=f"network-{name}",
            purpose=f"keep {name} off the link to the disk",
            path=path,
            edit=_with_rule(edit, f"{_RULES}/stiefellink-{name}.conf"),
        )
    ]


def _with_rule(edit: edits.Edit, rule: str) -> Callable[[str], str]:
    text = (SOURCE / rule).read_text()
    return lambda before: edit(before, text, _NAMES)


def _has(root: Root, path: str) -> bool:
    return tree.real(root, path).exists()
