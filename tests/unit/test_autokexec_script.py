"""stiefel-autokexec itself, as it is called: its options, and from where."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from stiefelsystem.host.server_os import parts
from tests.builds import REPO
from tests.processes import Program

SCRIPT = "stiefel-autokexec"
CONFIG = """\
modules: [system-debian]
boot: {disk: /dev/vda, part: /dev/vda1, load: {kernel: k, initrd: i, cmdline: ro}}
autokexec: {broadcast: false}
server-setup: {stiefelsystem-kernel: /nonexistent/k, stiefelsystem-initrd: /nonexistent/i}
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The program as it is installed: beside its package, and called by a link in PATH."""
    library, called = tmp_path / "lib/stiefelsystem", tmp_path / "bin" / SCRIPT
    shutil.copytree(REPO / "stiefelsystem", library / "stiefelsystem")
    shutil.copy(REPO / "autokexec" / SCRIPT, library / SCRIPT)
    called.parent.mkdir()
    called.symlink_to(library / SCRIPT)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return called


def options(folder: Path) -> list[str | Path]:
    return ["--etc", folder, "--run", folder / "run"]


def call(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False, timeout=60)


def test_the_package_is_found_by_a_link(installed: Path) -> None:
    done = call(installed, "--cancel", "--run", installed.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "there is no countdown that could be cancelled\n"


def test_one_thing_at_a_time(installed: Path) -> None:
    done = call(installed, "--now", "--check")
    assert done.returncode == 2
    assert "not allowed with" in done.stderr


def test_the_service_of_openrc_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not even what Python would compile: it would outlive us."""
    library = str(tmp_path) + parts.LIBRARY
    for file in parts.programs().files:
        place = tmp_path / file.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read().replace(parts.LIBRARY.encode(), library.encode()))
        place.chmod(file.mode or 0o644)
    before = sorted(tmp_path.rglob("*"))
    script = REPO / "autokexec/stiefel-autokexec.openrc"
    command = call("sh", "-c", '. "$0" && printf %s "$command"', script).stdout
    writing = ["env", "--unset=PYTHONDONTWRITEBYTECODE", "--unset=PYTHONPYCACHEPREFIX"]
    done = call(*writing, tmp_path / command.lstrip("/"), "--cancel", "--run", tmp_path)
    assert done.stderr == "there is no countdown that could be cancelled\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_trigger_it_waits(installed: Path, tmp_path: Path) -> None:
    with Program([installed, *options(tmp_path)]) as program:
        program.wait_for("autokexec.broadcast is off")
        program.wait_for("no trigger is left")
        program.stop()
        assert program.process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("option", ["--check", "--now"])
def test_what_is_in_the_way_is_told(installed: Path, tmp_path: Path, option: str) -> None:
    """The ramdisk is missing on purpose: nothing is loaded here, and nothing stopped."""
    done = call(installed, option, *options(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    if os.geteuid() == 0:
        assert "cannot read the ramdisk" in done.stderr
    else:
        assert f"{option} needs root" in done.stderr
