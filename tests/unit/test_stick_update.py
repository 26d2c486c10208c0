"""Updating a stick: at every moment, there is a set that is whole, and the next update works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import compose, fat, loaders, make, update
from stiefelsystem.host.stick.contents import contents
from stiefelsystem.host.stick.layout import EFI_CONFIG, MENU, MIB, SECTOR, SETS, in_set
from tests import capabilities
from tests.unit import one_stick
from tests.unit.stick_sets import (
    booted,
    config,
    image,
    in_image,
    kernel_and_image,
    numbers,
)

__all__ = ["config", "image"]  # the fixtures

# Of one set: more than half of the smallest stick's room.
LARGE = 24 * MIB


def test_sets_alternate(image: Path, config: Config, tmp_path: Path) -> None:
    former = in_image(image, "a")
    seen = []
    for _ in range(4):
        one_stick.new_ramdisk(config.paths.cpio)
        make.image(image, config, update=True)
        seen.append(numbers(image))
        name = booted(image)
        (other,) = (n for n in SETS if n != name)
        assert in_image(image, name) == kernel_and_image(config)
        assert in_image(image, other) == former
        former = kernel_and_image(config)
    assert seen == [
        {"a": 1, "b": 2},
        {"a": 3, "b": 2},
        {"a": 3, "b": 4},
        {"a": 5, "b": 4},
    ]
    capabilities.require_tools("fsck.vfat")
    done = one_stick.fsck(image, tmp_path)
    assert done.returncode == 0, done.stdout


def test_settings_are_updated(image: Path, config: Config, tmp_path: Path) -> None:
    path = config.paths.workdir.parent / "config.yaml"
    other = "client-setup: {timeout: 42, cmdline: a.new=word}\n"
    path.write_text(path.read_text() + other)
    from stiefelsystem import config as configs

    make.image(image, configs.load(path), update=True)
    text = one_stick.read(image, in_set("b", "set.cfg")).decode()
    assert "a.new=word'" in text
    assert "b_timeout=42\n" in text


def test_all_else_stays(image: Path, config: Config, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    one_stick.mtools("mmd", image, "::mine")
    one_stick.mtools("mcopy", image, str(tmp_path / "letter.txt"), "::mine/letter.txt")
    before = {
        name: one_stick.read(image, name)
        for name in one_stick.names(image)
        if not name.startswith("stiefelsystem/b/")
    }
    record = image.read_bytes()[: 2048 * SECTOR]
    mode = image.stat().st_mode
    make.image(image, config, update=True)
    assert before.items() <= {n: one_stick.read(image, n) for n in one_stick.names(image)}.items()
    assert image.read_bytes()[: 2048 * SECTOR] == record
    assert image.stat().st_mode == mode


def test_equal_numbers(image: Path, config: Config, tmp_path: Path) -> None:
    """GRUB boots the first of the two, so that is the one that stays."""
    make.image(image, config, update=True)
    (tmp_path / "set.cfg").write_text("set b=1\n")
    one_stick.mtools("mcopy", image, "-o", str(tmp_path / "set.cfg"), "::stiefelsystem/b/set.cfg")
    before = in_image(image, "a")
    make.image(image, config, update=True)
    assert numbers(image) == {"a": 1, "b": 2}
    assert in_image(image, "a") == before


def test_no_stick_of_ours(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "other.img"
    make.image(tmp_path / "stick.img", config)
    stick = (tmp_path / "stick.img").read_bytes()
    begin = 2048 * SECTOR
    for data in (
        b"",
        b"short",
        bytes(MIB),
        os.urandom(4 * MIB),
        stick[:510],
        stick[:SECTOR],
        stick[:begin],
        stick[: begin + 32 * SECTOR],
        bytes(SECTOR) + stick[SECTOR:],  # as an unfinished one is
        stick[:begin] + bytes(len(stick) - begin),
    ):
        path.write_bytes(data)
        with pytest.raises(StiefelError, match="no stick of stiefelsystem") as caught:
            make.image(path, config, update=True)
        assert "anew" in caught.value.hint
        assert path.read_bytes() == data


def test_missing_stick(config: Config, tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match=r"there is no .*stick\.img to update"):
        make.image(tmp_path / "stick.img", config, update=True)
    assert not (tmp_path / "stick.img").exists()


def test_plain_key_is_not_wrapped_by_an_update(image: Path, config: Config) -> None:
    """The other set would keep it, and so would the medium."""
    before = image.read_bytes()
    with pytest.raises(StiefelError, match="has the key as it is") as caught:
        make.image(image, config, update=True, passphrase=lambda: "word")
    assert "anew" in caught.value.hint
    assert image.read_bytes() == before


def test_wrapped_key_is_not_laid_bare_by_an_update(config: Config, tmp_path: Path) -> None:
    image = tmp_path / "stick.img"
    make.image(image, config, passphrase=lambda: "word")
    before = image.read_bytes()
    with pytest.raises(StiefelError, match="wrapped by a passphrase") as caught:
        make.image(image, config, update=True)
    assert "--passphrase" in caught.value.hint
    assert image.read_bytes() == before
    for _ in SETS:
        make.image(image, config, update=True, passphrase=lambda: "word")
    assert numbers(image) == {"a": 3, "b": 2}
    assert one_stick.KEY not in image.read_bytes()


def test_no_room(config: Config, tmp_path: Path, image: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(MIB) * 30)
    one_stick.mtools("mcopy", image, str(tmp_path / "large"), "::large")
    one_stick.new_ramdisk(config.paths.cpio, size=LARGE)
    before = in_image(image, "a")
    for _ in range(2):
        with pytest.raises(StiefelError, match=r"keeps what it had: .*full") as caught:
            make.image(image, config, update=True)
        assert "anew" in caught.value.hint
        assert numbers(image) == {"a": 1, "b": 0}
        assert in_image(image, "a") == before
        # What could not be finished does not take its owner's room.
        assert not {n for n in one_stick.names(image) if n.startswith("stiefelsystem/b/")}
    one_stick.mtools("mdel", image, "::large")
    make.image(image, config, update=True)
    assert numbers(image) == {"a": 1, "b": 2}


def test_what_reads_back_as_something_else(
    image: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worn stick does it: between writing and reading, a byte has become another one."""
    flush = fat.Fat.flush
    ramdisk = config.paths.cpio.read_bytes()

    def worn(self: fat.Fat) -> None:
        flush(self)
        data = image.read_bytes()
        if (at := data.find(ramdisk[-SECTOR:])) >= 0:
            with image.open("r+b") as file:
                file.seek(at)
                file.write(b"worn")

    monkeypatch.setattr(fat.Fat, "flush", worn)
    before = in_image(image, "a")
    with pytest.raises(StiefelError, match=r"b/initrd\.img reads back as something") as caught:
        make.image(image, config, update=True)
    assert caught.value.hint == "the stick is worn out; take another one"
    assert numbers(image) == {"a": 1, "b": 0}
    assert in_image(image, "a") == before


@pytest.mark.parametrize(
    ("at", "named"),
    [
        (f"{loaders.ESP}/EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTX64.EFI"),
        (f"{loaders.ESP}/stiefelsystem/grub/i386-pc/normal.mod", "i386-pc/normal.mod"),
        (f"{loaders.ESP}/stiefelsystem/grub/i386-pc/new.mod", "i386-pc/new.mod"),
        (loaders.BIOS_BOOT, "GRUB for a BIOS"),
        (loaders.BIOS_CORE, "GRUB for a BIOS"),
    ],
)
def test_other_boot_loader_stays(
    image: Path, config: Config, capsys: pytest.CaptureFixture[str], at: str, named: str
) -> None:
    record = image.read_bytes()[: 2048 * SECTOR]
    before = {name: one_stick.read(image, name) for name in one_stick.names(image)}
    make.image(image, config, update=True)
    assert "another" not in (said := capsys.readouterr().err)
    assert "others than" not in said
    (loaders.loaders_of(config.paths.cpio) / at).write_bytes(b"newer")
    make.image(image, config, update=True)
    (line,) = (x for x in capsys.readouterr().err.splitlines() if "others than" in x)
    assert named in line
    assert "more" not in line
    assert image.read_bytes()[: 2048 * SECTOR] == record
    after = {name: one_stick.read(image, name) for name in one_stick.names(image)}
    ours = ("stiefelsystem/a/", "stiefelsystem/b/")
    assert {n: d for n, d in after.items() if not n.startswith(ours)}.items() <= before.items()


def test_many_other_boot_loaders(
    image: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = loaders.loaders_of(config.paths.cpio) / loaders.ESP
    for path in folder.rglob("*.*"):
        path.write_bytes(b"newer")
    make.image(image, config, update=True)
    assert "EFI/BOOT/BOOTX64.EFI, EFI/BOOT/grubx64.efi, EFI/BOOT/mmx64.efi and 2 more" in (
        capsys.readouterr().err
    )


def test_loaders_without_a_bios(
    image: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on arm64."""
    for name in (loaders.BIOS_BOOT, loaders.BIOS_CORE):
        (loaders.loaders_of(config.paths.cpio) / name).unlink()
    make.image(image, config, update=True)
    assert "others than" not in capsys.readouterr().err


@pytest.mark.parametrize("name", [MENU, EFI_CONFIG])
def test_menu_of_another_version(
    image: Path, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "grub.cfg").write_text("# of another version\n")
    one_stick.mtools("mcopy", image, "-o", str(tmp_path / "grub.cfg"), f"::{name}")
    make.image(image, config, update=True)
    assert "the stick's menu is another version's, and stays" in capsys.readouterr().err
    assert one_stick.read(image, name) == b"# of another version\n"


def test_smallest_stick(config: Config, tmp_path: Path) -> None:
    """What a device needs at least is enough; an update then finds no room, and says so."""
    one_stick.new_ramdisk(config.paths.cpio, size=48 * MIB)
    path = tmp_path / "stick.img"
    path.touch()
    with contents(config) as parts:
        compose.compose(path, parts, size=compose.smallest(parts))
        with pytest.raises(StiefelError, match="keeps what it had"):
            update.update(path, parts)
    assert in_image(path, "a") == kernel_and_image(config)


def test_comfortable_image_has_room_for_two(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "stick.img"
    one_stick.new_ramdisk(config.paths.cpio, size=48 * MIB)
    make.image(path, config)
    one_stick.new_ramdisk(config.paths.cpio, size=50 * MIB)
    for _ in SETS:
        make.image(path, config, update=True)
    assert in_image(path, "a") == kernel_and_image(config)
