"""The ramdisk's build as a user sees it: interrupted, taken up again, packed, looked into."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stiefelsystem.host import debian
from tests.builds import CACHE, REPO
from tests.processes import Program

CONFIG = """\
modules: [system-debian]
boot: {{disk: /dev/vda}}
initrd:
  password: "horse battery"
  packing:
    exclude-paths: [/usr/share/nothing-here]
    exclude-packages: [no-such-package]
paths: {{cache: {cache}}}
"""


@pytest.fixture
def config(tree: Path, tmp_path: Path) -> Iterator[Path]:
    """A configuration with a workdir of its own, and the shared cache, which `tree` has filled."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(cache=CACHE))
    yield path
    shutil.rmtree(tmp_path / "workdir", ignore_errors=True)


def build(config: Path) -> Program:
    return Program([REPO / "create-initrd-nspawn", "--config", config])


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
    with build(config) as second:
        assert second.wait(300) == 0, second.output


def test_packed_image(config: Path, tmp_path: Path) -> None:
    with build(config) as first:
        assert first.wait(300) == 0, first.output
    image = tmp_path / "out/ramdisk.cpio"
    command = [REPO / "create-initrd-cpio", "--config", config, "--out", image]
    done = subprocess.run(
        [*command, "--compressor", "zstd -1 -T0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nothing in the ramdisk matches /usr/share/nothing-here" in done.stderr
    assert "there is no package no-such-package" in done.stderr
    assert done.stderr.count("warning") == 2, done.stderr

    listed = contents(image)
    assert listed["init"].startswith("lrwx")
    assert listed["usr/bin/kmod"].startswith("-rwxr-xr-x   1 root     root")
    assert listed["tmp"].startswith("drwxrwxrwt")
    assert not [name for name in listed if name.startswith("boot/")]
    modules = {Path(name).name for name in listed if name.endswith(".ko")}
    assert {"virtio_net.ko", "r8169.ko", "nvme.ko", "ext4.ko", "dm-snapshot.ko"} <= modules
    # What the image's readers may see is no secret; the rest is apart, for root alone.
    assert not {"etc/shadow", "etc/stiefelsystem/aes-key"} & set(listed)
    secrets = image.with_suffix(".key.cpio")
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    key = (config.parent / "aes-key").read_bytes()
    assert key not in image.read_bytes()
    assert key in secrets.read_bytes()
    assert image.with_suffix(".vmlinuz").stat().st_size > 1 << 20
    assert not list(image.parent.glob(".*")), "a temporary file is left over"


def contents(image: Path) -> dict[str, str]:
    """What GNU cpio finds in an image: its line for each name."""
    unpacked = subprocess.run(["zstd", "-dc", image], capture_output=True, check=True).stdout
    command = ["cpio", "-itv", "--quiet"]
    done = subprocess.run(command, input=unpacked, capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    # Mode, links, owner, group, size, three words of date, and the name with its link's target.
    return {line.split(maxsplit=8)[8].split(" -> ")[0]: line for line in lines}


def test_a_failing_compressor_leaves_the_former_image(config: Path, tree: Path) -> None:
    image = config.parent / "former.cpio"
    image.write_bytes(b"former")
    settings = config.read_text().replace("paths: {", f"paths: {{workdir: {tree.parent}, ")
    config.write_text(settings)
    command = [REPO / "create-initrd-cpio", "--config", config, "--out", image]
    for compressor, complaint in (
        ("false", "failed with status 1"),
        ("no-such", "no such program"),
    ):
        done = subprocess.run(
            [*command, "--compressor", compressor], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr
        assert image.read_bytes() == b"former"


def test_the_tree_boots_in_a_container(tree: Path) -> None:
    """As `test-nspawn` does, to its login prompt; nothing in the tree is changed by it."""
    before = sorted(os.listdir(tree / "var/log"))
    with Program(["script", "-qec", " ".join(debian.boot_command(tree)), "/dev/null"]) as container:
        container.wait_for("stiefelsystem login:", 120)
        # Three times Ctrl-] ends a container; here the signal does.
        container.stop(signal.SIGTERM)
    assert sorted(os.listdir(tree / "var/log")) == before
