"""The unit of initrds that systemd runs, and what systemd does otherwise in the OS."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import capabilities
from tests.unit import one_initrd
from tests.unit.one_initrd import shell
from tests.unit.test_nbd_hook import generated

__all__ = ["shell"]  # the fixture

FOLDER = one_initrd.HOOKS / "systemd"
UNIT = FOLDER / "stiefel-link.service"
CONNECT = (FOLDER / "connect").read_text()
GENERATE = f"""
mkdir /generated
set -- /generated /early /late
{(FOLDER / "initrd-generator").read_text()}
"""
CGROUPS = ("sys/fs/cgroup", "sys/fs/cgroup/systemd", "sys/fs/cgroup/unified")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return one_initrd.make(tmp_path / "a b*c")


def init_scope(root: Path, hierarchy: str) -> Path:
    """PID 1's own control group; a file that shows who was put into it."""
    procs = root / hierarchy / "init.scope/cgroup.procs"
    procs.parent.mkdir(parents=True)
    procs.write_text("")
    return procs


def test_systemd_takes_the_unit_as_it_is() -> None:
    capabilities.require_tools("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", UNIT],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_looks_where_the_client_puts_the_session() -> None:
    library = (one_initrd.HOOKS / "lib").read_text()
    assert "{STIEFEL_ARCHIVE:-/stiefelsystem}" in library
    assert "ConditionPathExists=/stiefelsystem/session\n" in UNIT.read_text()


@pytest.mark.parametrize("hierarchy", CGROUPS)
def test_the_keeper_belongs_to_no_unit(root: Path, shell: str, hierarchy: str) -> None:
    """systemd would stop it with the initrd's others."""
    one_initrd.second_archive(root)
    procs = init_scope(root, hierarchy)
    done = one_initrd.run(root, shell, CONNECT)
    assert (done.returncode, one_initrd.said(done)) == (0, one_initrd.SAID)
    assert done.stdout == "keeper run /run/initramfs/stiefelsystem\n"
    assert procs.read_text() == "0\n"


def test_where_it_cannot_leave(root: Path, shell: str) -> None:
    """Better no disk than one that ends in the middle of the boot."""
    one_initrd.second_archive(root)
    done = one_initrd.run(root, shell, CONNECT)
    assert (done.returncode, done.stdout) == (1, "")
    assert one_initrd.said(done) == [
        "cannot leave systemd's unit; the disk would end with it",
        "no disk; Ctrl-Alt-Del 7 times in 2 s restarts this machine",
    ]


def test_a_keeper_that_fails(root: Path, shell: str) -> None:
    one_initrd.second_archive(root, "#!/bin/sh\necho why >&2\nexit 1\n")
    init_scope(root, CGROUPS[0])
    done = one_initrd.run(root, shell, CONNECT)
    assert done.returncode == 1
    assert one_initrd.said(done)[1:] == [
        "why",
        "no disk; Ctrl-Alt-Del 7 times in 2 s restarts this machine",
    ]


def test_an_ordinary_boot(root: Path, shell: str) -> None:
    procs = init_scope(root, CGROUPS[0])
    done = one_initrd.run(root, shell, CONNECT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert procs.read_text() == ""
    assert one_initrd.run(root, shell, GENERATE).returncode == 0
    assert list((root / "generated").iterdir()) == []


def test_devices_may_take_their_time(root: Path, shell: str) -> None:
    """As long as the unit itself."""
    one_initrd.second_archive(root)
    done = one_initrd.run(root, shell, GENERATE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (file,) = (path for path in (root / "generated").rglob("*") if path.is_file())
    assert file.relative_to(root / "generated") == Path("device.d/stiefelsystem.conf")
    assert file.read_text() == "[Unit]\nJobRunningTimeoutSec=5min\n"


def test_nobody_else_is_the_last_program(tmp_path: Path) -> None:
    early = generated(tmp_path, stiefeled=True)
    for name in ("dracut-shutdown.service", "mkinitcpio-generate-shutdown-ramfs.service"):
        assert os.readlink(early / name) == "/dev/null"


@pytest.mark.parametrize("name", ["connect", "initrd-generator"])
def test_they_can_be_run(name: str) -> None:
    assert os.access(FOLDER / name, os.X_OK)
