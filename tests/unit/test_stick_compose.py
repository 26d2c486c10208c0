"""A stick's image: what lies where, as sfdisk, fsck and mtools see it."""

from __future__ import annotations

import getpass
import os
import re
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem import cpio, wrapped
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import pack, tree
from stiefelsystem.host.stick import loaders, make
from stiefelsystem.host.stick.layout import MIB, SECTOR
from tests import capabilities
from tests.unit import one_stick


@pytest.fixture
def config(tmp_path: Path) -> Config:
    one_stick.require_tools()
    return one_stick.settings(tmp_path / "home")


def only(folder: Path, *wanted: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(wanted)


@pytest.mark.parametrize("first", [63, 2048])
def test_layout(tmp_path: Path, first: int) -> None:
    one_stick.require_tools()
    made = one_stick.settings(tmp_path / "home", f"client-setup: {{first-sector: {first}}}")
    image = tmp_path / "out/stick.img"
    image.parent.mkdir()
    make.image(image, made)
    only(image.parent, "stick.img")
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    data = image.read_bytes()
    assert len(data) % (16 * MIB) == 0
    # Code, the disk's signature, one active partition, and three entries that are empty.
    assert data[:440] == one_stick.BOOT[:440]
    assert data[440:444] != bytes(4)
    active, kind, start, sectors = struct.unpack_from("<B3xB3xII", data, 0x1BE)
    assert (active, kind, start) == (0x80, 0xEF, first)
    assert (start + sectors) * SECTOR == len(data)
    assert data[0x1CE:SECTOR] == bytes(48) + b"\x55\xaa"
    assert data[SECTOR:].startswith(one_stick.CORE)
    assert not any(data[SECTOR + len(one_stick.CORE) : first * SECTOR])
    sector = data[first * SECTOR :][:SECTOR]
    assert sector[0x52:0x5A] == b"FAT32   "
    assert struct.unpack_from("<I", sector, 0x1C) == (first,)  # BPB_HiddSec
    assert sector[0x47:0x52] == b"STIEFEL    "


def test_filesystem_is_clean(config: Config, tmp_path: Path) -> None:
    capabilities.require_tools("fsck.vfat")
    image = tmp_path / "stick.img"
    make.image(image, config)
    done = one_stick.fsck(image, tmp_path)
    assert done.returncode == 0, done.stdout
    # With fewer clusters, firmware would take it for FAT16.
    clusters = re.search(r" \d+/(\d+) clusters$", done.stdout.strip())
    assert clusters
    assert int(clusters[1]) >= 65525


def test_files(config: Config, tmp_path: Path) -> None:
    image, source = tmp_path / "stick.img", config.paths.cpio
    make.image(image, config)
    folder = one_stick.unpacked(image, tmp_path / "unpacked")
    esp = loaders.loaders_of(source) / loaders.ESP
    for path in esp.rglob("*.*"):
        assert (folder / path.relative_to(esp)).read_bytes() == path.read_bytes()
    ours = folder / "stiefelsystem"
    assert (ours / "a/vmlinuz").read_bytes() == pack.kernel_of(source).read_bytes()
    assert (ours / "a/initrd.img").read_bytes() == source.read_bytes()
    assert (ours / "a/key.cpio").read_bytes() == one_stick.secrets()
    assert "$at/initrd.img $at/key.cpio\n" in (ours / "grub/grub.cfg").read_text()
    assert (ours / "README.txt").read_text().count("holds the key: whoever") == 1
    assert "set prefix=($root)/stiefelsystem/grub\n" in (folder / "EFI/debian/grub.cfg").read_text()
    only(ours / "b")


def test_plain_key_and_wrapped_key(config: Config, tmp_path: Path) -> None:
    plain, secret = tmp_path / "plain.img", tmp_path / "secret.img"
    make.image(plain, config)
    make.image(secret, config, passphrase=lambda: "correct horse")
    assert one_stick.KEY in plain.read_bytes()
    data = secret.read_bytes()
    assert one_stick.KEY not in data
    assert f"{tree.KEY_PATH}\0".encode() not in data
    found = {e.name: e for e in cpio.entries(one_stick.read(secret, "stiefelsystem/a/key.cpio"))}
    key = found[f"{tree.KEY_PATH}.wrapped"]
    assert stat.S_IMODE(key.mode) == 0o600
    assert wrapped.unwrap(key.data, "correct horse") == one_stick.KEY
    assert found["etc/shadow"].data == one_stick.HASH
    assert b"wants a passphrase" in one_stick.read(secret, "stiefelsystem/README.txt")


def test_equal_ramdisks_make_equal_images(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one.img", tmp_path / "other.img"
    os.utime(config.paths.cpio, (1.6e9, 1.6e9))
    make.image(one, config)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mtoolsrc").write_text("what mtools does not understand\n")
    make.image(other, config)
    assert one.read_bytes() == other.read_bytes()
    assert b"2020-09-13  12:26" in one_stick.mtools("mdir", one, "::stiefelsystem/a")
    one_stick.new_ramdisk(config.paths.cpio)
    os.utime(config.paths.cpio, (1.6e9, 1.6e9))
    make.image(other, config)
    assert one.read_bytes()[440:444] != other.read_bytes()[440:444]


def test_core_that_does_not_fit(tmp_path: Path) -> None:
    one_stick.require_tools()
    made = one_stick.settings(tmp_path / "home", "client-setup: {first-sector: 63}")
    core = loaders.loaders_of(made.paths.cpio) / loaders.BIOS_CORE
    core.write_bytes(bytes(62 * SECTOR + 1))
    (tmp_path / "out").mkdir()
    with pytest.raises(StiefelError, match="in front of sector 63") as caught:
        make.image(tmp_path / "out/stick.img", made)
    assert "first-sector: 64 or more" in caught.value.hint
    only(tmp_path / "out")


def test_no_bios(config: Config, tmp_path: Path) -> None:
    """As on arm64."""
    for name in (loaders.BIOS_BOOT, loaders.BIOS_CORE):
        (loaders.loaders_of(config.paths.cpio) / name).unlink()
    make.image(tmp_path / "stick.img", config)
    assert not any((tmp_path / "stick.img").read_bytes()[:440])


def test_former_image_is_replaced(config: Config, tmp_path: Path) -> None:
    image = tmp_path / "out/stick.img"
    image.parent.mkdir()
    image.touch(mode=0o644)
    make.image(image, config)
    one_stick.new_ramdisk(config.paths.cpio)
    make.image(image, config)
    assert one_stick.read(image, "stiefelsystem/a/initrd.img") == config.paths.cpio.read_bytes()
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    only(image.parent, "stick.img")


def test_image_behind_a_link(config: Config, tmp_path: Path) -> None:
    link, target = tmp_path / "link.img", tmp_path / "real.img"
    link.symlink_to("real.img")
    make.image(link, config)
    assert link.is_symlink()
    assert target.stat().st_size >= MIB


def test_somebody_elses_file_is_kept(config: Config, tmp_path: Path) -> None:
    other = tmp_path / "machine.img"
    other.write_bytes(b"precious" * 1000)
    with pytest.raises(StiefelError, match="no image of a stick"):
        make.image(other, config)
    assert other.read_bytes() == b"precious" * 1000


def test_places_where_no_image_can_be(config: Config, tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="is no file"):
        make.image(tmp_path, config)
    with pytest.raises(StiefelError, match="is no file"):
        make.image(Path("/dev/null"), config)
    with pytest.raises(StiefelError, match="there is no folder"):
        make.image(tmp_path / "missing/stick.img", config)
    assert Path("/dev/null").is_char_device()


def test_device_is_no_image(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a file would take the place of the device's node."""
    node = tmp_path / "sdx"
    node.touch()
    monkeypatch.setattr(Path, "is_block_device", lambda self: self == node)
    with pytest.raises(StiefelError, match="is a device") as caught:
        make.image(node, config)
    assert "without --image" in caught.value.hint


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError(28, "No space left")])
def test_interrupted(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    image = tmp_path / "out/stick.img"
    image.parent.mkdir()
    make.image(image, config)
    before = image.read_bytes()

    def raise_it(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("stiefelsystem.host.stick.compose.put_set", raise_it)
    with pytest.raises((KeyboardInterrupt, SystemExit, OSError)):
        make.image(image, config)
    assert image.read_bytes() == before
    only(image.parent, "stick.img")


def test_full_disk(config: Config, tmp_path: Path) -> None:
    """Wherever the room ends, it is noticed: what mtools could not write it may tell at its end."""
    prefix = capabilities.as_root_of_a_namespace("--mount")
    one_stick.new_ramdisk(config.paths.cpio, size=1_000_000)
    script = (
        'mount -t tmpfs -o size=${0}k tmpfs "$1" || exit 9; '
        '"$2" --config "$3" --image "$1/stick.img"; '
        'status=$?; ls -A "$1"; [ $status = 0 ] && cat "$1/stick.img" >"$4"; exit $status'
    )
    program = Path(__file__).resolve().parents[2] / "setup-client-usbdrive"
    statuses = set()
    make.image(tmp_path / "right.img", config)
    (tmp_path / "full").mkdir()
    # What is not zero takes room, a page each.
    data = (tmp_path / "right.img").read_bytes()
    needed = sum(4 for at in range(0, len(data), 4096) if any(data[at : at + 4096]))
    for size in (600, needed // 2, *range(needed - 40, needed + 60, 16), 9000):
        words = [str(size), tmp_path / "full", program, tmp_path / "home/config.yaml"]
        done = subprocess.run(
            [*prefix, "sh", "-c", script, *words, tmp_path / "copy.img"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        capabilities.require(done.returncode != 9, f"cannot mount a tmpfs: {done.stderr}")
        statuses.add(done.returncode)
        if done.returncode == 0:
            assert (tmp_path / "copy.img").read_bytes() == (tmp_path / "right.img").read_bytes()
        else:
            assert (done.returncode, done.stdout) == (1, ""), done.stderr
            assert re.search("No space left|failed whilst writing", done.stderr), done.stderr
    assert statuses == {0, 1}


@pytest.mark.parametrize("which", ["kernel", "image", "loaders", "key"])
def test_no_ramdisk(config: Config, tmp_path: Path, which: str) -> None:
    image = config.paths.cpio
    paths = {
        "kernel": pack.kernel_of(image),
        "image": image,
        "loaders": loaders.loaders_of(image),
        "key": pack.secrets_of(image),
    }
    paths[which].rename(tmp_path / "away")
    with pytest.raises(StiefelError, match=f"no ramdisk: {paths[which]} is missing") as caught:
        make.image(tmp_path / "stick.img", config)
    assert "create-initrd-nspawn" in caught.value.hint
    assert not (tmp_path / "stick.img").exists()


@pytest.mark.parametrize("passphrase", [None, lambda: "word"])
def test_secrets_that_are_none(
    config: Config, tmp_path: Path, passphrase: Callable[[], str] | None
) -> None:
    secret = pack.secrets_of(config.paths.cpio)
    for data, words in (
        (secret.read_bytes()[:-200], "is damaged"),
        (b"", "is damaged"),
        (cpio.archive([]), "has no key"),
    ):
        secret.write_bytes(data)
        with pytest.raises(StiefelError, match=words):
            make.image(tmp_path / "stick.img", config, passphrase=passphrase)


def test_key_of_somebody_else(config: Config, tmp_path: Path) -> None:
    """Root may read all, but not a folder as a file: what cannot be read is told."""
    secret = pack.secrets_of(config.paths.cpio)
    secret.unlink()
    secret.mkdir()
    with pytest.raises(StiefelError, match="cannot read the key") as caught:
        make.image(tmp_path / "stick.img", config)
    assert "as root" in caught.value.hint


def asked(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    left = list(answers)

    def answer(_: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr(getpass, "getpass", answer)


def test_passphrase_is_asked_twice(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, "right {$'} one", "right {$'} one")
    assert make.new_passphrase(config) == "right {$'} one"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["one", "other"], "differ"),
        ([""], "empty"),
        (["größe", "größe"], "US keyboard"),
        (["tab\tbed", "tab\tbed"], "US keyboard"),
        ([], "nobody"),
        (["once"], "nobody"),
    ],
)
def test_passphrase_that_is_refused(
    config: Config, monkeypatch: pytest.MonkeyPatch, answers: list[str], words: str
) -> None:
    asked(monkeypatch, *answers)
    with pytest.raises(StiefelError, match=words):
        make.new_passphrase(config)


def test_passphrase_is_not_asked_for_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, "word", "word")
    config.paths.cpio.unlink()
    with pytest.raises(StiefelError, match="no ramdisk"):
        make.new_passphrase(config)


def test_passphrase_is_not_asked_where_the_file_is_refused(config: Config, tmp_path: Path) -> None:
    def ask() -> str:
        raise AssertionError("it is asked for")

    other = tmp_path / "letter.txt"
    other.write_text("mine")
    for file, update in ((other, False), (tmp_path / "missing.img", True), (tmp_path, False)):
        with pytest.raises(StiefelError):
            make.image(file, config, update=update, passphrase=ask)
    assert other.read_text() == "mine"


def test_empty_passphrase_never_means_none(config: Config, tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="empty"):
        make.image(tmp_path / "stick.img", config, passphrase=lambda: "")
    assert not (tmp_path / "stick.img").exists()
