"""Unified kernel images: what is in them, what is refused, and what is said."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from stiefelsystem.bootloader import pe, uki
from stiefelsystem.bootloader.entry import Entry
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import make, program

PATH = Path("/efi/EFI/Linux/arch.efi")
NAME = str(PATH)[1:]
RELEASE = b'NAME="Arch Linux"\nID=arch\nPRETTY_NAME="Arch Linux rolling"\n'
SECTIONS = (
    (".text", b"the stub's own"),
    (".osrel", RELEASE),
    (".cmdline", b"root=UUID=1 rw\n\0"),
    (".ucode", b"microcode"),
    (".initrd", b"an initrd" * 1000),
    (".linux", b"a kernel" * 1000),
)


def image(root: Path, *sections: tuple[str, bytes], **more: bytes) -> tuple[Tree, uki.Image]:
    make(root, {NAME: program(*sections), **more})
    tree = Tree(root)
    return tree, uki.parse(tree, PATH)


def entry(root: Path, *sections: tuple[str, bytes], **more: bytes) -> Entry:
    return uki.entry(*image(root, *sections, **more))


def without(name: str) -> list[tuple[str, bytes]]:
    return [section for section in SECTIONS if section[0] != name]


def test_entry(tmp_path: Path) -> None:
    assert entry(tmp_path, *SECTIONS) == Entry(
        title="Arch Linux rolling",
        kernel=PATH,
        cmdline="root=UUID=1 rw",
        source=PATH,
        kind="uki",
    )


def test_sections_of_an_image(tmp_path: Path) -> None:
    """Microcode comes first; the padding is not part of them."""
    _, parsed = image(tmp_path, *SECTIONS)
    data = (tmp_path / NAME).read_bytes()

    def content(section: pe.Section) -> bytes:
        return data[section.offset : section.offset + section.size]

    assert content(parsed.kernel) == b"a kernel" * 1000
    assert [content(one) for one in parsed.initrds] == [b"microcode", b"an initrd" * 1000]


def test_version(tmp_path: Path) -> None:
    assert image(tmp_path, *SECTIONS)[1].version == ""
    _, parsed = image(tmp_path, *SECTIONS, (".uname", b"6.12.1-arch1-1\0"))
    assert parsed.version == "6.12.1-arch1-1"


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match=r"arch.efi: has no .initrd section"):
        entry(tmp_path, *without(".initrd"))
    with pytest.raises(StiefelError, match=r"no .linux section"):
        entry(tmp_path, *without(".linux"))
    with pytest.raises(StiefelError, match=r"two .linux sections"):
        entry(tmp_path, *SECTIONS, (".linux", b"another"))
    with pytest.raises(StiefelError, match=r".cmdline has 70000 bytes"):
        entry(tmp_path, *without(".cmdline"), (".cmdline", bytes(70000)))


def test_without_cmdline(tmp_path: Path) -> None:
    assert entry(tmp_path, *without(".cmdline")).cmdline == ""


def test_profiles(tmp_path: Path) -> None:
    """The first is the default; what it has counts more than what all have."""
    profiles = (
        (".profile", b"ID=main\n"),
        (".cmdline", b"root=UUID=2"),
        (".profile", b"ID=factory-reset\n"),
        (".cmdline", b"root=UUID=3 systemd.unit=factory-reset.target"),
    )
    found = entry(tmp_path, *SECTIONS, *profiles)
    assert found.cmdline == "root=UUID=2"
    assert len(found.notes) == 1
    assert "2 profiles" in found.notes[0]


def test_companions(tmp_path: Path) -> None:
    """Add-ons' words are appended, those for all images first; all else is said."""
    more = {
        f"{NAME}.extra.d/b.addon.efi": program((".cmdline", b"b"), (".dtb", b"x")),
        f"{NAME}.extra.d/a.addon.efi": program((".cmdline", b"a")),
        f"{NAME}.extra.d/tpm.cred": b"",
        "efi/loader/addons/all.addon.efi": program((".cmdline", b"all")),
        "efi/loader/extensions/big.raw": b"",
    }
    found = entry(tmp_path, *SECTIONS, **more)
    assert found.cmdline == "root=UUID=1 rw all a b"
    said = "\n".join(found.notes)
    assert len(found.notes) == 3
    assert all(name in said for name in ("b.addon.efi has .dtb", "tpm.cred", "big.raw"))


def sections(data: bytes) -> list[pe.Section]:
    return pe.sections(io.BytesIO(data), "x.efi")


def test_sections() -> None:
    found = sections(program((".linux", b"abc"), (".initrd", b"d" * 600)))
    assert [(section.name, section.size) for section in found] == [(".linux", 3), (".initrd", 600)]


GOOD = program((".linux", b"abc"), (".initrd", b"d" * 600))
SECTION_TABLE = 64 + 24 + 112
MALFORMED = [
    b"",
    b"MZ",
    b"ELF" + GOOD[3:],
    GOOD[:64],
    GOOD[:100],
    GOOD[: SECTION_TABLE + 10],
    GOOD[:600],  # within a section
    GOOD[:64] + b"NE" + GOOD[66:],
    GOOD[:60] + struct.pack("<I", 0xFFFFFFFF) + GOOD[64:],
    GOOD[:70] + struct.pack("<H", 0xFFFF) + GOOD[72:],
    GOOD[: SECTION_TABLE + 20] + struct.pack("<I", 0xFFFFFFFF) + GOOD[SECTION_TABLE + 24 :],
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed(data: bytes) -> None:
    with pytest.raises(StiefelError, match=r"x.efi is"):
        sections(data)
