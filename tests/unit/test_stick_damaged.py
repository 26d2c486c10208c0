"""Updating a stick that is damaged, fails, is full, or was made by an enemy: it keeps what it has,
and no key comes where it must not be."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem import run as running
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import compose, fat, make, update
from stiefelsystem.host.stick.contents import contents
from stiefelsystem.host.stick.fat import Fat
from stiefelsystem.host.stick.layout import MENU, MIB, SECTOR, in_set
from tests.unit import one_stick
from tests.unit.stick_sets import booted, config, image
from tests.unit.stick_tables import BEGIN, put

__all__ = ["config", "image"]  # the fixtures


@pytest.fixture
def wrapped(tmp_path: Path, config: Config) -> Path:
    path = tmp_path / "wrapped.img"
    make.image(path, config, passphrase=lambda: "word")
    return path


def names_of_b(image: Path) -> set[str]:
    return {name for name in one_stick.names(image) if name.startswith("stiefelsystem/b/")}


def begin_at(image: Path, entry: bytes, cluster: int, *, size: int | None = None) -> None:
    """Damage what a folder has about a file: where it begins, and how long it is. Microsoft's
    FAT32 File System Specification, "FAT Directory Structure"."""
    data = bytearray(image.read_bytes())
    assert data.count(entry) == 1
    at = data.index(entry)
    struct.pack_into("<H", data, at + 20, cluster >> 16)
    struct.pack_into("<H", data, at + 26, cluster & 0xFFFF)
    if size is not None:
        struct.pack_into("<I", data, at + 28, size)
    image.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda i: begin_at(i, b"KEY~1   CPI", 90000), r"cannot read .*a/key\.cpio on .* / "),
        (lambda i: begin_at(i, b"KEY~1   CPI", 0, size=0), r"has no key in .*a/key\.cpio"),
        (lambda i: one_stick.mtools("mdel", i, "::stiefelsystem/a/key.cpio"), "has no key in"),
        (lambda i: begin_at(i, b"SET     CFG", 90000), r"cannot read .*a/set\.cfg"),
        (lambda i: one_stick.mtools("mdel", i, "::stiefelsystem/a/set.cfg"), "neither of the sets"),
        (lambda i: begin_at(i, b"A          ", 90000), r"cannot read .*a/set\.cfg"),
        (lambda i: begin_at(i, b"A          ", 0), "neither of the sets"),
    ],
)
def test_plain_key_stays_off_a_damaged_stick(
    wrapped: Path, config: Config, damage: Callable[[Path], object], words: str
) -> None:
    """What cannot be read may be a wrapped key."""
    damage(wrapped)
    before = wrapped.read_bytes()
    with pytest.raises(StiefelError, match=words) as caught:
        make.image(wrapped, config, update=True)
    assert "\n" not in str(caught.value)
    assert "anew" in caught.value.hint
    assert wrapped.read_bytes() == before
    assert one_stick.KEY not in before


def test_what_cannot_be_read_is_not_absent(image: Path, tmp_path: Path) -> None:
    stick = Fat(image, BEGIN)
    assert (stick.exists("none/file"), stick.text("none/file")) == (False, "")
    begin_at(image, b"A          ", 90000)
    for read in (stick.exists, stick.text, stick.digest):
        with pytest.raises(StiefelError, match=r"cannot read stiefelsystem/a/key\.cpio on"):
            read("stiefelsystem/a/key.cpio")
    gone = Fat(tmp_path / "gone", BEGIN)
    for read in (gone.exists, gone.text, gone.digest):
        with pytest.raises(StiefelError, match="gone cannot be read: it was pulled out"):
            read(MENU)


def test_long_text(image: Path, config: Config, tmp_path: Path) -> None:
    for name, words in (
        (in_set("a", "set.cfg"), "has more than 65536 bytes"),
        (MENU, "is no stick of stiefelsystem, as far as can be told: .* more than"),
    ):
        put(image, name, b"#" * 16 * MIB)
        tracemalloc.start()
        try:
            with pytest.raises(StiefelError, match=words) as caught:
                make.image(image, config, update=True)
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()
        assert "anew" in caught.value.hint
        assert not names_of_b(image)


@pytest.mark.parametrize("left", range(3))
def test_medium_that_fails(
    image: Path, config: Config, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    counted = iter(range(left))
    fsync = os.fsync

    def fail(handle: int) -> None:
        if next(counted, None) is None:
            raise OSError(errno.EIO, "ignored")
        fsync(handle)

    before = one_stick.read(image, in_set("a", "set.cfg"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(
            StiefelError, match=r"keeps what it had: .* cannot be flushed: Input/output error"
        ) as caught:
            make.image(image, config, update=True)
    assert "anew" not in caught.value.hint
    assert one_stick.read(image, in_set("a", "set.cfg")) == before
    assert not names_of_b(image)


def test_device_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StiefelError, match="cannot be flushed: it was pulled out") as caught:
        Fat(tmp_path / "gone", BEGIN).flush()
    assert "another port" in caught.value.hint
    with pytest.raises(StiefelError, match="cannot be written: it was pulled out"):
        Fat(tmp_path / "gone", BEGIN).put_text("text", "name")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "ignored")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StiefelError, match=r"null cannot be flushed: .* fails \(Input/output"):
        Fat(Path("/dev/null"), BEGIN).flush()


def when_set_is_written(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """After the flush of an update's last file, which gets its name then."""
    flush = Fat.flush

    def flush_and_do(self: Fat) -> None:
        flush(self)
        if self.exists(in_set("b", "set.new")):
            do()

    monkeypatch.setattr(Fat, "flush", flush_and_do)


def test_set_that_reads_back_as_something_else(
    image: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wear() -> None:
        data = image.read_bytes()
        assert data.count(b"set b=2\n") == 1
        image.write_bytes(data.replace(b"set b=2\n", b"set b=3\n"))

    when_set_is_written(monkeypatch, wear)
    with pytest.raises(StiefelError, match=r"what it had: .*b/set\.new reads back as") as caught:
        make.image(image, config, update=True)
    assert "worn out" in caught.value.hint
    assert not names_of_b(image)


def test_gone_at_the_end(
    image: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contents(config) as parts, monkeypatch.context() as patch:
        when_set_is_written(patch, lambda: image.replace(tmp_path / "pulled out"))
        with pytest.raises(StiefelError, match="cannot be read: it was pulled out"):
            update.update(image, parts)
    # All of it is there, so none of it may have been removed meanwhile.
    assert len(names_of_b(tmp_path / "pulled out")) == 4


def test_interrupted_update_frees_its_room(
    image: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Fat, name: str, advance: object = None) -> str:
        if name.startswith("stiefelsystem/b/"):
            raise KeyboardInterrupt
        return digest(self, name)

    digest = Fat.digest
    monkeypatch.setattr(Fat, "digest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make.image(image, config, update=True)
    assert not names_of_b(image)


def test_small_file_on_a_full_stick(image: Path) -> None:
    """Of what comes by a pipe, mcopy loses the end, says so, and ends well."""
    stick = Fat(image, BEGIN)
    said = one_stick.mtools("mdir", image, "::").decode().splitlines()[-2]
    stick.put_text("#" * int("".join(c for c in said if c.isdigit())), "large")
    with pytest.raises(StiefelError, match="is full") as caught:
        stick.put_text("#" * SECTOR * 3, "small")
    assert "anew" in caught.value.hint


def test_image_that_another_program_updates(image: Path, config: Config) -> None:
    before = image.read_bytes()
    handle = os.open(image, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(
            StiefelError, match=r"another program .* updates .*stick\.img"
        ) as caught:
            make.image(image, config, update=True)
    finally:
        os.close(handle)
    assert "wait" in caught.value.hint
    assert image.read_bytes() == before
    make.image(image, config, update=True)


def test_image_is_ours_alone_before_anything_is_written(
    image: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither another program of ours nor another user may be at it."""
    image.chmod(0o644)
    seen = []

    def run(command: list[str], **options: Any) -> Any:
        if command[0] in ("mmd", "mcopy", "mdel", "mren"):
            seen.append(command[0])
            assert stat.S_IMODE(image.stat().st_mode) == 0o600
            with image.open("rb") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return running.run(command, **options)

    monkeypatch.setattr(fat, "run", run)
    make.image(image, config, update=True)
    assert "mcopy" in seen


def test_image_whose_mode_cannot_be_changed(
    image: Path,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image.chmod(0o664)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    make.image(image, config, update=True)
    assert "others may have access to it: Operation not permitted" in capsys.readouterr().err


@pytest.mark.parametrize("updated", [False, True])
def test_name_that_is_another_one_to_mtools(config: Config, tmp_path: Path, updated: bool) -> None:
    for path in (tmp_path / "stick@@1.img", tmp_path / "a@@b/stick.img"):
        path.parent.mkdir(exist_ok=True)
        if updated:
            path.write_bytes(b"precious")
        with pytest.raises(StiefelError, match="has @@ in its name"):
            make.image(path, config, update=updated)
        assert [p.read_bytes() for p in path.parent.glob("*.img")] == [b"precious"] * updated


def test_late_partition_has_room(tmp_path: Path) -> None:
    """What lies in front of it is no room for anything."""
    one_stick.require_tools()
    made = one_stick.settings(tmp_path / "home", "client-setup: {first-sector: 65536}")
    image = tmp_path / "stick.img"
    make.image(image, made)
    one_stick.new_ramdisk(made.paths.cpio)
    make.image(image, made, update=True)
    smallest = tmp_path / "smallest.img"
    one_stick.new_ramdisk(made.paths.cpio, size=48 * MIB)
    smallest.touch()
    with contents(made) as parts:
        compose.compose(smallest, parts, size=compose.smallest(parts))
    read = one_stick.read(smallest, in_set("a", "initrd.img"), first=parts.first)
    assert read == made.paths.cpio.read_bytes()


@pytest.mark.parametrize("name", ["vmlinuz", "set.cfg", "set.new"])
def test_folder_in_the_place_of_a_file(image: Path, config: Config, name: str) -> None:
    """Somebody's, with what they have in it."""
    (image.parent / "letter").write_text("mine")
    one_stick.mtools("mmd", image, f"::stiefelsystem/b/{name}")
    there = f"stiefelsystem/b/{name}/letter"
    one_stick.mtools("mcopy", image, str(image.parent / "letter"), f"::{there}")
    with pytest.raises(StiefelError, match=r"stiefelsystem/b/.* is a folder, and should be"):
        make.image(image, config, update=True)
    assert booted(image) == "a"
    assert any(one_stick.read(image, n) == b"mine" for n in one_stick.names(image))
