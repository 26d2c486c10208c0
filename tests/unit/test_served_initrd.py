"""What Arch's kernels boot is made anew, and what else would be served without the hook is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.host.server_os import dracut, served_initrd
from stiefelsystem.host.server_os.parts import LIBRARY
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Command, Step, WriteFiles
from tests.unit import one_initrd
from tests.unit.one_initrd import shell
from tests.unit.preflight_tree import put, settings

__all__ = ["shell"]  # the fixture

GRUB = """\
menuentry 'My System' {
	linux /boot/vmlinuz-6.12 root=UUID=r-r ro
	initrd /boot/ucode.img /boot/initrd.img-6.12
}
"""
INITRD = "boot/initrd.img-6.12"
WRITTEN = 1_000_000_000


# --- dracut on Arch


def made(root: Path, shell: str, *, status: int = 0) -> list[str]:
    """What dracut is called with, in a system that has nothing but these kernels."""
    *_, step = dracut.steps("arch")
    assert isinstance(step, Command)
    assert step.argv[:2] == ("sh", "-c")
    script = f'dracut() {{ echo "$*"; return {status}; }}\n{step.argv[2]}'
    ran = one_initrd.run(root, shell, script)
    assert (ran.returncode, ran.stderr) == (status, "")
    return ran.stdout.splitlines()


@pytest.fixture
def arch(tmp_path: Path) -> Path:
    root = one_initrd.make(tmp_path / "arch")
    put(
        root,
        {
            "usr/lib/modules/6.12.1-arch1-1/pkgbase": "linux\n",
            "usr/lib/modules/6.6.9-1-lts/pkgbase": "linux-lts\n",
            "usr/lib/modules/6.6.0-gone/vmlinuz": "",
        },
    )
    return root


def test_images_by_the_names_of_packages(arch: Path, shell: str) -> None:
    images = ["boot/initramfs-linux.img", "boot/initramfs-linux-lts.img"]
    put(arch, dict.fromkeys(images, ""))
    assert made(arch, shell) == [
        "--force /boot/initramfs-linux.img 6.12.1-arch1-1",
        "--force /boot/initramfs-linux-lts.img 6.6.9-1-lts",
    ]
    (arch / images[1]).unlink()
    assert made(arch, shell) == ["--force /boot/initramfs-linux.img 6.12.1-arch1-1"]


def test_images_by_other_names_on_arch(arch: Path, shell: str) -> None:
    assert made(arch, shell) == ["--regenerate-all --force"]
    assert made(arch, shell, status=3) == ["--regenerate-all --force"]


def test_the_first_that_fails_ends_it(arch: Path, shell: str) -> None:
    put(arch, dict.fromkeys(["boot/initramfs-linux.img", "boot/initramfs-linux-lts.img"], ""))
    assert len(made(arch, shell, status=3)) == 1


def test_other_families_have_dracuts_own_names() -> None:
    *_, step = dracut.steps("fedora")
    assert isinstance(step, Command)
    assert step.argv == ("dracut", "--regenerate-all", "--force")


# --- what is served


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A system whose hook was just written."""
    tree = tmp_path / "tree"
    put(tree, {"boot/grub/grub.cfg": GRUB, "boot/vmlinuz-6.12": "", "boot/ucode.img": ""})
    put(tree, {INITRD: "", f"{LIBRARY}/nbd-hook-lib".lstrip("/"): ""})
    for step in plan():
        if isinstance(step, WriteFiles):
            put(tree, {file.path.lstrip("/"): "" for file in step.files})
    for path in tree.rglob("*"):
        os.utime(path, (WRITTEN, WRITTEN))
    os.utime(tree / "boot/ucode.img", (0, 0))
    return tree


def plan() -> list[Step]:
    return list(dracut.steps("debian"))


def told(tree: Path, capfd: pytest.CaptureFixture[str], config: Config | None = None) -> str:
    part = "boot: {disk: /dev/sda, part: /dev/sda1}\n"
    served_initrd.check(plan(), root=Root(tree), config=config or settings(part))
    return capfd.readouterr().err


@pytest.mark.parametrize("later", [0, 60, -1.5])
def test_an_initrd_that_was_made_anew(
    tree: Path, capfd: pytest.CaptureFixture[str], later: float
) -> None:
    """FAT knows even seconds only."""
    os.utime(tree / INITRD, (0, WRITTEN + later))
    assert told(tree, capfd) == ""


@pytest.mark.parametrize("name", ["module-setup.sh", "nbd-hook-lib"])
def test_an_initrd_that_was_not_made_anew(
    tree: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """Older than any part of the hook."""
    (part,) = tree.rglob(name)
    os.utime(part, (WRITTEN + 9, WRITTEN + 9))
    assert f"/{INITRD} was not made anew: a desktop" in told(tree, capfd)


def test_a_hook_that_was_skipped(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.utime(tree / INITRD, (0, 0))
    (part,) = tree.rglob("module-setup.sh")
    part.unlink()
    assert told(tree, capfd) == ""


def test_nothing_is_served(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tree / "boot/vmlinuz-6.12").unlink()
    assert "what a desktop would get is not found: " in told(tree, capfd)


def test_what_is_not_mounted(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load = "{kernel: k-*, initrd: i-*, cmdline: ro}"
    config = settings(f"boot: {{disk: /dev/sda, part: /dev/sda1, load: {load}}}\n")
    assert "/dev/sda1 is not mounted: make sure that i-*" in told(tree, capfd, config)
