"""A folder for a boot server: all but what is secret."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import pack
from stiefelsystem.host.stick import make, netboot
from tests.unit import one_stick

FILES = {
    *("EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi", "grub/grub.cfg"),
    *(f"stiefelsystem/grub/{n}" for n in ("grub.cfg", "i386-pc/core.0", "i386-pc/normal.mod")),
    "stiefelsystem/grub/i386-pc/command.lst",
    *(f"stiefelsystem/a/{n}" for n in ("vmlinuz", "initrd.img", "set.cfg")),
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return one_stick.settings(tmp_path / "home")


def found(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def only(folder: Path, *wanted: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(wanted)


def test_files(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "out/net"
    folder.parent.mkdir()
    make.netboot(folder, config)
    assert found(folder) == FILES
    assert (folder / "EFI/BOOT/grubx64.efi").read_bytes() == b"grubnet" * 9
    assert (folder / "stiefelsystem/a/initrd.img").read_bytes() == config.paths.cpio.read_bytes()
    assert "key" not in (folder / "stiefelsystem/grub/grub.cfg").read_text()
    only(folder.parent, "net")


def test_nothing_secret(config: Config, tmp_path: Path) -> None:
    """Not even where the key could not be read."""
    pack.secrets_of(config.paths.cpio).rename(tmp_path / "away")
    make.netboot(tmp_path / "net", config)
    for name in found(tmp_path / "net"):
        data = (tmp_path / "net" / name).read_bytes()
        assert one_stick.KEY not in data
        assert b"hash-of-a-password" not in data
        assert b"aes-key" not in data


def test_modes(config: Config, tmp_path: Path) -> None:
    config.paths.cpio.chmod(0o600)
    before = os.umask(0o077)
    try:
        make.netboot(tmp_path / "net", config)
    finally:
        os.umask(before)
    for path in (tmp_path / "net", *(tmp_path / "net").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o755 if path.is_dir() else 0o644), path


def test_replaced_as_a_whole(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "out/net"
    folder.mkdir(parents=True)  # an empty one will do
    make.netboot(folder, config)
    (folder / "stiefelsystem/a/initrd.img").chmod(0o400)
    (folder / "EFI/BOOT/mmx64.efi").unlink()
    (folder / "EFI/nothing in it").mkdir()
    one_stick.new_ramdisk(config.paths.cpio)
    make.netboot(folder, config)
    assert found(folder) == FILES
    assert (folder / "stiefelsystem/a/initrd.img").read_bytes() == config.paths.cpio.read_bytes()
    only(folder.parent, "net")


@pytest.mark.parametrize(
    "name",
    [
        *("precious", "pxelinux.cfg/default", "EFI/Microsoft/bootmgfw.efi"),
        *("EFI/BOOT/fbx64.efi", "grub/grub.cfg.mine", "stiefelsystem/mine/letter"),
        *("stiefelsystem/b/vmlinuz", "stiefelsystem/a/key.cpio"),
        "stiefelsystem/grub/i386-pc/mine.mod",
    ],
)
def test_somebody_elses_file_is_kept(config: Config, tmp_path: Path, name: str) -> None:
    mixed, others = tmp_path / "mixed", tmp_path / "others"
    make.netboot(mixed, config)
    for folder in (mixed, others):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
        before = found(folder)
        with pytest.raises(StiefelError, match=f"{name} in it is not what .* writes") as caught:
            make.netboot(folder, config)
        assert caught.value.hint == "name another folder; or remove it, if it may go"
        assert (folder / name).read_text() == "mine"
        assert found(folder) == before
        only(tmp_path, "home", "mixed", *(["others"] if folder == others else []))


def test_a_folder_without_a_menu_is_kept(config: Config, tmp_path: Path) -> None:
    """Boot loaders alone have these names on each EFI system partition."""
    loader = tmp_path / "net/EFI/BOOT/BOOTX64.EFI"
    loader.parent.mkdir(parents=True)
    loader.write_text("mine")
    with pytest.raises(StiefelError, match=r"EFI/BOOT/BOOTX64\.EFI in it is not"):
        make.netboot(tmp_path / "net", config)
    assert loader.read_text() == "mine"


def test_links_in_it_are_kept(config: Config, tmp_path: Path) -> None:
    """What they lead to is somebody's."""
    (tmp_path / "elsewhere").mkdir()
    make.netboot(tmp_path / "net", config)
    (tmp_path / "net/EFI/mine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StiefelError, match="EFI/mine in it is not"):
        make.netboot(tmp_path / "net", config)
    assert (tmp_path / "net/EFI/mine").is_symlink()


def test_places_where_no_folder_can_be(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", Path("/"), Path("/proc"), tmp_path / "home/.."):
        with pytest.raises(StiefelError, match="is there already"):
            make.netboot(path, config)
    with pytest.raises(StiefelError, match="there is no folder"):
        make.netboot(tmp_path / "missing/net", config)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", ["copyfile", "rename to old", "rename to new"])
def test_interrupted(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = tmp_path / "out/net"
    folder.parent.mkdir()
    make.netboot(folder, config)
    before = (folder / "stiefelsystem/a/initrd.img").read_bytes()
    one_stick.new_ramdisk(config.paths.cpio)
    rename = Path.rename

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def rename_or_not(self: Path, target: Path) -> Path:
        if place == "rename to old" and self == folder:
            raise KeyboardInterrupt
        if place == "rename to new" and self.name.endswith(".new"):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        if place == "copyfile":
            patch.setattr(netboot.shutil, "copyfile", interrupted)
        patch.setattr(Path, "rename", rename_or_not)
        with pytest.raises(KeyboardInterrupt):
            make.netboot(folder, config)
    assert (folder / "stiefelsystem/a/initrd.img").read_bytes() == before
    only(folder.parent, "net")


def test_link_to_a_folder(config: Config, tmp_path: Path) -> None:
    """As a boot server's root may be: what it leads to is replaced, and it stays."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make.netboot(tmp_path / "link", config)
    assert (tmp_path / "link").is_symlink()
    assert found(tmp_path / "real") == FILES
