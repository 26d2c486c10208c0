"""The whole way, on two virtual machines: a laptop's own Debian runs on a desktop."""

from __future__ import annotations

import subprocess

from tests import capabilities
from tests.builds import CACHE, REPO, WORKDIR

# A watchdog: each of the demo's own waits has its deadline, too.
_SECONDS = 1500


def test_demo_boots_and_what_was_written_is_on_the_laptops_disk() -> None:
    """`--check` ends with 0 only if the file is in the image and both filesystems are clean."""
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn")
    command = [REPO / "test-qemu", "demo", "--check", "--yes"]
    done = subprocess.run(
        [*command, "--workdir", WORKDIR, "--cache", CACHE], timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        for log in WORKDIR.glob("*.log"):
            print(f"--- {log}\n{log.read_text(errors='replace')[-20_000:]}")
    assert done.returncode == 0
