"""A build that is killed again and again, at any moment, and then simply run to its end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests import builds, capabilities
from tests.processes import Program

ROUNDS = 12
LONGEST = 25.0  # seconds: about what the build takes with a filled cache
CONFIG = "modules: [system-debian]\nboot: {{disk: /dev/vda}}\npaths: {{cache: {cache}}}\n"


def test_a_build_that_was_killed_often_ends_like_any_other(tmp_path: Path) -> None:
    capabilities.require_root()
    capabilities.require_tools("debootstrap", "systemd-nspawn", "zstd")
    builds.ramdisk()  # fills the cache
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(cache=builds.CACHE))
    command = [builds.REPO / "create-initrd-nspawn", "--config", config]
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        with Program(command) as build:
            try:
                build.process.wait(chance.uniform(0.1, LONGEST))
            except subprocess.TimeoutExpired:
                build.process.send_signal(chance.choice([signal.SIGKILL, signal.SIGINT]))
                assert build.wait(60) != 0
            assert "Traceback" not in build.output
    subprocess.run(command, check=True)
    subprocess.run([builds.REPO / "create-initrd-cpio", "--config", config], check=True)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    modules = list((tmp_path / "workdir/initrd/usr/lib/modules").iterdir())
    assert len(modules) == 1


@pytest.mark.parametrize("_round", range(3))
def test_the_demo_again_and_again(_round: int) -> None:
    capabilities.require_root()
    builds.run_demo()
