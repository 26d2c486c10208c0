"""The boot loaders, out of a tree that stands for Debian's: what is taken, kept, and refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.stick import loaders

PC = "usr/lib/grub/i386-pc"
# As grub-mkimage's file is: a module, and what it needs, which may be nothing.
MODDEP = """\
videotest: font gfxmenu
configfile: normal
terminal:
linux: boot normal relocator vbe video mmap
normal: gettext boot datetime crypto extcmd terminal
test:
echo: extcmd
serial: extcmd terminfo
terminfo: extcmd
halt: acpi
acpi: extcmd
""" + "".join(
    f"{name}:\n"
    for name in (
        *("boot", "relocator", "vbe", "video", "mmap", "gettext", "datetime", "crypto", "extcmd"),
        *("font", "gfxmenu"),
    )
)
NEEDED = {
    *("acpi", "boot", "configfile", "crypto", "datetime", "echo", "extcmd", "gettext", "halt"),
    *("linux", "mmap", "normal", "relocator", "serial", "terminal", "terminfo", "test", "vbe"),
    "video",
}


class Debian:
    """What `debian` does, but for the packages, whose files are made up."""

    def __init__(self) -> None:
        self.trees = 0
        self.missing = ""
        self.made: list[list[str]] = []
        self.version = "1"

    def base_tree(self, tree: Path, supply: Supply) -> None:
        self.trees += 1
        tree.mkdir(parents=True)

    def unpack(self, tree: Path, packages: Sequence[str]) -> str:
        for name in (
            "usr/lib/shim/shimx64.efi.signed",
            "usr/lib/shim/mmx64.efi.signed",
            "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
            "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
            "usr/lib/shim/shimaa64.efi.signed",
            "usr/lib/shim/mmaa64.efi.signed",
            "usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed",
            "usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed",
        ):
            if Path(name).name != self.missing:
                self._put(tree, name)
        return "".join(f"{name} {self.version}\n" for name in packages)

    def install(self, tree: Path, packages: Sequence[str], supply: Supply) -> None:
        assert list(packages) == ["grub-pc-bin"]
        for name in (*(f"{n}.mod" for n in (*NEEDED, "videotest")), "fs.lst", "boot.img"):
            self._put(tree, f"{PC}/{name}")
        (tree / PC / "moddep.lst").write_text(MODDEP)

    def nspawn(self, tree: Path, argv: Sequence[str], *, network: bool = True) -> str:
        if argv[0] == "grub-mkimage":
            assert not network
            self.made.append(list(argv))
            (tree / "core").write_bytes(" ".join(argv).encode())
            return ""
        return f"grub-pc-bin {self.version}\n"

    def _put(self, tree: Path, name: str) -> None:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} {self.version}")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Debian:
    made = Debian()
    for name in ("base_tree", "unpack", "install", "nspawn"):
        monkeypatch.setattr(debian, name, getattr(made, name))
    monkeypatch.setattr(debian, "architecture", lambda: "amd64")
    return made


def make(folder: Path, *, offline: bool = False, refresh: bool = False) -> Path:
    """The loaders of a ramdisk that will be in the folder's `work`."""
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    image = folder / "work/stiefel.cpio"
    loaders.make(image, image.parent, Supply(cache, offline=offline, refresh=refresh))
    return loaders.loaders_of(image)


def found(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def only(folder: Path, *wanted: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(wanted)


def test_files(fake: Debian, tmp_path: Path) -> None:
    made = make(tmp_path)
    efi = {f"EFI/BOOT/{name}" for name in ("BOOTX64.EFI", "grubx64.efi", "mmx64.efi")}
    names = (*(f"{name}.mod" for name in NEEDED), "moddep.lst", "fs.lst")
    both = efi | {f"stiefelsystem/grub/i386-pc/{name}" for name in names}
    assert found(made) == {
        *(f"{side}/{name}" for side in ("esp", "net") for name in both),
        *("bios/boot.img", "bios/core.img", "net/stiefelsystem/grub/i386-pc/core.0", "packages"),
    }
    shim = "usr/lib/shim/shimx64.efi.signed 1"
    assert (made / "esp/EFI/BOOT/BOOTX64.EFI").read_text() == shim
    assert (made / "esp/EFI/BOOT/grubx64.efi").read_text().endswith("/grubx64.efi.signed 1")
    assert (made / "net/EFI/BOOT/grubx64.efi").read_text().endswith("/grubnetx64.efi.signed 1")
    only(tmp_path / "work", "stiefel.loaders")


def test_cores(fake: Debian, tmp_path: Path) -> None:
    make(tmp_path)
    disk, net = fake.made
    assert {"--format=i386-pc", "--prefix=(,msdos1)/stiefelsystem/grub"} <= set(disk)
    assert disk[-3:] == ["biosdisk", "part_msdos", "fat"]
    assert {"--format=i386-pc-pxe", "--prefix=(pxe)/stiefelsystem/grub"} <= set(net)
    assert net[-2:] == ["pxe", "tftp"]


def test_digests(fake: Debian, tmp_path: Path) -> None:
    made = make(tmp_path)
    lines = loaders.digests(made)
    assert lines[:4] == [
        *("grub-efi-amd64-signed 1", "shim-signed 1", "shim-helpers-amd64-signed 1"),
        "grub-pc-bin 1",
    ]
    shim = hashlib.sha256(b"usr/lib/shim/shimx64.efi.signed 1").hexdigest()
    assert f"{shim}  esp/EFI/BOOT/BOOTX64.EFI" in lines
    assert len(lines) == 4 + 3 + 2


def test_arm64(fake: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "architecture", lambda: "arm64")
    made = make(tmp_path)
    efi = {f"EFI/BOOT/{name}" for name in ("BOOTAA64.EFI", "grubaa64.efi", "mmaa64.efi")}
    assert found(made) == {f"{s}/{name}" for s in ("esp", "net") for name in efi} | {"packages"}
    assert len(loaders.digests(made)) == 3 + 3


def test_kept_in_the_cache(fake: Debian, tmp_path: Path) -> None:
    made = make(tmp_path)
    before = made.stat().st_ino
    fake.version = "2"
    assert make(tmp_path, offline=True).stat().st_ino == before  # not even copied anew
    assert fake.trees == 1
    (made / "esp/EFI/BOOT/mmx64.efi").unlink()
    make(tmp_path)
    assert (made / "esp/EFI/BOOT/mmx64.efi").read_text().endswith(" 1")
    assert fake.trees == 1
    make(tmp_path, refresh=True)
    assert (made / "esp/EFI/BOOT/mmx64.efi").read_text().endswith(" 2")
    loaders.forget(tmp_path / "cache")
    fake.version = "3"
    make(tmp_path)
    assert "shim-signed 3" in loaders.digests(made)
    only(tmp_path / "work", "stiefel.loaders")


def test_offline_without_a_cache(fake: Debian, tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="has no boot loaders") as caught:
        make(tmp_path, offline=True)
    assert "--offline" in caught.value.hint
    assert fake.trees == 0


@pytest.mark.parametrize("name", ["shimx64.efi.signed", "grubnetx64.efi.signed"])
def test_package_without_its_file(fake: Debian, tmp_path: Path, name: str) -> None:
    fake.missing = name
    with pytest.raises(StiefelError, match=f"have no /usr/lib/.*{name} any more") as caught:
        make(tmp_path)
    assert caught.value.hint
    only(tmp_path / "cache")
    assert not list((tmp_path / "work").iterdir())


def test_failed_refresh_keeps_what_there_was(fake: Debian, tmp_path: Path) -> None:
    made = make(tmp_path)
    fake.missing, fake.version = "mmx64.efi.signed", "2"
    with pytest.raises(StiefelError):
        make(tmp_path, refresh=True)
    assert (made / "esp/EFI/BOOT/mmx64.efi").read_text().endswith(" 1")
    fake.missing = ""
    assert make(tmp_path, offline=True) == made
    only(tmp_path / "work", "stiefel.loaders")


def test_interrupted_copy(fake: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    fake.version = "2"

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, refresh=True)
    made = make(tmp_path)
    assert found(made)
    only(tmp_path / "work", "stiefel.loaders")


def test_needed(tmp_path: Path) -> None:
    path = tmp_path / "moddep.lst"
    path.write_text(MODDEP)
    assert loaders._needed(path) == sorted(NEEDED)
    path.write_text(MODDEP.replace("acpi: extcmd\n", ""))
    with pytest.raises(StiefelError, match="no module acpi"):
        loaders._needed(path)
