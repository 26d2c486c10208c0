"""Real network managers, of Debian's packages, beside a link that the real keeper keeps.

Without our rule, each does something to it: NetworkManager takes its address away, since it makes a
connection of its own for every NIC that has none; ConnMan asks on it for an IPv4 address, and at
its end takes all addresses away and switches the NIC off; dhcpcd asks on it for an IPv4 address and
a router, changes its settings, but leaves the address, also at its end.

They run in namespaces of their own, and there is no udev for them: for NetworkManager, /sys is
read-only, and dhcpcd is told so. With udev, they wait for it before they look at an interface.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stiefelsystem import files
from stiefelsystem.host import debian
from stiefelsystem.host.bootstrap import SUITE
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.server_os import network
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.stamps import Stamp
from tests import builds, capabilities
from tests.keeper.conftest import program as program  # noqa: PLC0414 # a fixture
from tests.keeper.test_session import PLAIN
from tests.namespaces import in_own_mounts, in_own_network
from tests.netns.test_link_settings import eventually, ip, is_there, keeping, run

PACKAGES = ("connman", "dbus", "dhcpcd-base", "ifupdown", "network-manager")
INTERFACES = "etc/network/interfaces"
_FOLDER = builds.REPO / "workdir/managers"
_SECONDS = 30.0
# linux/if_ether.h, linux/rtnetlink.h, linux/if.h
_ALL, _IPV4, _ARP = 0x0003, 0x0800, 0x0806
_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _DEL_ADDRESS = 16, 17, 20, 21
_GROUPS = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_UP = 0x1
_TO_DHCP_SERVER = 67


@dataclass(frozen=True)
class Manager:
    """A network manager's command, and what else a user has in its files."""

    command: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    # What it changes at its end, without harm.
    at_end: frozenset[str] = frozenset()
    # Whether it lets go of a NIC that gets one of our names after it was taken over.
    lets_go: bool = True


# At its end, it gives all NICs the kernel's way to make link-local addresses back, also those that
# it never managed. The kernel would make the address that is there already.
_MODE = frozenset({"ipv6/conf/stiefellink/addr_gen_mode"})
_NETWORK_MANAGER = ("NetworkManager", "--no-daemon")
_USER_CONF = "etc/NetworkManager/conf.d/90-user.conf"
_LATER_CONF = "etc/NetworkManager/conf.d/zzz-user.conf"
_LIST = "[keyfile]\nunmanaged-devices=interface-name:wg*\n"
_LISTED = "NetworkManager with a list of the user's after ours"
_DHCPCD = ("dhcpcd", "--nobackground", "--nodev")
_CONNMAN = ("connmand", "--nodaemon")
MANAGERS = {
    "NetworkManager": Manager(_NETWORK_MANAGER, at_end=_MODE),
    "NetworkManager with a list of the user's": Manager(
        _NETWORK_MANAGER, {_USER_CONF: _LIST}, _MODE
    ),
    _LISTED: Manager(_NETWORK_MANAGER, {_LATER_CONF: _LIST}, _MODE),
    "NetworkManager that is to manage all": Manager(
        _NETWORK_MANAGER, {_USER_CONF: "[device-all]\nmatch-device=*\nmanaged=1\n"}, _MODE
    ),
    "dhcpcd": Manager(_DHCPCD),
    "dhcpcd that is to manage all": Manager(
        _DHCPCD, {"etc/dhcpcd.conf": "allowinterfaces *\ninterface other\nmetric 100\n"}
    ),
    "ConnMan": Manager(_CONNMAN, lets_go=False),
    "ConnMan with a list of the user's": Manager(
        _CONNMAN,
        {"etc/connman/main.conf": "[General]\nNetworkInterfaceBlacklist = vmnet\n"},
        lets_go=False,
    ),
}
# What is left of our rule beside that list is looked at once for each NIC, under its first name.
BY_NAME = {name: manager for name, manager in MANAGERS.items() if name != _LISTED}


@pytest.fixture(scope="session")
def debian_tree() -> Path:
    """A tree with all of them; none is started in it by its package."""
    capabilities.require_root()
    capabilities.require_tools("ip", "nsenter", "setpriv", "systemd-nspawn", "unshare")
    tree = _FOLDER / "tree"
    stamp = Stamp(tree, SUITE, *debian.BASE_PACKAGES, *PACKAGES)
    with builds.alone():
        if stamp.is_current():
            return tree
        stamp.remove()
        supply = Supply(builds.CACHE)
        files.make_folder(_FOLDER)
        files.make_folder(supply.cache)
        debian.base_tree(tree, supply)
        # invoke-rc.d(8): nothing may be started.
        files.write(tree / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
        debian.install(tree, PACKAGES, supply)
        # By its file, NetworkManager and our steps take it that ifupdown is used.
        (tree / INTERFACES).unlink()
        stamp.write()
    return tree


# A copy of the tree that ends with the test's mounts; neither the machine's devices nor its
# services are in it.
MOUNT = """
mount -t tmpfs own "$2"
cd "$2"
mkdir upper work root
mount -t overlay -o "lowerdir=$1,upperdir=upper,workdir=work" overlay root
cd root
mount -t sysfs -o ro sys sys
mount -t tmpfs run run
mkdir run/dbus
mount -t tmpfs dev dev
cp -a /dev/null /dev/zero /dev/random /dev/urandom dev/
"""
# Until stdin ends; then the manager is ended as an init system does it.
RUN = """
dbus-daemon --system --fork
"$@" &
cat
kill "$!"
wait "$!"
"""
# They may change neither the clock, nor the host name, nor what else a machine has but one of.
ALONE = (
    *("setpriv", "--pdeathsig", "KILL", "--bounding-set", "-sys_time,-sys_module,-sys_boot"),
    *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"),
)


def system(debian_tree: Path, folder: Path, manager: Manager, *, rule: bool) -> Path:
    """A system with this manager, set up by our steps or not, in the caller's own mounts."""
    folder.mkdir()
    run("sh", "-e", "-c", MOUNT, "sh", debian_tree, folder)
    root = Root(folder / "root")
    for name, content in manager.files.items():
        (root.path / name).write_text(content)
    if rule:
        assert execute(network.steps(root), root=root, yes=True)
    return root.path


@contextlib.contextmanager
def managing(tree: Path, manager: Manager) -> Iterator[None]:
    """The manager at work, until the end of the block."""
    command = [*ALONE, f"--root={tree}", "sh", "-e", "-c", RUN, "sh", *manager.command]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as running:
        try:
            yield
            assert running.poll() is None, "the manager has ended by itself"
            assert running.stdin is not None
            running.stdin.close()
            assert running.wait(_SECONDS) == 0
        finally:
            running.kill()


class Elsewhere:
    """The other ends of the cables, where the manager does not see them."""

    def __init__(self, process: int) -> None:
        self._process = str(process)
        ip("link", "set", "laptop", "netns", self._process)
        self.cable("laptop", "up")
        eventually(has_carrier, "the link has no signal")

    def cable(self, end: str, state: str) -> None:
        enter = ("nsenter", f"--net=/proc/{self._process}/ns/net")
        run(*enter, "ip", "link", "set", end, state)

    def plug_in(self, name: str, *words: str) -> None:
        """A new NIC, with a cable to something that says nothing."""
        ends = ["peer", "name", f"{name}-end", "netns", self._process]
        ip("link", "add", name, *words, "type", "veth", *ends)
        self.cable(f"{name}-end", "up")

    def plug_in_until_managed(self, name: str) -> None:
        with sniffer() as packets:
            self.plug_in(name)
            wait_for_dhcp(packets, name)

    def pull_and_plug(self, end: str = "laptop") -> None:
        """The link's cable, for a moment."""
        self.cable(end, "down")
        eventually(lambda: not has_carrier(), "the link has a signal")
        self.cable(end, "up")
        eventually(has_carrier, "the link has no signal")


@contextlib.contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]
    with subprocess.Popen(command) as holder:
        try:
            own = Path("/proc/self/ns/net").readlink()
            there = Path(f"/proc/{holder.pid}/ns/net")
            eventually(lambda: there.readlink() != own, "no second namespace")
            yield Elsewhere(holder.pid)
        finally:
            holder.kill()


def has_carrier() -> bool:
    return "LOWER_UP" in ip("link", "show", "dev", "stiefellink")


def sniffer() -> socket.socket:
    """What passes all interfaces, in both directions, without Ethernet's header: packet(7)."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))


def wait_for_dhcp(packets: socket.socket, name: str) -> None:
    """Until a DHCP client asks there: then it is managed."""
    deadline = time.monotonic() + _SECONDS
    while True:
        left = max(deadline - time.monotonic(), 0)
        assert select.select([packets], [], [], left)[0], f"nobody asks for an address on {name}"
        packet, (interface, protocol, *_) = packets.recvfrom(2048)
        if (interface, protocol) == (name, _IPV4) and asks_for_address(packet):
            return


def asks_for_address(packet: bytes) -> bool:
    """UDP to a DHCP server; RFC 791."""
    header = (packet[0] & 0xF) * 4
    ports = packet[header : header + 4]
    return packet[9] == socket.IPPROTO_UDP and ports[2:] == _TO_DHCP_SERVER.to_bytes(2, "big")


class Watch:
    """All that happens to the link, which the keeper may have put right long since."""

    def __init__(self) -> None:
        self._index = socket.if_nametoindex("stiefellink")
        self._packets = sniffer()
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, _GROUPS))
        self._packets.setblocking(False)
        self._events.setblocking(False)
        self._settings = settings()

    def seen(self) -> set[str]:
        """What somebody has done to it since the last time."""
        before, self._settings = self._settings, settings()
        changed = {name for name, value in self._settings.items() if before.get(name) != value}
        return changed | set(self._happened()) | set(self._sent())

    def _sent(self) -> Iterator[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                _, (interface, protocol, *_) = self._packets.recvfrom(2048)
                if interface == "stiefellink" and protocol in (_IPV4, _ARP):
                    yield "somebody speaks IPv4 on it"

    def _happened(self) -> Iterator[str]:
        """From what the kernel tells: netlink(7), rtnetlink(7)."""
        with contextlib.suppress(BlockingIOError):
            while True:
                told = self._events.recv(65536)
                while told:
                    length, kind = struct.unpack_from("=IH", told)
                    # Both ifinfomsg and ifaddrmsg have the index there.
                    index, flags = struct.unpack_from("=iI", told.ljust(28, b"\0"), 20)
                    told = told[(length + 3) & ~3 :]
                    if index != self._index:
                        continue
                    if kind in (_NEW_ADDRESS, _DEL_ADDRESS):
                        yield "its addresses were changed"
                    if kind == _DEL_LINK or (kind == _NEW_LINK and not flags & _UP):
                        yield "it was switched off"


def settings() -> dict[str, str]:
    """What ip(8) and sysctl(8) tell about the link, without what comes and goes with the cable."""
    base = Path("/proc/sys/net")
    read = {
        str(path.relative_to(base)): path.read_text()
        for version in ("ipv4", "ipv6")
        for path in (base / version / "conf/stiefellink").iterdir()
        if path.name != "stable_secret"  # cannot be read before it is set
    }
    read["addresses"] = ip("-oneline", "address", "show", "dev", "stiefellink")
    mac = ip("-oneline", "link", "show", "dev", "stiefellink").partition("link/ether")[2]
    return {**read, "MAC": mac}


@pytest.mark.parametrize("rule", [True, False], ids=["with our rule", "without it"])
@pytest.mark.parametrize("manager", MANAGERS.values(), ids=list(MANAGERS))
@in_own_mounts
@in_own_network
def test_hands_off(
    program: Path, debian_tree: Path, tmp_path: Path, manager: Manager, rule: bool
) -> None:
    """While the manager takes over others, while the cable is pulled, and after its end."""
    tree = system(debian_tree, tmp_path / "system", manager, rule=rule)
    with keeping(program, tmp_path / "own"), elsewhere() as ends:
        watch = Watch()
        with managing(tree, manager):
            ends.plug_in_until_managed("other")
            ends.pull_and_plug()
            ends.plug_in_until_managed("another")
            seen = watch.seen()
        seen |= watch.seen() - manager.at_end
        ends.pull_and_plug()
        seen |= watch.seen()
        assert (seen == set()) is rule, seen


@pytest.mark.parametrize("manager", BY_NAME.values(), ids=list(BY_NAME))
@in_own_mounts
@in_own_network
def test_another_adapter(
    program: Path, debian_tree: Path, tmp_path: Path, manager: Manager
) -> None:
    """The link's adapter is plugged in again, and has another name until the keeper sees it.

    Whoever goes by names alone has taken it over by then. Most let go of it when it has its name
    back; what ConnMan takes away, which does not, the keeper restores.
    """
    tree = system(debian_tree, tmp_path / "system", manager, rule=True)
    with keeping(program, tmp_path / "own"), elsewhere() as ends:
        with managing(tree, manager):
            ends.plug_in_until_managed("other")
            ip("link", "delete", "stiefellink")
            ends.plug_in("elsewhere", "address", PLAIN["mac"])
            eventually(is_there, "the link is not back")
            # By then, the manager has seen the name, and has done what it does about it.
            ends.plug_in_until_managed("another")
            eventually(is_there, "letting go has taken the address for good")
            watch = Watch()
            ends.pull_and_plug("elsewhere-end")
            ends.plug_in_until_managed("third")
        assert (watch.seen() <= manager.at_end) is manager.lets_go
        eventually(is_there, "the manager's end has taken the address for good")
        assert ip("-6", "address", "show", "dev", "stiefellink").count("inet6") == 1
