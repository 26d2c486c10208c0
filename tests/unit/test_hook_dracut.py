"""The dracut module, with systemd and without: a stand-in for dracut installs it; its hook is run.

tests/unit/standins says what the stand-in does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import capabilities
from tests.unit import one_initrd
from tests.unit.one_initrd import shell

__all__ = ["shell"]  # the fixture

FOLDER = one_initrd.HOOKS / "dracut"
NETWORK = {
    "00-stiefellink.network": "systemd/network/00-stiefellink.network",
    "zz-stiefellink-networkmanager.conf": "NetworkManager/conf.d/zz-stiefellink.conf",
}
HOOK = """
emergency_shell() { echo "emergency shell: $*"; }
for round in 1 2; do
    . /hooks/initqueue/settled/10-connect.sh
done
echo "mounting the root filesystem${around:+, and around is $around}"
"""


class Machine:
    """What dracut finds on the machine that an initrd is made on, and the initrd."""

    def __init__(self, folder: Path) -> None:
        capabilities.require_tools("bash")
        self.etc, self.local, self.initrd = folder / "etc", folder / "local", folder / "initrd"
        self.base = folder / "dracut"
        programs = self.local / "stiefelsystem"
        shutil.copytree(one_initrd.HOOKS / "systemd", programs / "initrd")
        shutil.copy(one_initrd.HOOKS / "lib", programs / "nbd-hook-lib")
        for name, place in NETWORK.items():
            (self.etc / place).parent.mkdir(parents=True)
            shutil.copy(one_initrd.ROOT / "autokexec/network" / name, self.etc / place)
        one_initrd.make_programs(self.local / "bin")
        self.initrd.mkdir()

    def call(
        self, function: str, included: str = "base", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return one_initrd.run_making(
            ["bash", one_initrd.STANDINS / "dracut.sh", FOLDER, function],
            etc=self.etc,
            local=self.local,
            INCLUDED=included,
            initdir=str(self.initrd),
            dracutbasedir=str(self.base),
            **env,
        )

    def installed(self, included: str) -> Path:
        done = self.call("install", included)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return self.initrd


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "a b*c")


# --- what goes into the initrd ---


@pytest.mark.parametrize("included", ["base systemd dracut-systemd", "base"])
def test_in_every_initrd(machine: Machine, included: str) -> None:
    initrd = machine.installed(included)
    assert (initrd / one_initrd.LIBRARY).read_text() == (one_initrd.HOOKS / "lib").read_text()
    found = {path.name for path in initrd.rglob("*") if os.access(path, os.X_OK)}
    assert {"ln", "mkdir", "modprobe", "mount", "udevadm"} <= found
    for place in NETWORK.values():
        assert (initrd / "etc" / place).is_file()


def test_with_systemd(machine: Machine) -> None:
    initrd = machine.installed("base systemd dracut-systemd")
    wanted = initrd / "usr/lib/systemd/system/initrd.target.wants/stiefel-link.service"
    assert wanted.is_symlink()
    assert wanted.read_text() == (one_initrd.HOOKS / "systemd/stiefel-link.service").read_text()
    assert os.access(initrd / "usr/lib/systemd/system-generators/stiefelsystem", os.X_OK)
    assert (initrd / "usr/lib/stiefelsystem/connect").is_file()
    assert not (initrd / "hooks").exists()


def test_without_systemd(machine: Machine) -> None:
    initrd = machine.installed("base")
    assert (initrd / "hooks/initqueue/settled/10-connect.sh").is_file()
    assert not (initrd / "usr/lib/systemd").exists()


def test_without_rules_for_network_managers(machine: Machine) -> None:
    for place in NETWORK.values():
        (machine.etc / place).unlink()
    machine.installed("base")


def test_drivers_of_other_machines(machine: Machine) -> None:
    """Whatever `hostonly` is; and nbd's absence is not passed over."""
    done = machine.call("installkernel")
    assert (done.returncode, done.stderr) == (0, "")
    lines = (machine.initrd / "modules").read_text().splitlines()
    assert [line for line in lines if not line.startswith("hostonly='' ")] == []
    assert "hostonly='' -c nbd" in lines
    words = " ".join(lines).split()
    assert {"wireguard", "=drivers/net/ethernet", "=drivers/net/usb", "usbhid"} <= set(words)


def test_the_laptops_disk(machine: Machine) -> None:
    """For a kernel that is updated while the OS runs on a desktop; what it lacks is passed over."""
    assert machine.call("installkernel").returncode == 0
    lines = (machine.initrd / "modules").read_text().splitlines()
    (line,) = [line for line in lines if " nvme " in line]
    hostonly, *words = line.split()
    assert hostonly == "hostonly=''"
    disks = {"nvme", "vmd", "=drivers/ata", "sd_mod", "=drivers/mmc/host", "mmc_block"}
    assert disks <= set(words)
    assert "-c" not in words


def test_it_is_in_by_default(machine: Machine) -> None:
    assert machine.call("check").returncode == 0


def test_it_is_out_where_it_was_removed(machine: Machine) -> None:
    (machine.local / "stiefelsystem/nbd-hook-lib").unlink()
    assert machine.call("check").returncode == 1


@pytest.mark.parametrize("name", ["add_dracutmodules", "force_add_dracutmodules", "dracutmodules"])
def test_it_is_out_of_kdump(machine: Machine, name: str) -> None:
    assert machine.call("check", **{name: " lvm kdumpbase "}).returncode == 1
    assert machine.call("check", **{name: " lvm "}).returncode == 0


def test_dependencies(machine: Machine) -> None:
    """dracut has the initqueue as a module of its own since version 108."""
    assert machine.call("depends").stdout.split() == ["base"]
    (machine.base / "modules.d/76initqueue").mkdir(parents=True)
    assert machine.call("depends").stdout.split() == ["base", "initqueue"]
    done = machine.call("depends", "base systemd")
    assert (done.returncode, done.stdout.split()) == (0, ["base"])


# --- the hook of initrds without systemd, run ---


@pytest.fixture
def initrd(machine: Machine) -> Path:
    return one_initrd.make(machine.installed("base"))


def test_an_ordinary_boot(initrd: Path, shell: str) -> None:
    done = one_initrd.run(initrd, shell, HOOK)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "mounting the root filesystem\n"


def test_a_boot_with_a_session(initrd: Path, shell: str) -> None:
    """Once, though dracut runs the hook again and again."""
    one_initrd.second_archive(initrd)
    done = one_initrd.run(initrd, shell, HOOK)
    assert (done.returncode, one_initrd.said(done)) == (0, one_initrd.SAID)
    assert done.stdout.splitlines() == [
        "keeper run /run/initramfs/stiefelsystem",
        "mounting the root filesystem",
    ]


def test_a_boot_that_fails(initrd: Path, shell: str) -> None:
    one_initrd.second_archive(initrd, f"{one_initrd.KEEPER}echo why >&2\nexit 1\n")
    done = one_initrd.run(initrd, shell, HOOK)
    assert one_initrd.said(done) == ["connecting the laptop's disk", "why"]
    assert done.stdout.splitlines()[1:] == [
        "emergency shell: -n stiefelsystem stiefelsystem: no disk; "
        "'reboot -f' restarts this machine",
        "mounting the root filesystem",
    ]
