"""A folder that is an initrd, for the hooks that run in one: in the shells that initrds have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests import capabilities

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "nbd-hook"
STANDINS = Path(__file__).parent / "standins"
SHELLS = {"dash": ["/bin/dash"], "busybox": ["/bin/busybox", "sh"]}
LIBRARY = "usr/lib/stiefelsystem/nbd-hook-lib"
SAID = ["connecting the laptop's disk", "the laptop's disk is /dev/nbd0"]

# What runs on no test's machine; as functions, since busybox has its own.
FAKES = """
udevadm() { :; }
modprobe() { [ "$1" != "$MISSING" ]; }
"""
# It takes the session, as the real one does.
KEEPER = """#!/bin/sh
echo "keeper $1 $2"
rm /stiefelsystem/session
"""
_APPLETS = ("cat", "ls", "ln", "mkdir", "mount", "rm", "sh")


def make(root: Path) -> Path:
    """Shells and the programs that an initrd has, below `root`."""
    capabilities.require_tools("dash", "busybox", "ldd")
    for name in ("bin", "dev", "etc", "run", "sys", "usr/lib/stiefelsystem"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "dev/null").touch()
    for name in ("dash", "busybox"):
        program = Path(shutil.which(name) or "")
        shutil.copy(program, root / "bin" / name)
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for word in listed.stdout.split():
            if word.startswith("/"):
                library = root / word.lstrip("/")
                library.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, library)
    for name in _APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    shutil.copy(HOOKS / "lib", root / LIBRARY)
    return root


def second_archive(root: Path, keeper: str = KEEPER) -> None:
    """What the client hands over, as the kernel unpacks it."""
    archive = root / "stiefelsystem"
    archive.mkdir(mode=0o700)
    (archive / "session").write_text("mac=52:54:00:00:00:01\n")
    (archive / "stiefel-link").write_text(keeper)
    (archive / "stiefel-link").chmod(0o700)


def run(
    root: Path, shell: str, script: str, *, missing: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script with `root` as its root; what it mounts, nobody else sees."""
    return subprocess.run(
        [
            *capabilities.as_root_of_a_namespace("--mount"),
            *("chroot", root, *SHELLS[shell], "-c", FAKES + script),
        ],
        env={"PATH": "/bin:/usr/bin:/sbin:/usr/sbin", "MISSING": missing},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The library's messages."""
    return [line.removeprefix("stiefelsystem: ") for line in done.stderr.splitlines()]
