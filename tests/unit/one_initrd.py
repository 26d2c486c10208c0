"""A folder that is an initrd, for the hooks that run in one: in the shells that initrds have.

And the machine on which an initrd is made, as far as hooks have to do with it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

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
# In a namespace whose /etc and /usr/local/lib are the test's.
_ENTER = """
mount --bind "$ETC" /etc
mount --bind "$LOCAL" /usr/local/lib
exec "$@"
"""
_APPLETS = ("cat", "ls", "ln", "mkdir", "mount", "rm", "sh")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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


def second_archive(root: Path, keeper: str = KEEPER, *, name: str = "stiefelsystem") -> None:
    """What the client hands over, as the kernel unpacks it."""
    archive = root / name
    archive.mkdir(mode=0o700)
    (archive / "session").write_text("mac=52:54:00:00:00:01\n")
    (archive / "stiefel-link").write_text(keeper)
    (archive / "stiefel-link").chmod(0o700)


def run(
    root: Path, shell: str, script: str, *, missing: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script with `root` as its root."""
    env = {"PATH": "/bin:/usr/bin:/sbin:/usr/sbin", "MISSING": missing}
    return privately(["chroot", root, *SHELLS[shell], "-c", FAKES + script], env)


def run_making(
    argv: Sequence[str | Path], *, etc: Path, local: Path, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run what makes an initrd, on a machine with these folders as /etc and /usr/local/lib."""
    path = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/lib/bin"
    folders = {"ETC": str(etc), "LOCAL": str(local)}
    return privately(["sh", "-e", "-c", _ENTER, "sh", *argv], {"PATH": path, **folders, **env})


def make_programs(folder: Path) -> None:
    """Programs that go into an initrd, and that not every machine that runs tests has."""
    folder.mkdir()
    for name in ("modprobe", "udevadm"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


def privately(
    argv: Sequence[str | Path], env: Mapping[str, str], *, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; what it mounts, nobody else sees."""
    return subprocess.run(
        [*capabilities.as_root_of_a_namespace("--mount"), *argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The library's messages."""
    return [line.removeprefix("stiefelsystem: ") for line in done.stderr.splitlines()]
