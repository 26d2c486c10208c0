"""The last program on the target, as PID 1 of a namespace of its own: there reboot(2) ends PID 1 by
a signal that tells which order it was (pid_namespaces(7))."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests import capabilities

# A root as systemd-shutdown leaves it, with one filesystem that is in use for a moment more; the
# order; and what is mounted then.
_ROOT = """
mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir oldroot proc dev stiefelsystem
mount -t tmpfs tmpfs oldroot && mkdir 'oldroot/a b'
mount -t tmpfs tmpfs 'oldroot/a b'
cp "$2" shutdown
(cd 'oldroot/a b' && exec sleep 1) &
order='mount -t proc proc proc && exec chroot . /shutdown "$0" --log-level 6'
status=0
unshare --pid --fork --kill-child sh -e -c "$order" "$3" || status=$?
cat /proc/self/mounts
exit $status
"""
_SAYS = "stiefel-link: the disk cannot be flushed"


@pytest.mark.parametrize(
    ("verb", "ends_by"),
    [
        ("poweroff", signal.SIGINT),
        ("halt", signal.SIGINT),
        ("reboot", signal.SIGHUP),
        ("kexec", signal.SIGHUP),  # namespaces have none: as where no kernel was loaded
        ("else", signal.SIGHUP),
    ],
)
def test_orders(program: Path, tmp_path: Path, verb: str, ends_by: signal.Signals) -> None:
    capabilities.require_root()
    capabilities.require_tools("unshare")
    inside = ["unshare", "--mount", "sh", "-e", "-c", _ROOT]
    done = subprocess.run(
        [*inside, "sh", tmp_path, program, verb],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.startswith(_SAYS)
    assert f"{tmp_path}/proc" in done.stdout
    assert f"{tmp_path}/oldroot" not in done.stdout
    assert done.returncode == 128 + ends_by


def test_only_as_the_first_process(program: Path, tmp_path: Path) -> None:
    """Anybody else who calls it so has the usage told, and goes on."""
    other = tmp_path / "shutdown"
    other.symlink_to(program)
    done = subprocess.run([other, "poweroff"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
