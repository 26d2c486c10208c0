"""What an OS does to all its interfaces, and to the link: its own tools, and the real keeper."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stiefelsystem.host.server_os import network
from stiefelsystem.host.setup.root import Root
from tests import capabilities
from tests.keeper.conftest import program as program  # noqa: PLC0414 # a fixture
from tests.keeper.test_session import PLAIN, text
from tests.namespaces import in_own_network

RULES = Path(__file__).resolve().parents[2] / "autokexec/network"
SYSCTL = Path("/usr/lib/systemd/systemd-sysctl")
ALL = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
OFF = "net.ipv6.conf.all.disable_ipv6 = 1\nnet.ipv6.conf.*.disable_ipv6 = 1\n"
# A NIC is told from what has only a NIC's MAC by its device, which a veth has not.
START = """
mount -t tmpfs sys /sys
for name in stiefellink elsewhere; do mkdir -p "/sys/class/net/$name/device"; done
exec "$@"
"""


def ip(*words: str) -> str:
    return run("ip", *words)


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def is_there() -> bool:
    """The link has its name, and its address."""
    command = ["ip", "-6", "address", "show", "dev", "stiefellink"]
    shown = subprocess.run(command, check=False, capture_output=True, text=True)
    return f"{PLAIN['address']}/64" in shown.stdout


@contextlib.contextmanager
def keeping(program: Path, folder: Path) -> Iterator[None]:
    """A keeper that has its link, and waits for the laptop to answer."""
    ip("link", "add", "elsewhere", "type", "veth", "peer", "name", "laptop")
    ip("link", "set", "elsewhere", "address", PLAIN["mac"])
    ip("link", "set", "laptop", "up")
    folder.mkdir(mode=0o700)
    (folder / "session").write_bytes(text(PLAIN))
    command = ["unshare", "--mount", "sh", "-c", START, "sh", str(program), "run", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as caller:
        try:
            eventually(is_there, "the keeper does not set up the link")
            yield
        finally:
            caller.kill()


def setting(interface: str) -> str:
    return Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").read_text().strip()


@pytest.mark.parametrize("rule", [True, False], ids=["with our rule", "without it"])
@in_own_network
def test_ipv6_is_switched_off(program: Path, tmp_path: Path, rule: bool) -> None:
    """As systemd-sysctl does: for all but the link; and the keeper brings it back, without a moment
    in which the NIC is off."""
    capabilities.require(SYSCTL.exists(), "there is no systemd-sysctl")
    off = tmp_path / "off.conf"
    off.write_text(OFF)
    with keeping(program, tmp_path / "own"):
        # It goes with the carrier alone, not with IPv6.
        ip("neighbour", "add", "192.0.2.1", "lladdr", PLAIN["mac"], "dev", "stiefellink")
        run(SYSCTL, off, *([RULES / "zz-stiefellink-sysctl.conf"] if rule else []))
        eventually(is_there, "the link has lost its address")
        assert (setting("stiefellink"), setting("laptop"), setting("default")) == ("0", "1", "1")
        assert "192.0.2.1" in ip("neighbour", "show", "dev", "stiefellink")


@in_own_network
def test_ipv6_is_off_from_the_start(program: Path, tmp_path: Path) -> None:
    """As by ipv6.disable_ipv6=1."""
    ALL.write_text("1")
    with keeping(program, tmp_path / "own"):
        assert (setting("stiefellink"), setting("laptop")) == ("0", "1")


@in_own_network
def test_the_link_is_renamed(program: Path, tmp_path: Path) -> None:
    """As udev does when an adapter is plugged in, which has another name then."""
    with keeping(program, tmp_path / "own"):
        command = ["ip", "link", "set", "stiefellink", "name", "elsewhere"]
        done = subprocess.run(command, check=False)
        capabilities.require(done.returncode == 0, "the kernel renames nothing that is up")
        eventually(is_there, "the link has lost its name")


# Rules of a user's that take every NIC, and only what is in this namespace is changed by them.
UDEV = """
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/systemd/network /run/udev/rules.d
printf '[Match]\\nOriginalName=*\\n[Link]\\nMACAddress=02:00:00:00:00:99\\n' \
    >/run/systemd/network/10-user.link
echo 'SUBSYSTEM=="net", NAME="lan0"' >/run/udev/rules.d/70-persistent-net.rules
cp "$1/00-stiefellink.link" /run/systemd/network/
cp "$1/00-stiefellink.rules" /run/udev/rules.d/
udevadm test --action=add /sys/class/net/stiefellink 2>&1
"""


@in_own_network
def test_udev(tmp_path: Path) -> None:
    capabilities.require_tools("udevadm", "unshare")
    ip("link", "add", "stiefellink", "type", "veth", "peer", "name", "laptop")
    ip("link", "set", "stiefellink", "address", PLAIN["mac"], "up")
    said = run("unshare", "--mount", "sh", "-c", UDEV, "sh", RULES)
    assert "ID_NET_LINK_FILE=/run/systemd/network/00-stiefellink.link" in said
    assert "NAME 'lan0'" not in said
    # Up to version 255, this test does what it says.
    assert PLAIN["mac"] in ip("link", "show", "dev", "stiefellink")


# A laptop that answers all, and pins the desktop as the server does; else it would forget whoever
# does not answer in seconds.
LAPTOP = """
import pathlib, socket, subprocess, sys
from stiefelsystem.ramdisk import neighbour
sys.stdin.readline()
times = {"base_reachable_time_ms": 200, "delay_first_probe_time": 1, "retrans_time_ms": 100}
for name, value in times.items():
    pathlib.Path(f"/proc/sys/net/ipv6/neigh/laptop/{name}").write_text(str(value))
for words in ("link set laptop up", "address add fe80::2/64 dev laptop nodad"):
    subprocess.run(["ip", *words.split()], check=True)
neighbour.pin(sys.argv[1], socket.if_nametoindex("laptop"))
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
    link.bind(("fe80::2", 51820, 0, socket.if_nametoindex("laptop")))
    print("ready", flush=True)
    while True:
        link.sendto(*link.recvfrom(100))
"""
DESKTOP = "fe80::5054:ff:fe00:2"
CHAIN = "table {} f {{ chain c {{ type filter hook {} priority 0; policy drop; {} }}; }}\n"
ESTABLISHED = "ct state established,related accept;"
FIREWALLS = {
    "none": ("", True),
    "answers and ICMPv6": (
        CHAIN.format("inet", "input", f"{ESTABLISHED} meta l4proto ipv6-icmp accept;"),
        True,
    ),
    "IPv4 alone": (CHAIN.format("ip", "output", ""), True),
    "no neighbour discovery": (CHAIN.format("inet", "input", ESTABLISHED), True),
    "no answers": (CHAIN.format("inet", "input", "tcp dport 22 accept;"), False),
    "nothing out": (CHAIN.format("inet", "output", f"{ESTABLISHED}"), False),
}


@contextlib.contextmanager
def talking() -> Iterator[socket.socket]:
    """A connection to a laptop that has been used: what the firewall finds when it starts."""
    command = ["unshare", "--net", sys.executable, "-c", LAPTOP, DESKTOP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as laptop:
        try:
            own = Path("/proc/self/ns/net").readlink()
            there = Path(f"/proc/{laptop.pid}/ns/net")
            eventually(lambda: there.readlink() != own, "no second namespace")
            space = ["peer", "name", "laptop", "netns", str(laptop.pid)]
            ip("link", "add", "stiefellink", "type", "veth", *space)
            ip("link", "set", "stiefellink", "address", "52:54:00:00:00:02", "up")
            ip("address", "add", f"{DESKTOP}/64", "dev", "stiefellink", "nodad")
            assert laptop.stdin is not None
            assert laptop.stdout is not None
            laptop.stdin.write(b"\n")
            laptop.stdin.flush()
            assert laptop.stdout.readline() == b"ready\n"
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
                link.settimeout(0.2)
                link.connect(("fe80::2", 51820, 0, socket.if_nametoindex("stiefellink")))
                eventually(lambda: answers(link), "no answer at all")
                yield link
        finally:
            laptop.kill()


def answers(link: socket.socket) -> bool:
    try:
        link.send(b"?")
        return link.recv(100) == b"?"
    except OSError:
        return False


def is_cut(link: socket.socket) -> bool:
    """Whether nothing comes through any more, after what forgets a neighbour has done so; answers
    may be late on a busy machine."""
    talks_until = time.monotonic() + 4
    while time.monotonic() < talks_until:
        if answers(link):
            time.sleep(0.05)
    gives_up = time.monotonic() + 8
    while time.monotonic() < gives_up:
        if answers(link):
            return False
    return True


@pytest.mark.parametrize(("rules", "good"), FIREWALLS.values(), ids=list(FIREWALLS))
@in_own_network
def test_firewall(tmp_path: Path, rules: str, good: bool) -> None:
    """The warnings are right: with these, it is cut, and without, it is not."""
    capabilities.require_tools("nft")
    wants = tmp_path / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True)
    (wants / "nftables.service").touch()
    file = tmp_path / "etc/nftables.conf"
    file.write_text(rules)
    assert bool(network.warnings(Root(tmp_path))) is not good
    with talking() as link:
        run("nft", "-f", file)
        assert is_cut(link) is not good
