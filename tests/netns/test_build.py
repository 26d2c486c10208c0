"""The ramdisk's build as a user sees it: interrupted, taken up again, without a network, twice."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stiefelsystem.host import debian
from tests import builds
from tests.builds import CACHE, REPO
from tests.processes import Program

CONFIG = """\
modules: [system-debian]
boot: {{disk: /dev/vda}}
paths: {{cache: {cache}}}
"""


@pytest.fixture
def config(image: Path, tmp_path: Path) -> Iterator[Path]:
    """A configuration with a workdir of its own, and the shared cache, which `image` has filled."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(cache=CACHE))
    yield path
    shutil.rmtree(tmp_path / "workdir", ignore_errors=True)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def build(config: Path, *options: str, path: str = os.environ["PATH"]) -> Program:
    env = {**os.environ, "PATH": path}
    return Program([REPO / "create-initrd-nspawn", "--config", config, *options], env=env)


def built(config: Path, *options: str, path: str = os.environ["PATH"]) -> str:
    """Build to the end, and return what was said."""
    with build(config, *options, path=path) as program:
        assert program.wait(300) == 0, program.output
    return program.output


def mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_nothing_mounted_and_the_next_one_works(
    config: Path, number: signal.Signals
) -> None:
    with build(config) as first:
        first.wait_for("install .* packages", 120)
        first.process.send_signal(number)
        assert first.wait(60) != 0
    assert "Traceback" not in first.output
    assert not mounts_below(config.parent)
    built(config)


def without(program: str, folder: Path) -> str:
    """A PATH on which all programs are found but one."""
    folder.mkdir()
    for place in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        for path in Path(place).iterdir():
            if path.name != program and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return str(folder)


def test_another_build_gives_the_same_bytes_and_needs_no_network(
    config: Path, image: Path, tmp_path: Path
) -> None:
    """Built anew from the same packages, by debootstrap, in another place, with another key and
    password.

    The layers of the first build are at hand: where the second has another byte in one, it has to
    be compressed.
    """
    own = tmp_path / "cache"
    own.mkdir()
    for name in ("archives", "layers"):
        shutil.copytree(CACHE / name, own / name)
    secret = 'initrd: {password: "horse battery"}\n'
    config.write_text(CONFIG.format(cache=own) + secret)
    # The base system is made again; for what follows, the network is forbidden.
    options = ["--update", "--skip", "drivers", "--skip", "files"]
    first = built(config, *options, path=without("mmdebstrap", tmp_path / "bin"))
    assert "make the base system" in first
    shutil.rmtree(tmp_path / "workdir")
    said = built(config, "--offline", "--pack")
    assert "unpack the base system" in said
    again = tmp_path / "workdir/stiefel.cpio"
    if image.with_suffix(".packages").read_bytes() == again.with_suffix(".packages").read_bytes():
        assert "compress " not in said, "a layer differs"
    else:
        # The mirror has got new packages since the first build, which now has to have them, too.
        builds.ramdisk("--update")
    for suffix in (".cpio", ".vmlinuz", ".packages"):
        one, other = image.with_suffix(suffix), again.with_suffix(suffix)
        assert one.read_bytes() == other.read_bytes(), suffix
    assert (
        image.with_suffix(".key.cpio").read_bytes() != again.with_suffix(".key.cpio").read_bytes()
    )


def test_the_list_of_packages_has_their_hashes(image: Path) -> None:
    lines = image.with_suffix(".packages").read_text().splitlines()
    line = re.compile(r"[a-z0-9+.-]+ \S+ (amd64|arm64|all) [0-9a-f]{64}")
    assert not [one for one in lines if not line.fullmatch(one)]
    digests = {one.split()[0]: one.split()[3] for one in lines}
    (package,) = (CACHE / "archives").glob("nbd-server_*.deb")
    summed = subprocess.run(["sha256sum", package], capture_output=True, text=True, check=True)
    assert summed.stdout.split()[0] == digests["nbd-server"]


def test_stages(config: Path) -> None:
    """Each is done where it has to be, and nowhere else."""
    first = built(config, "--pack")
    said = [line[:5] for line in first.splitlines() if line.startswith("[")]
    assert said == ["[1/5]", "[2/5]", "[3/5]", "[4/5]", "[5/5]"]
    second = built(config, "--pack")
    assert "packages are as they should be" in second
    assert "boot loaders are there already" in second
    assert "install " not in second and "compress " not in second
    forced = built(config, "--force", "base", "--skip", "files", "--pack", "--skip", "pack")
    assert "install " in forced and "our programs" not in forced
    # The new tree has not been completed: packing says so, instead of packing half of it.
    with build(config, "--skip", "base", "--skip", "files", "--pack") as program:
        assert program.wait(60) == 1
    assert "there is no complete ramdisk tree" in program.output


def test_nothing_can_be_built_offline_from_an_empty_cache(config: Path, tmp_path: Path) -> None:
    config.write_text(CONFIG.format(cache=tmp_path / "cache"))
    with build(config, "--offline") as program:
        assert program.wait(60) == 1
    assert "has no base system" in program.output
    assert "build once without --offline" in program.output


def test_the_tree_boots_in_a_container(tree: Path) -> None:
    """As `test-nspawn` does, to its login prompt; nothing in the tree is changed by it."""
    before = sorted(os.listdir(tree / "var/log"))
    with Program(["script", "-qec", " ".join(debian.boot_command(tree)), "/dev/null"]) as container:
        container.wait_for("stiefelsystem login:", 120)
        # Three times Ctrl-] ends a container; here the signal does.
        container.stop(signal.SIGTERM)
    assert sorted(os.listdir(tree / "var/log")) == before
