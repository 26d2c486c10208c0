"""What the desktop gets to boot, and whether there is room for what that needs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from stiefelsystem.config import Config
from stiefelsystem.host import pack
from stiefelsystem.host.preflight import boot, ramdisk
from stiefelsystem.host.preflight.finding import Finding
from stiefelsystem.host.preflight.generator import Generator, Name
from stiefelsystem.host.setup.record import Record
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Command
from tests import capabilities
from tests.unit.preflight_tree import levels, put, settings, texts

GRUB = """\
menuentry 'My System' {
	linux /boot/vmlinuz-6.12 root=UUID=r-r ro quiet resume=UUID=s-s mem=4G
	initrd /boot/initrd.img-6.12
}
"""
KERNELS = {"boot/vmlinuz-6.12": "kernel", "boot/initrd.img-6.12": "initrd"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def test_what_the_boot_loader_boots(tree: Path) -> None:
    put(tree, {**KERNELS, "boot/grub/grub.cfg": GRUB})
    found = boot.look(Root(tree), settings("boot: {disk: /dev/sda, part: /dev/sda1}\n"))
    said = texts(found)
    assert "'My System' (/boot/grub/grub.cfg) on /dev/sda1" in said
    assert "ok kernel: /boot/vmlinuz-6.12 " in said
    assert "ok initrd: /boot/initrd.img-6.12 " in said
    assert "ok cmdline: root=UUID=r-r ro quiet noresume" in said
    assert "without resume=UUID=s-s: a hibernated system" in said
    assert "without mem=4G: " in said
    assert "obstacle" not in levels(found)


def test_no_boot_loader(tree: Path) -> None:
    (finding,) = boot.look(Root(tree), settings())
    assert finding.level == "obstacle"
    assert "boot loader" in finding.text
    assert "boot.load" in finding.hint


def test_kernel_without_a_boot_loader(tree: Path) -> None:
    """As a virtual machine boots it: what the system module names is taken, and that is said."""
    put(tree, KERNELS)
    found = boot.look(Root(tree), settings())
    assert "obstacle" not in levels(found)
    assert "taken instead: the newest vmlinuz-*" in texts(found)


def arch(text: str = "") -> Config:
    return settings(text, module="system-arch")


def test_arch_before_the_setup(tree: Path) -> None:
    """The image for desktops is not there yet; that is no obstacle."""
    put(tree, {"boot/vmlinuz-linux": "", "boot/initramfs-linux.img": ""})
    grub = GRUB.replace("vmlinuz-6.12", "vmlinuz-linux").replace(
        "initrd.img-6.12", "initramfs-linux.img"
    )
    put(tree, {"boot/grub/grub.cfg": grub})
    found = boot.look(Root(tree), arch())
    assert set(levels(found)) == {"ok"}
    said = texts(found)
    assert "ok kernel: /boot/vmlinuz-linux " in said
    assert "ok initrd: /boot/initramfs-stiefel.img, which will be made" in said
    assert "ok cmdline: root=UUID=r-r ro quiet [" in said
    assert "without resume=UUID=s-s" in said
    (tree / "boot/grub/grub.cfg").unlink()
    found = boot.look(Root(tree), arch())
    assert levels(found) == ["ok", "ok", "note"]
    load = "boot: {disk: /dev/sda, load: {cmdline: root=/dev/x}}\n"
    assert "ok cmdline: root=/dev/x [" in texts(boot.look(Root(tree), arch(load)))


def test_arch_with_a_boot_partition(tree: Path) -> None:
    put(tree, {"boot/vmlinuz-linux": ""})
    found = boot.look(Root(tree), arch("boot: {disk: /dev/sda, part: /dev/sda1}\n"))
    assert "ok boot: on /dev/sda1, by boot.part" in texts(found)
    luks = "{type: luks, block: /dev/mapper/x, luks_block: /dev/sda1}"
    (finding,) = boot.look(Root(tree), arch(f"boot: {{disk: /dev/sda, part: {luks}}}\n"))
    assert finding.level == "obstacle"
    assert "encrypted boot partition" in finding.text


def test_arch_with_kernel_install(tree: Path) -> None:
    put(
        tree,
        {"boot/0123456789abcdef/6.12.1-arch1-1/linux": "", "usr/lib/modules/6.12.1-arch1-1/x": ""},
    )
    (finding,) = boot.look(Root(tree), arch())
    assert finding.level == "obstacle"
    assert "there is no /boot/vmlinuz-linux" in finding.text
    assert "kernel-install" in finding.text


def test_arch_after_the_setup(tree: Path) -> None:
    put(tree, {"boot/vmlinuz-linux": "", "boot/initramfs-stiefel.img": "image"})
    preset = "ALL_kver='/boot/vmlinuz-linux'\nstiefel_image='/boot/initramfs-stiefel.img'\n"
    put(tree, {"etc/mkinitcpio.d/stiefelsystem.preset": preset})
    assert "ok initrd: /boot/initramfs-stiefel.img [" in texts(boot.look(Root(tree), arch()))


@pytest.fixture
def built(tmp_path: Path) -> Config:
    """A configuration whose ramdisk is built."""
    config = settings(base=tmp_path / "checkout")
    image = config.paths.cpio
    image.parent.mkdir(parents=True)
    for path in (image, pack.kernel_of(image), pack.secrets_of(image), config.paths.key):
        path.write_bytes(bytes(1 << 20))
    return config


def free(monkeypatch: pytest.MonkeyPatch, mebibytes: int) -> None:
    """A filesystem with so much room."""
    status = SimpleNamespace(f_bavail=mebibytes << 8, f_frsize=1 << 12, f_flag=0)
    monkeypatch.setattr(os, "statvfs", lambda folder: status)


def look(tree: Path, config: Config, name: str = "", detail: str = "") -> list[Finding]:
    names: dict[str, Name] = {name: name for name in get_args(Name)}
    generator = Generator(names[name], "1", "/usr/bin/it", detail) if name else None
    return ramdisk.look(Root(tree), config, generator)


def done(tree: Path) -> None:
    """The initrds were made with the hook, by a run before."""
    put(tree, {"etc/fstab": ""})
    step = Command(id="initrd", purpose="initrds", argv=("true",), again=True)
    with Record.open(Root(tree), writable=True) as record:
        record.command(step, step.argv, take_back=())
        record.ended(step)


def test_ramdisk_that_is_not_built(tree: Path, built: Config) -> None:
    assert levels(look(tree, built)) == ["ok"]
    pack.kernel_of(built.paths.cpio).unlink()
    built.paths.key.unlink()
    (finding,) = look(tree, built)
    assert finding.level == "obstacle"
    assert f"no {pack.kernel_of(built.paths.cpio)}, no {built.paths.key}" in finding.text
    assert "create-initrd-nspawn --pack" in finding.hint


def test_room_for_the_ramdisk(tree: Path, built: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "boot").mkdir()
    free(monkeypatch, 2)
    assert levels(look(tree, built)) == ["ok"]
    free(monkeypatch, 1)
    _, finding = look(tree, built)
    assert finding.level == "obstacle"
    assert finding.text == f"{tree}/boot has 1 MiB free, but the ramdisk would need 2 MiB there"
    # What is there already is not copied again.
    put(tree, {"boot/stiefelsystem/initrd": bytes(1 << 20)})
    assert levels(look(tree, built)) == ["ok"]


def test_room_for_a_new_initrd(tree: Path, built: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies beside the old one for a moment."""
    put(
        tree,
        {"boot/initrd.img-6.1": bytes(4 << 20), "boot/initrd.img-5": "", "boot/vmlinuz-6.1": ""},
    )
    done(tree)
    free(monkeypatch, 6)
    assert levels(look(tree, built, "initramfs-tools")) == ["ok"]
    free(monkeypatch, 5)
    _, finding = look(tree, built, "initramfs-tools")
    assert (
        "5 MiB free, but the ramdisk, a new initrd beside the old one would need 6" in finding.text
    )


@pytest.mark.parametrize(
    "layout",
    ["boot/initramfs-{}.img", "boot/id/{}/initrd", "efi/id/{}/initrd", "boot/efi/id/{}/initrd"],
)
def test_room_for_what_initrds_grow_by(
    tree: Path, built: Config, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """Each of them, the first time; and dracut removes what does not fit."""
    put(tree, {layout.format(version): bytes(4 << 20) for version in ("6.1", "6.2", "6.3")})
    need = 2 + 4 + 3 * 20
    free(monkeypatch, need)
    assert levels(look(tree, built, "dracut")) == ["ok"]
    free(monkeypatch, need - 1)
    _, finding = look(tree, built, "dracut")
    assert f"what initrds grow by would need {need} MiB there" in finding.text
    done(tree)
    assert levels(look(tree, built, "dracut")) == ["ok"]


def test_room_for_all_drivers(tree: Path, built: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODULES=dep has few of them, and the hook asks for all."""
    put(tree, {"boot/initrd.img-6.1": bytes(4 << 20)})
    free(monkeypatch, 2 + 4 + 80 - 1)
    assert levels(look(tree, built, "initramfs-tools", "MODULES=most")) == ["ok"]
    assert levels(look(tree, built, "initramfs-tools", "MODULES=dep")) == ["ok", "obstacle"]


def test_names_of_another_disk(tree: Path) -> None:
    """By boot: what the command line has; a mapping's name is none."""
    put(tree, {**KERNELS, "boot/grub/grub.cfg": GRUB.replace("UUID=r-r", "/dev/nvme0n1p2")})
    (finding,) = (one for one in boot.look(Root(tree), settings()) if one.level == "obstacle")
    assert "has root=/dev/nvme0n1p2: on the desktop" in finding.text
    put(tree, {"boot/grub/grub.cfg": GRUB.replace("UUID=r-r", "/dev/mapper/vg-root")})
    assert "obstacle" not in levels(boot.look(Root(tree), settings()))


def test_an_initrd_of_two_names(tree: Path, built: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by a link; and one partition that is seen in two folders."""
    put(tree, {"boot/initrd.img-6.1": bytes(4 << 20), "boot/id/6.1/initrd": bytes(1 << 20)})
    (tree / "boot/initrd.img").symlink_to("initrd.img-6.1")
    (tree / "efi").symlink_to("/boot")
    free(monkeypatch, 2 + 4 + 2 * 20)
    assert levels(look(tree, built, "dracut")) == ["ok"]
    free(monkeypatch, 2 + 4 + 2 * 20 - 1)
    assert levels(look(tree, built, "dracut")) == ["ok", "obstacle"]


def test_unified_images_grow(tree: Path, built: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tree, {"efi/EFI/Linux/linux-6.1.efi": bytes(4 << 20), "efi/EFI/BOOT/BOOTX64.EFI": "loader"})
    free(monkeypatch, 2 + 4 + 20)
    assert levels(look(tree, built, "dracut")) == ["ok"]
    free(monkeypatch, 2 + 4 + 20 - 1)
    assert levels(look(tree, built, "dracut")) == ["ok", "obstacle"]


def test_room_for_the_image_of_mkinitcpio(
    tree: Path, built: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "boot").mkdir()
    free(monkeypatch, 151)
    _, finding = look(tree, built, "mkinitcpio")
    assert "151 MiB free, but the ramdisk, the image for desktops would need 152" in finding.text
    put(tree, {"boot/initramfs-linux-fallback.img": bytes(3 << 20)})
    free(monkeypatch, 5)
    assert levels(look(tree, built, "mkinitcpio")) == ["ok"]
    put(tree, {"boot/initramfs-stiefel.img": bytes(9)})
    free(monkeypatch, 2)
    assert levels(look(tree, built, "mkinitcpio")) == ["ok"]


def test_real_room(tree: Path, built: Config) -> None:
    assert levels(look(tree, built, "dracut")) == ["ok"]


@pytest.fixture
def mounted(tree: Path) -> Iterator[Callable[[str], None]]:
    """Makes folders of the tree filesystems of their own, which are read-only."""
    capabilities.require_root()
    points = []

    def mount(folder: str) -> None:
        (tree / folder).mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "ro", "none", tree / folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        capabilities.require(done.returncode == 0, f"cannot mount: {done.stderr}")
        points.append(tree / folder)

    yield mount
    for point in points:
        subprocess.run(["umount", point], check=True)


@pytest.mark.parametrize(
    ("folder", "generator"),
    [
        ("boot", ""),
        ("usr/local", "mkinitcpio"),
        ("etc", "dracut"),
        ("usr/lib", "dracut"),
        ("elsewhere", ""),
        ("boot/efi", "dracut"),
    ],
)
def test_what_is_mounted_read_only(
    tree: Path,
    built: Config,
    mounted: Callable[[str], None],
    folder: str,
    generator: str,
) -> None:
    """It is known before the first question, not by the failure of what is in the middle."""
    mounted(folder)
    setup = replace(built.server_setup, stiefelsystem_initrd=Path("/elsewhere/folder/initrd"))
    _, *found = look(tree, replace(built, server_setup=setup), generator)
    if folder == "boot/efi":
        assert found == [], "no initrd is there"
        return
    (finding,) = found
    assert finding.level == "obstacle"
    assert f"/{folder}" in finding.text
    assert "read-only" in finding.text


def test_what_nothing_is_written_to_may_be_read_only(
    tree: Path, built: Config, mounted: Callable[[str], None]
) -> None:
    mounted("usr/lib")
    assert levels(look(tree, built, "initramfs-tools")) == ["ok"]
