"""The target's hook library, in each shell that runs it: it starts the keeper, or says why not.

The library's mounts are real ones, in a namespace of the test's own; modules and udev are not.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests import capabilities
from tests.unit import one_initrd

LIBRARY = Path(__file__).resolve().parents[2] / "nbd-hook/lib"
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
# A keeper that tells how it was called, and what its folder is.
KEEPER = """#!/bin/sh
echo "keeper $0 $1 $2"
cd "$2" || exit
ls -A
stat -c %A .
ls -l ../shutdown | sed 's/.* -> /last: /'
grep " ${2%/*} " /proc/mounts | cut -d ' ' -f 3,4
"""
# What runs on no test's machine; as functions, since busybox has its own.
FAKES = """
udevadm() { echo "udevadm $*"; }
modprobe() { echo "modprobe $*"; [ "$1" != "$MISSING" ]; }
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    argv = SHELLS[request.param]
    capabilities.require_tools(argv[0])
    return argv


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name no shell may take apart."""
    path = tmp_path / "a b*c"
    path.mkdir()
    return path


def call(
    shell: list[str], folder: Path, script: str, *, missing: str = ""
) -> subprocess.CompletedProcess[str]:
    """Source the library, as an adapter does, and run `script`, with all files below `folder`."""
    (folder / "cwd").mkdir(exist_ok=True)
    env = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "STIEFEL_LIBRARY": str(LIBRARY),
        "STIEFEL_ARCHIVE": str(folder / "archive"),
        "STIEFEL_FOLDER": str(folder / "run/own"),
        "MISSING": missing,
    }
    command = [*shell, "-c", f'. "$STIEFEL_LIBRARY"\n{FAKES}\n{script}']
    return one_initrd.privately(command, env, cwd=folder / "cwd")


def second_archive(folder: Path, keeper: str = KEEPER) -> None:
    one_initrd.second_archive(folder, keeper, name="archive")


def test_sourcing_does_nothing(shell: list[str], folder: Path) -> None:
    second_archive(folder)
    done = call(shell, folder, "echo done")
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    assert {path.name for path in folder.iterdir()} == {"archive", "cwd"}


def test_an_ordinary_boot(shell: list[str], folder: Path) -> None:
    done = call(shell, folder, "stiefel_wanted")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    (folder / "archive").mkdir()
    assert call(shell, folder, "stiefel_wanted").returncode == 1


def test_a_boot_with_a_session(shell: list[str], folder: Path) -> None:
    second_archive(folder)
    done = call(shell, folder, "stiefel_wanted")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_keeper_is_started(shell: list[str], folder: Path) -> None:
    """In a folder that is root's alone; what lies beside it, it takes there by itself."""
    second_archive(folder)
    done = call(shell, folder, "umask 022; stiefel_connect; echo $?")
    assert done.stdout.splitlines() == [
        "udevadm settle --timeout=10",
        "modprobe wireguard",
        "modprobe nbd",
        f"keeper {folder}/archive/stiefel-link run {folder}/run/own",
        "drwx------",
        "last: own/stiefel-link",
        "0",
    ]
    assert done.stderr.splitlines() == [
        "stiefelsystem: connecting the laptop's disk",
        "stiefelsystem: the laptop's disk is /dev/nbd0",
    ]


def test_the_keepers_filesystem(shell: list[str], tmp_path: Path) -> None:
    second_archive(tmp_path)
    done = call(shell, tmp_path, "stiefel_connect")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("tmpfs "))
    options = set(line.split()[1].split(","))
    assert options >= {"nosuid", "nodev", "size=16384k", "mode=755"}
    assert "noexec" not in options


@pytest.mark.parametrize("missing", ["nbd", "wireguard"])
def test_a_module_that_is_not_there(shell: list[str], folder: Path, missing: str) -> None:
    """Whether there is a need for WireGuard, the keeper knows."""
    second_archive(folder)
    done = call(shell, folder, "stiefel_connect; echo $?", missing=missing)
    last = done.stdout.splitlines()[-1]
    said = done.stderr.splitlines()[0]
    assert said == f"stiefelsystem: the kernel module {missing} is not in this initrd"
    assert (last, "keeper" in done.stdout) == (("1", False) if missing == "nbd" else ("0", True))


def test_a_keeper_that_fails(shell: list[str], folder: Path) -> None:
    """It says why by itself."""
    second_archive(folder, "#!/bin/sh\necho why >&2\nexit 1\n")
    done = call(shell, folder, "stiefel_connect; echo $?")
    assert done.stdout.splitlines()[-1] == "1"
    assert done.stderr.splitlines() == ["stiefelsystem: connecting the laptop's disk", "why"]


@pytest.mark.parametrize("trouble", ["mount() { return 1; }", ': >"${STIEFEL_FOLDER%/*}"'])
def test_a_folder_that_cannot_be_made(shell: list[str], folder: Path, trouble: str) -> None:
    second_archive(folder)
    done = call(shell, folder, f"{trouble}; stiefel_connect; echo $?")
    assert done.stdout.splitlines()[-1] == "1"
    last = done.stderr.splitlines()[-1]
    assert last == f"stiefelsystem: cannot make {folder / 'run/own'} for the link keeper"
    assert "keeper" not in done.stdout


# What the target's OS does otherwise; the path is fixed, so /run is another one for it.

GENERATOR = LIBRARY.parent / "systemd-generator"
FOLDER = "/run/initramfs/stiefelsystem"
OTHER_RUN = f"""
mount -t tmpfs tmpfs /run
if [ "$STIEFELED" ]; then
    mkdir -p {FOLDER}
    printf '#!/bin/sh\\necho "keeper $*"; exit 7\\n' >{FOLDER}/stiefel-link
    chmod 700 {FOLDER}/stiefel-link
fi
exec "$@"
"""


def with_run(stiefeled: bool, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "STIEFELED": "yes" if stiefeled else ""}
    return one_initrd.privately(["sh", "-e", "-c", OTHER_RUN, "sh", *argv], env)


def generated(tmp_path: Path, *, stiefeled: bool) -> Path:
    folders = [tmp_path / name for name in ("normal", "early", "late")]
    for folder in folders:
        folder.mkdir()
    done = with_run(stiefeled, GENERATOR, *folders)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not [*folders[0].iterdir(), *folders[2].iterdir()]
    return folders[1]


def test_generator_on_an_ordinary_boot(tmp_path: Path) -> None:
    assert list(generated(tmp_path, stiefeled=False).iterdir()) == []


def test_generator_on_a_target(tmp_path: Path) -> None:
    early = generated(tmp_path, stiefeled=True)
    assert os.readlink(early / "suspend.target") == "/dev/null"
    masked = {path.name for path in early.iterdir() if path.is_symlink()}
    assert {"sleep.target", "hibernate.target", "hybrid-sleep.target"} <= masked
    journald = early / "systemd-journald.service.d/stiefelsystem.conf"
    assert journald.read_text() == "[Service]\nWatchdogSec=0\n"


def test_they_look_where_the_hook_has_put_it() -> None:
    assert f"{{STIEFEL_FOLDER:-{FOLDER}}}" in LIBRARY.read_text()


def test_it_can_be_run() -> None:
    assert GENERATOR.stat().st_mode & stat.S_IXUSR
