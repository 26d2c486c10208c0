"""The optional modules of the configuration, each doing what it says."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import images
from tests.builds import CACHE, REPO
from tests.netns.test_sources import DRIVER, PROGRAM

CONFIG = """\
modules: [system-debian, lvm, r8152, clevo-fancontrol, ./own.yaml]
boot: {{disk: /dev/vda}}
initrd: {{include-packages: [figlet], packing: {{compressor: zstd -1}}}}
paths: {{cache: {cache}}}
module-configs:
  r8152: {{url: "{driver}", sha256: {driver_digest}}}
  clevo-fancontrol: {{url: "{program}", sha256: {program_digest}}}
"""
OWN = """\
description: a module of a user's own
packages-in-part: [nano]
take:
  - reason: what I like
    files: [/usr/bin/nano]
    kernel-modules: [drivers/net/dummy.ko*]
files:
  - path: /etc/systemd/system/mine.service
    text: |
      [Service]
      ExecStart=/usr/bin/nano
start: [mine.service]
"""
DEBUG = """\
modules: [system-debian, debug]
boot: {{disk: /dev/vda}}
paths: {{cache: {cache}}}
initrd: {{password: "horse battery"}}
module-configs: {{debug: {{extra-packages: [figlet]}}}}
"""


@dataclass(frozen=True)
class Built:
    """A ramdisk: what its image holds, laid out, and the tree that it was packed from."""

    root: Path
    tree: Path

    def run(self, *argv: str) -> str:
        """Run a program of the image's, with nothing but the image."""
        enter = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
        command = ["unshare", "--mount", "sh", "-c", enter, "sh", self.root, *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def modules(self, name: str) -> list[Path]:
        return list((self.root / "usr/lib/modules").rglob(f"{name}.ko"))


def tarball(path: Path, files: Mapping[str, str]) -> tuple[str, str]:
    """Make an archive of a source; returns its URL and its digest."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"source-1.0/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest()


def build(config: Path) -> Built:
    command = [REPO / "create-initrd-nspawn", "--config", config, "--pack"]
    subprocess.run(command, check=True)
    workdir = config.parent / "workdir"
    images.unpack(workdir / "stiefel.cpio", config.parent / "root")
    return Built(config.parent / "root", workdir / "initrd")


@pytest.fixture(scope="module")
def many(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """A ramdisk with all modules that can be had together."""
    folder = tmp_path_factory.mktemp("many")
    driver, driver_digest = tarball(folder / "driver.tar.gz", DRIVER)
    program, program_digest = tarball(folder / "program.tar.gz", PROGRAM)
    (folder / "own.yaml").write_text(OWN)
    config = folder / "config.yaml"
    config.write_text(
        CONFIG.format(
            cache=CACHE,
            driver=driver,
            driver_digest=driver_digest,
            program=program,
            program_digest=program_digest,
        )
    )
    yield build(config)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def debug(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("debug")
    config = folder / "config.yaml"
    config.write_text(DEBUG.format(cache=CACHE))
    yield build(config)
    shutil.rmtree(folder)


def test_lvm(many: Built) -> None:
    assert "LVM version" in many.run("lvm", "version")
    # The laptop's volumes are not for the ramdisk to activate.
    active = many.run("lvmconfig", "activation/auto_activation_volume_list")
    assert active.strip() == "auto_activation_volume_list=[]"
    assert many.modules("dm-thin-pool")


def test_the_built_driver_takes_the_place_of_the_kernels(many: Built) -> None:
    (driver,) = many.modules("r8152")
    assert driver.parent.name == "updates"
    (version,) = (path.name for path in (many.root / "usr/lib/modules").iterdir())
    chosen = many.run("modprobe", "--set-version", version, "--show-depends", "r8152")
    assert str(driver.relative_to(many.root / "usr")) in chosen.splitlines()[-1]
    assert "usbcore.ko" in chosen, "what it depends on is in, too"


def test_the_built_program_runs_and_starts_with_both_sides(many: Built) -> None:
    assert many.run("clevo-fancontrol").startswith("42")
    for side in ("server", "client"):
        wants = many.root / f"etc/systemd/system/stiefel-{side}.service.wants"
        assert {"clevo-fancontrol.service", "mine.service"} <= {p.name for p in wants.iterdir()}
        for link in wants.iterdir():
            assert link.resolve().is_file()


def test_no_compiler_reaches_tree_or_image(many: Built) -> None:
    for place in (many.root, many.tree):
        assert not list(place.glob("usr/bin/*gcc*"))
        assert not list(place.glob("usr/src/*"))
        assert not list(place.glob("usr/bin/make"))
    assert not (many.tree.parent / "initrd-devel").exists()


def test_a_users_own_module(many: Built) -> None:
    assert "nano" in many.run("nano", "--version")
    assert many.modules("dummy")
    # nano was taken in part: nothing of it but what was named.
    assert not (many.root / "etc/nanorc").exists()


def test_an_included_package_is_whole_and_works(many: Built) -> None:
    assert many.run("figlet", "x")
    assert (many.root / "usr/share/figlet").is_dir()
    assert not (many.root / "usr/share/doc").exists()


def test_debians_file_comes_back_when_a_module_goes(many: Built) -> None:
    """The last test with `many`, since it changes the tree."""
    laid = many.tree / "etc/lvm/lvmlocal.conf"
    assert "auto_activation_volume_list = []" in laid.read_text()
    config = many.tree.parent.parent / "config.yaml"
    config.write_text("modules: [system-debian]\nboot: {disk: /dev/vda}\n")
    command = [REPO / "create-initrd-nspawn", "--config", config, "--skip", "base"]
    subprocess.run(command, check=True)
    assert "local configuration file template" in laid.read_text()
    assert not (many.tree / "etc/systemd/system/mine.service").exists()
    assert not list(many.tree.glob("usr/lib/modules/*/updates/*"))


def test_debug(debug: Built) -> None:
    """Full tools, the better shell, nothing left out."""
    programs = ("strace", "nbd-client", "nano", "less", "figlet", "perl", "python3")
    found = debug.run("sh", "-c", f"for p in {' '.join(programs)}; do command -v $p; done")
    assert len(found.split()) == len(programs)
    assert debug.run("python3", "-c", "import unittest; print(unittest.__name__)") == "unittest\n"
    assert (debug.root / "usr/share/doc/bash").is_dir()
    assert (debug.root / "usr/share/bash-completion/bash_completion").is_file()
    # The image is for everyone to read: no hash of a password is in it, not even of a former one.
    lines = (debug.tree / "etc/shadow").read_text().splitlines()
    (hashed,) = (line.split(":")[1] for line in lines if line.startswith("root:"))
    assert hashed.startswith("$")
    found = subprocess.run(["grep", "-rlF", hashed, debug.root], capture_output=True, check=False)
    assert found.stdout == b""
    assert not list(debug.root.glob("etc/*shadow*"))
    left_out = [
        str(path.relative_to(debug.tree))
        for folder in ("usr/bin", "usr/sbin", "usr/lib/systemd")
        for path in (debug.tree / folder).rglob("*")
        if path.is_file() and not (debug.root / path.relative_to(debug.tree)).exists()
    ]
    assert not left_out
