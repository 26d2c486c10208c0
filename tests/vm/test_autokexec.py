"""stiefel-autokexec as a service of a real OS: an adapter is plugged in, and who may say no.

In one go, on one machine: refused by an inhibitor, cancelled, killed, and at last obeyed. The
initrd was made by dracut; test_demo boots one of initramfs-tools.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from stiefelsystem.host import vm
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds, capabilities
from tests.vm.console import ask, log_in

_SECONDS = 300.0
_MAC = "52:54:00:00:00:41"
_CONFIG = "/etc/stiefelsystem/config.yaml"
_LISTENS = "waiting for an adapter to be plugged in"
_COUNTS = r"This OS stops in \d+ s"
_LOADED = "cat /sys/kernel/kexec_loaded"
_UNLOADED = "until grep 0 /sys/kernel/kexec_loaded; do sleep 0.1; done"
_DEVICES = "/machine/peripheral"
_HOLD = "systemd-inhibit --what=shutdown --mode={mode} --who=me --why=testing sleep 1000 &\n"


class Person:
    """Who sits at the laptop, with an adapter in the hand: its slots are never used twice."""

    def __init__(self, laptop: VirtualMachine) -> None:
        self.laptop = laptop
        self._slot = 0x10

    def plug_in(self) -> int:
        """Plug the adapter in; returns the console's position before that."""
        at = self.laptop.position
        self._slot += 1
        place = {"addr": hex(self._slot), "mac": _MAC}
        self.laptop.order("device_add", driver="virtio-net-pci", netdev="cable", id="nic", **place)
        return at

    def pull_out(self) -> None:
        self.laptop.order("device_del", id="nic")
        deadline = time.monotonic() + _SECONDS
        while "nic" in (one["name"] for one in self.laptop.order("qom-list", path=_DEVICES)):
            assert time.monotonic() < deadline, "the OS does not let go of the adapter"
            time.sleep(0.1)

    def wait_for(self, pattern: str, after: int) -> None:
        self.laptop.wait_for(pattern, _SECONDS, after=after)

    def configure(self, delay: int) -> None:
        """Set the countdown, and the MAC; the adapter that is in already orders nothing."""
        settings = f"autokexec: {{delay: {delay}, macs: ['{_MAC}']}}"
        change = f'sed -i "/^autokexec:/,/delay:/d" {_CONFIG}; echo "{settings}" >>{_CONFIG}'
        at = self.laptop.position
        self.laptop.type(f"{change}; systemctl restart stiefel-autokexec\n")
        self.wait_for(_LISTENS, at)


def refused(person: Person) -> None:
    """Somebody holds the shutdown up: this is said, by name, and nothing happens."""
    assert "could serve now" in ask(person.laptop, "stiefel-autokexec --check")
    person.laptop.type(_HOLD.format(mode="block"))
    person.pull_out()
    at = person.plug_in()
    person.wait_for("cannot serve: .*testing", at)
    assert ask(person.laptop, _LOADED) == "0"
    assert "testing" in ask(person.laptop, "stiefel-autokexec --check")
    person.laptop.type("kill %1; wait\n")
    person.pull_out()


def cancelled(person: Person) -> None:
    at = person.plug_in()
    person.wait_for(_COUNTS, at)
    assert ask(person.laptop, _LOADED) == "1"
    assert "this OS goes on" in ask(person.laptop, "stiefel-autokexec --cancel")
    person.wait_for("This OS goes on: cancelled by root", at)
    assert ask(person.laptop, _UNLOADED) == "0"
    assert "no countdown" in ask(person.laptop, "stiefel-autokexec --cancel")
    person.pull_out()


def killed(person: Person) -> None:
    """In the middle: what it has loaded is unloaded as soon as it is there again."""
    at = person.plug_in()
    person.wait_for(_COUNTS, at)
    at = person.laptop.position
    person.laptop.type("systemctl kill --signal=KILL stiefel-autokexec\n")
    person.wait_for(_LISTENS, at)
    assert ask(person.laptop, _UNLOADED) == "0"
    person.pull_out()


def obeyed(person: Person) -> None:
    """Also where somebody delays the shutdown: for them, logind waits."""
    person.laptop.type(_HOLD.format(mode="delay"))
    at = person.plug_in()
    person.wait_for(_COUNTS, at)
    person.wait_for("stopping this OS", at)
    person.wait_for("serving, waiting for the desktop", at)


def test_an_adapter_is_plugged_in(tmp_path: Path) -> None:
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn")
    _, laptop = builds.virtual_laptop(builds.DRACUT)
    disk = tmp_path / "disk.img"
    subprocess.run(["cp", "--sparse=always", laptop.image, disk], check=True)
    hardware = Hardware(
        name="laptop",
        kernel=laptop.kernel,
        initrd=laptop.initrd,
        cmdline=laptop.cmdline,
        mac=_MAC,
        cable=vm.cable(tmp_path, "laptop", "nobody")["laptop"],
        disk=disk,
    )
    with VirtualMachine(hardware, tmp_path) as machine:
        log_in(machine)
        person = Person(machine)
        person.configure(delay=30)
        refused(person)
        cancelled(person)
        killed(person)
        person.configure(delay=3)
        obeyed(person)
    disk.unlink()
