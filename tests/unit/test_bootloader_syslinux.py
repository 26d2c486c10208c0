"""syslinux and extlinux: what they boot when nobody chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.bootloader import syslinux
from stiefelsystem.bootloader.entry import Entry
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import empty, make, sample


def default(root: Path) -> Entry:
    tree = Tree(root)
    found = syslinux.config(tree)
    assert found
    return syslinux.default(tree, found)


def test_arch(tmp_path: Path) -> None:
    names = ("vmlinuz-linux", "intel-ucode.img", "initramfs-linux.img")
    make(tmp_path, {"boot/syslinux/syslinux.cfg": sample("arch-syslinux.cfg")})
    make(tmp_path, empty(*(f"boot/{name}" for name in names)))
    assert default(tmp_path) == Entry(
        title="Arch Linux",
        kernel=Path("/boot/vmlinuz-linux"),
        initrds=(Path("/boot/intel-ucode.img"), Path("/boot/initramfs-linux.img")),
        cmdline="root=/dev/sda3 rw",
        source=Path("/boot/syslinux/syslinux.cfg"),
        kind="syslinux",
    )


def test_alpine(tmp_path: Path) -> None:
    """MENU DEFAULT, lower case, and the initrd within APPEND."""
    make(tmp_path, {"boot/extlinux.conf": sample("alpine-extlinux.conf")})
    make(tmp_path, empty("boot/vmlinuz-lts", "boot/initramfs-lts"))
    entry = default(tmp_path)
    assert (entry.title, entry.kernel) == ("Linux lts", Path("/boot/vmlinuz-lts"))
    assert entry.initrds == (Path("/boot/initramfs-lts"),)
    assert entry.cmdline == "root=UUID=44444444-dddd-4000-8000-000000000003 quiet"


LABELS = (
    "LABEL a\nKERNEL a\nAPPEND of a\nLABEL b c\nKERNEL b\nINITRD i,j\nLABEL d\nKERNEL d\nAPPEND -\n"
)
CHOICES = [
    ("DEFAULT a\n" + LABELS, "a", "of a"),
    ("default A more\n" + LABELS, "a", "of a more"),
    ("DEFAULT b c\n" + LABELS, "b", ""),
    ("APPEND for all\nDEFAULT b c\n" + LABELS, "b", "for all"),
    ("APPEND for all\nDEFAULT d\n" + LABELS, "d", ""),
    ("DEFAULT a\nONTIMEOUT d\n" + LABELS, "d", ""),
    ("UI menu.c32\nDEFAULT a\n" + LABELS, "a", "of a"),
    ("UI menu.c32\nDEFAULT a\n" + LABELS + "MENU DEFAULT\n", "d", ""),
    ("DEFAULT vesamenu.c32\n" + LABELS, "a", "of a"),
    ("DEFAULT a\n" + LABELS + "MENU DEFAULT\n", "a", "of a"),  # nothing shows a menu
    ("LABEL only\nKERNEL a\nAPPEND x\n", "a", "x"),
    ("DEFAULT a\nLABEL a\nKERNEL a\nAPPEND 1\nLABEL a\nKERNEL gone\n", "a", "1"),
    ("DEFAULT a\nINCLUDE more.cfg\n", "a", "of a"),
    ("DEFAULT a\nMENU INCLUDE more.cfg Title\n", "a", "of a"),
    ('DEFAULT a\nLABEL a\nKERNEL a\nAPPEND "x  initrd=y" z\n', "a", '"x  initrd=y" z'),
]


@pytest.mark.parametrize(("text", "kernel", "cmdline"), CHOICES)
def test_choice(tmp_path: Path, text: str, kernel: str, cmdline: str) -> None:
    names = [f"boot/extlinux/{name}" for name in "abdij"]
    make(tmp_path, {"boot/extlinux/extlinux.conf": text, "boot/extlinux/more.cfg": LABELS})
    make(tmp_path, empty(*names))
    entry = default(tmp_path)
    assert (entry.kernel, entry.cmdline) == (Path("/boot/extlinux") / kernel, cmdline)
    assert [path.name for path in entry.initrds] == (["i", "j"] if kernel == "b" else [])


def test_absolute_paths(tmp_path: Path) -> None:
    """They begin at the filesystem, which may be /boot."""
    text = "LABEL a\nLINUX /vmlinuz\nINITRD /boot/initrd\n"
    make(tmp_path, {"boot/extlinux/extlinux.conf": text, **empty("boot/vmlinuz", "boot/initrd")})
    entry = default(tmp_path)
    assert (entry.kernel, entry.initrds) == (Path("/boot/vmlinuz"), (Path("/boot/initrd"),))


NOT_KNOWN = [
    ("", "has no LABEL"),
    ("DEFAULT x\nLABEL a\nKERNEL a\n", "'x', which is not there"),
    (LABELS, "several labels"),
    ("DEFAULT a\nLABEL a\nLOCALBOOT 0\n", r"extlinux.conf:2.*LOCALBOOT 0"),
    ("DEFAULT a\nLABEL a\nKERNEL chain.c32\n", "boots no Linux: chain.c32"),
    ("DEFAULT a\nLABEL a\nKERNEL gone\n", r"extlinux.conf:2: there is no file .*/gone"),
    ("DEFAULT a\nLABEL a\nKERNEL a\nINITRD gone\n", "no file .*/gone"),
    ("INCLUDE gone\n", r"extlinux.conf:1: there is no file"),
    ("INCLUDE extlinux.conf\n", "more files are included"),
]


@pytest.mark.parametrize(("text", "message"), NOT_KNOWN)
def test_what_cannot_be_known(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path, {"boot/extlinux/extlinux.conf": text, **empty("boot/extlinux/a")})
    with pytest.raises(StiefelError, match=message):
        default(tmp_path)
