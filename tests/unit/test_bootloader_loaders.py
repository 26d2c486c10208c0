"""Which boot loader is used, where several are installed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from stiefelsystem.bootloader import efi, loaders
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import (
    VARIABLES,
    boot_variables,
    empty,
    load_option,
    loader_variables,
    make,
    program,
)

GRUB = {
    "boot/grub/grub.cfg": "menuentry grub { linux /boot/vmlinuz root=UUID=1\n }",
    **empty("boot/vmlinuz"),
}
SYSTEMD_BOOT = {
    "efi/loader/loader.conf": "",
    "efi/loader/entries/a.conf": "linux /linux\noptions root=UUID=2\n",
    "efi/EFI/systemd/systemd-bootx64.efi": program((".sdmagic", b"#### LoaderInfo")),
    **empty("efi/linux"),
}
SYSLINUX = {"boot/syslinux/syslinux.cfg": "LABEL a\nLINUX /boot/vmlinuz\nAPPEND root=UUID=3\n"}
IMAGE = program((".cmdline", b"root=UUID=4"), (".linux", b"k"), (".initrd", b"i"))
UKI = {"efi/EFI/Linux/a.efi": IMAGE}
PROGRAMS = {
    "efi/EFI/debian/shimx64.efi": program((".sbat", b"")),
    "efi/EFI/gentoo/boot.efi": program((".text", b""), ("mods", b"")),
    "efi/EFI/BOOT/BOOTX64.EFI": program((".sdmagic", b"")),
    "efi/EFI/Microsoft/Boot/bootmgfw.efi": program((".text", b"")),
}
ALL = {**GRUB, **SYSTEMD_BOOT, **SYSLINUX, **UKI, **PROGRAMS}


def kind(root: Path) -> str:
    return loaders.default(root).kind


SINGLE = [
    (GRUB, "grub"),
    (SYSTEMD_BOOT, "bls"),
    (SYSLINUX | empty("boot/vmlinuz"), "syslinux"),
    (UKI, "uki"),
]


@pytest.mark.parametrize(("files", "expected"), SINGLE)
def test_only_one(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    """Without EFI variables, as on a machine with a BIOS, or in a tree that is not running."""
    assert kind(make(tmp_path, files)) == expected


def test_loader_is_named(tmp_path: Path) -> None:
    """As BLS entries do not tell."""
    assert loaders.default(make(tmp_path / "a", SYSTEMD_BOOT)).loader == "systemd-boot"
    blscfg = {"boot/grub/grub.cfg": "blscfg", "boot/loader/entries/a.conf": "linux /vmlinuz\n"}
    entry = loaders.default(make(tmp_path / "b", {**blscfg, **empty("boot/vmlinuz")}))
    assert (entry.kind, entry.loader) == ("bls", "GRUB")
    assert loaders.default(make(tmp_path / "c", UKI)).loader == loaders.FIRMWARE


def test_none(tmp_path: Path) -> None:
    assert loaders.find(tmp_path) == []
    with pytest.raises(StiefelError, match="no boot loader's configuration") as caught:
        loaders.default(tmp_path)
    assert "boot.load" in caught.value.hint


def test_several(tmp_path: Path) -> None:
    make(tmp_path, {**GRUB, **SYSTEMD_BOOT})
    assert [found.loader for found in loaders.find(tmp_path)] == ["GRUB", "systemd-boot"]
    with pytest.raises(StiefelError, match=r"several.*grub.cfg.*loader.conf") as caught:
        loaders.default(tmp_path)
    assert "boot.load" in caught.value.hint


NOTED = [
    ({"LoaderInfo": "systemd-boot 257.2-1"}, "bls"),
    ({"LoaderInfo": "GRUB 2.12"}, "grub"),
    ({"StubInfo": "systemd-stub 257", "LoaderImageIdentifier": "\\EFI\\Linux\\a.efi"}, "uki"),
    ({"LoaderInfo": "systemd-boot 257", "StubInfo": "systemd-stub 257"}, "bls"),
]


@pytest.mark.parametrize(("variables", "expected"), NOTED)
def test_noted_by_the_loader(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    make(tmp_path, {**ALL, **loader_variables(**variables)})
    make(tmp_path, {"efi/loader/loader.conf": "default a.conf\n"})
    assert kind(tmp_path) == expected


def test_unknown_loader(tmp_path: Path) -> None:
    make(tmp_path, {**ALL, **loader_variables(LoaderInfo="rEFInd 0.14.2")})
    with pytest.raises(StiefelError, match=r"booted by rEFInd 0.14.2"):
        loaders.default(tmp_path)


def test_a_loader_that_is_not_mounted(tmp_path: Path) -> None:
    make(tmp_path, {**GRUB, **loader_variables(LoaderInfo="systemd-boot 257")})
    with pytest.raises(StiefelError, match=r"by systemd-boot.*no configuration"):
        loaders.default(tmp_path)


WINDOWS = load_option("\\EFI\\Microsoft\\Boot\\bootmgfw.efi")
STICK = load_option("\\EFI\\other\\grubx64.efi")  # not on this disk
SHIM = load_option("\\EFI\\debian\\shimx64.efi")
ORDERS = [
    ((SHIM,), "grub"),
    ((WINDOWS, STICK, SHIM), "grub"),
    ((load_option("\\EFI\\BOOT\\BOOTX64.EFI"), SHIM), "bls"),
    ((load_option("\\EFI\\gentoo\\boot.efi"), load_option("\\EFI\\BOOT\\BOOTX64.EFI")), "grub"),
    ((load_option("\\EFI\\systemd\\systemd-bootx64.efi"), SHIM), "bls"),
    ((load_option("\\EFI\\systemd\\systemd-bootx64.efi", active=False), SHIM), "grub"),
    ((load_option("\\EFI\\Linux\\a.efi"), SHIM), "uki"),
]


@pytest.mark.parametrize(("options", "expected"), ORDERS)
def test_boot_order(tmp_path: Path, options: tuple[bytes, ...], expected: str) -> None:
    make(tmp_path, {**ALL, **boot_variables(*options)})
    make(tmp_path, {"efi/loader/loader.conf": "default a.conf\n"})
    assert kind(tmp_path) == expected


def test_boot_order_without_a_loader(tmp_path: Path) -> None:
    make(tmp_path, {**ALL, **boot_variables(WINDOWS)})
    with pytest.raises(StiefelError, match="several"):
        loaders.default(tmp_path)


def test_entries_of_grub(tmp_path: Path) -> None:
    """A folder of entries alone is no systemd-boot, where there is a GRUB."""
    make(tmp_path, GRUB)
    make(tmp_path, {"boot/loader/entries/a.conf": "linux /vmlinuz\n"})
    assert [found.loader for found in loaders.find(tmp_path)] == ["GRUB"]


def test_several_images(tmp_path: Path) -> None:
    make(tmp_path, {**UKI, "efi/EFI/Linux/b.efi": IMAGE})
    with pytest.raises(StiefelError, match=r"a.efi.*b.efi"):
        loaders.default(tmp_path)
    make(tmp_path, boot_variables(load_option("\\EFI\\Linux\\b.efi")))
    assert loaders.default(tmp_path).kernel == Path("/efi/EFI/Linux/b.efi")


def test_problem_of_the_used_one(tmp_path: Path) -> None:
    """What is wrong with another loader's configuration is none of ours."""
    make(tmp_path, {**ALL, "boot/grub/grub.cfg": "menuentry x {"})
    first = loaders.find(tmp_path)[0]
    assert first.problem is not None
    make(tmp_path, {**loader_variables(LoaderInfo="GRUB 2.12")})
    with pytest.raises(StiefelError, match="not closed"):
        loaders.default(tmp_path)
    make(tmp_path, {**loader_variables(LoaderInfo="systemd-boot 257")})
    assert kind(tmp_path) in ("bls", "uki")


@pytest.mark.parametrize("cmdline", ["", "quiet", "root=gpt-auto", "quiet -- root=UUID=1"])
def test_discovered_root(tmp_path: Path, cmdline: str) -> None:
    entry = f"linux /linux\noptions {cmdline}\n"
    make(tmp_path, {**SYSTEMD_BOOT, "efi/loader/entries/a.conf": entry})
    assert any("root=" in note for note in loaders.default(tmp_path).notes)


def test_command_line_is_one_line(tmp_path: Path) -> None:
    image = program((".cmdline", b"root=UUID=4\nquiet\n"), (".linux", b"k"), (".initrd", b"i"))
    entry = loaders.default(make(tmp_path, {"efi/EFI/Linux/a.efi": image}))
    assert entry.cmdline == "root=UUID=4 quiet"
    make(tmp_path, {"efi/EFI/Linux/a.efi": image.replace(b"quiet", b"qu\x1bet")})
    with pytest.raises(StiefelError, match=r"a.efi: its command line is no text"):
        loaders.default(tmp_path)


def test_known_root(tmp_path: Path) -> None:
    assert loaders.default(make(tmp_path, SYSTEMD_BOOT)).notes == ()


def test_malformed_variables(tmp_path: Path) -> None:
    make(tmp_path, boot_variables(b"", b"\1\0", SHIM[:20], SHIM))
    assert [option.path for option in efi.boot_options(Tree(tmp_path))] == [
        "\\EFI\\debian\\shimx64.efi"
    ]
    (order,) = (tmp_path / VARIABLES).glob("BootOrder-*")
    order.write_bytes(b"\7\0\0\0\x1d")
    assert list(efi.boot_options(Tree(tmp_path))) == []


@pytest.mark.parametrize("length", [0, 3])
def test_node_without_a_length(length: int) -> None:
    """A device path whose node does not even have its header would never end."""
    nodes = struct.pack("<BBH", 4, 1, length) + struct.pack("<BBH4s", 4, 4, 8, b"a\0\0\0") * 2
    data = struct.pack("<IH", 1, len(nodes)) + b"\0\0" + nodes
    assert efi.parse_option(data) is None


def test_load_option() -> None:
    option = efi.parse_option(SHIM)
    assert option == efi.BootOption("some system", "\\EFI\\debian\\shimx64.efi")
