"""A stick whose filesystem is not as it says: what an update takes from it, and what it leaves."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import chains, make
from stiefelsystem.host.stick.layout import SECTOR, SETS
from tests.unit import one_stick
from tests.unit.stick_sets import (
    at_each_flush,
    booted,
    config,
    image,
    in_image,
    kernel_and_image,
    numbers,
)
from tests.unit.stick_tables import BEGIN, Table, patch, put

__all__ = ["config", "image"]  # the fixtures
_INFO = BEGIN + SECTOR  # where mkfs.vfat puts FSInfo
_FREE_COUNT = 488
# More than what is free behind the sets: it gets what is free between them, too.
_LARGE = random.Random(5).randbytes(20_000_000)


def refused(image: Path, config: Config) -> str:
    """Why an update is; it has changed nothing."""
    before = image.read_bytes()
    with pytest.raises(StiefelError) as caught:
        make.image(image, config, update=True)
    assert image.read_bytes() == before
    assert "copy what is yours" in caught.value.hint
    return str(caught.value)


@pytest.fixture
def cuts(image: Path, config: Config) -> Callable[[], Iterator[Path]]:
    """Sticks after power cuts at each flush of an update, which the tables of clusters were
    written before, and the names not."""

    def made() -> Iterator[Path]:
        make.image(image, config, update=True)
        one_stick.new_ramdisk(config.paths.cpio)
        states = at_each_flush(image, config)
        end = Table(image).end
        for before, after in pairwise(states):
            image.write_bytes(after[:end] + before[end:])
            # So that whoever writes next takes the first cluster that is free, as Linux may.
            patch(image, _INFO + _FREE_COUNT, struct.pack("<II", 0xFFFFFFFF, 2))
            yield image

    return made


def test_names_of_what_is_free(
    cuts: Callable[[], Iterator[Path]], config: Config, tmp_path: Path
) -> None:
    """mdel follows them forever."""
    count = 0
    for stick in cuts():
        chains.prepare(stick, BEGIN, "stiefelsystem/a")
        assert "Orphaned long" not in one_stick.fsck(stick, tmp_path).stdout
        make.image(stick, config, update=True)
        assert in_image(stick, booted(stick)) == kernel_and_image(config)
        count += 1
    assert count > 5


def test_what_has_taken_their_place(
    cuts: Callable[[], Iterator[Path]], config: Config, tmp_path: Path
) -> None:
    """A file that was copied onto the stick since, which a name of ours leads into."""
    shared = 0
    for stick in cuts():
        put(stick, "mine", _LARGE)
        shared += "share" in one_stick.fsck(stick, tmp_path).stdout
        make.image(stick, config, update=True)
        assert one_stick.read(stick, "mine") == _LARGE
        assert "share" not in one_stick.fsck(stick, tmp_path).stdout
        for _ in SETS:
            make.image(stick, config, update=True)
        assert one_stick.read(stick, "mine") == _LARGE
    assert shared


def test_folder_that_has_taken_their_place(image: Path, config: Config) -> None:
    """What is in it is found, though a name of ours had the folder's cluster first."""
    make.image(image, config, update=True)
    one_stick.new_ramdisk(config.paths.cpio)
    table = Table(image)
    first, second = table.clusters("stiefelsystem/a/vmlinuz")[:2]
    for cluster in (first, second):
        table.set(cluster, 0)
    patch(image, _INFO + _FREE_COUNT, struct.pack("<II", 0xFFFFFFFF, 2))
    one_stick.mtools("mmd", image, "::EFI/mine")
    put(image, "EFI/mine/letter", _LARGE)
    assert table.clusters("EFI/mine") == [first]
    assert second in table.clusters("EFI/mine/letter")
    make.image(image, config, update=True)
    assert one_stick.read(image, "EFI/mine/letter") == _LARGE
    assert numbers(image) == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("name", "replaced"),
    [("a/vmlinuz", True), ("a/set.cfg", False), ("b/key.cpio", False), ("grub/grub.cfg", False)],
)
def test_file_of_ours_in_what_is_free(
    image: Path, config: Config, name: str, replaced: bool
) -> None:
    """What is needed to tell what the stick has is not replaced."""
    make.image(image, config, update=True)
    table = Table(image)
    for cluster in table.clusters(f"stiefelsystem/{name}"):
        table.set(cluster, 0)
    if replaced:
        make.image(image, config, update=True)
        assert numbers(image) == {"a": 3, "b": 2}
    else:
        with pytest.raises(StiefelError, match=f"cannot read stiefelsystem/{name}") as caught:
            make.image(image, config, update=True)
        assert "anew" in caught.value.hint


def test_two_files_in_the_same_place(image: Path, config: Config) -> None:
    one_stick.mtools("mmd", image, "::some folder")
    put(image, "some folder/a long name.jpeg", b"x" * 5000)
    put(image, "letter", b"y" * 5000)
    table = Table(image)
    table.set(table.clusters("letter")[3], table.clusters("some folder/a long name.jpeg")[2])
    both = "/LETTER and /some folder/a long name.jpeg are in the same place"
    assert both in refused(image, config)


def test_file_of_ours_that_is_not_replaced(image: Path, config: Config) -> None:
    """The set that boots gives nothing up."""
    put(image, "letter", b"y" * 5000)
    table = Table(image)
    table.set(table.clusters("letter")[3], table.clusters("stiefelsystem/a/vmlinuz")[2])
    assert "are in the same place" in refused(image, config)


def test_folder_in_what_is_free(image: Path, config: Config) -> None:
    one_stick.mtools("mmd", image, "::mine")
    table = Table(image)
    table.set(table.clusters("mine")[0], 0)
    assert "/MINE is not whole" in refused(image, config)


@pytest.mark.parametrize("following", [0, 1, 0x0FFFFFF7, 0x0FFFFFF0])
@pytest.mark.parametrize("size", [300, 5000])
def test_file_whose_last_cluster_is_free(
    image: Path, config: Config, size: int, following: int
) -> None:
    """An owner's file of which the table was not written, when the stick was pulled out: some
    drivers read it to its end, until somebody else gets that."""
    put(image, "letter", b"y" * size)
    table = Table(image)
    table.set(table.clusters("letter")[-1], following)
    assert "/LETTER is not whole" in refused(image, config)


def test_newest_set_whose_last_cluster_is_free(image: Path, config: Config) -> None:
    """While the other one is written, it is the only one."""
    make.image(image, config, update=True)
    table = Table(image)
    table.set(table.clusters("stiefelsystem/b/vmlinuz")[-1], 0)
    assert "/stiefelsystem/B/VMLINUZ is not whole" in refused(image, config)


def entry(image: Path, short: bytes) -> int:
    """Where a name's own entry is, in bytes."""
    found = image.read_bytes().find(short.ljust(11), Table(image).end)
    assert found > 0
    return found


def lead_into(image: Path, name: str) -> None:
    """A name of the older set's leads into an owner's file."""
    table = Table(image)
    table.set(table.clusters("stiefelsystem/a/vmlinuz")[2], table.clusters(name)[0])


def test_name_behind_what_was_not_written(image: Path, config: Config) -> None:
    """Linux reads on behind a sector of zeros in a folder."""
    make.image(image, config, update=True)
    one_stick.mtools("mmd", image, "::mine")
    for number in range(20):
        put(image, f"mine/some long name {number}.jpeg", b"x")
    put(image, "mine/last", b"y" * 5000)
    lead_into(image, "mine/last")
    table = Table(image)
    folder = table.places("mine")
    assert len(folder) > 3
    patch(image, folder[1], bytes(SECTOR))
    chains.prepare(image, BEGIN, "stiefelsystem/a")
    assert "stiefelsystem/a/vmlinuz" not in one_stick.names(image)


def test_name_that_begins_with_a_dot(image: Path, config: Config) -> None:
    """No tool writes one, and some read it."""
    make.image(image, config, update=True)
    put(image, "XPROFILE", b"y" * 5000)
    lead_into(image, "XPROFILE")
    patch(image, entry(image, b"XPROFILE"), b".")
    chains.prepare(image, BEGIN, "stiefelsystem/a")
    assert "stiefelsystem/a/vmlinuz" not in one_stick.names(image)


def test_name_that_begins_nowhere(image: Path, config: Config) -> None:
    make.image(image, config, update=True)
    place = entry(image, b"VMLINUZ")
    patch(image, place + 20, b"\xff\x0f")
    patch(image, place + 26, b"\xff\xff")
    make.image(image, config, update=True)
    assert numbers(image) == {"a": 3, "b": 2}


@pytest.mark.parametrize(("order", "short", "before"), [(1, b"STIEFE~1", 2), (0x41, b"A", 1)])
def test_parts_of_another_name(
    image: Path, config: Config, order: int, short: bytes, before: int
) -> None:
    """What is left of a long name, before one that has another, or none: the folder is found all
    the same, and what is to be dropped there."""
    make.image(image, config, update=True)
    table = Table(image)
    for cluster in table.clusters("stiefelsystem/a/vmlinuz"):
        table.set(cluster, 0)
    ghost = (order, "ghost".encode("utf-16-le"), 0x0F, 0, 1, b"\xff" * 12, 0, b"\xff" * 4)
    patch(image, entry(image, short) - before * 32, struct.pack("<B10sBBB12sH4s", *ghost))
    chains.prepare(image, BEGIN, "stiefelsystem/a")
    assert "stiefelsystem/a/vmlinuz" not in one_stick.names(image)


def test_chain_in_a_circle(image: Path, config: Config) -> None:
    put(image, "letter", b"y" * 5000)
    table = Table(image)
    clusters = table.clusters("letter")
    table.set(clusters[4], clusters[1])
    assert "/LETTER and /LETTER are in the same place" in refused(image, config)


@pytest.mark.parametrize("count", [0, 3, 0x7FFFFFFF])
def test_wrong_count_of_what_is_free(
    image: Path, config: Config, tmp_path: Path, count: int
) -> None:
    """As after a stick was pulled out; the rest of FSInfo stays."""
    patch(image, _INFO + _FREE_COUNT, struct.pack("<I", count))
    for _ in SETS:
        make.image(image, config, update=True)
    assert numbers(image) == {"a": 3, "b": 2}
    assert one_stick.fsck(image, tmp_path).returncode == 0


def test_without_fsinfo(image: Path, config: Config) -> None:
    """Whatever is in its place is nothing of ours; mtools make another one."""
    patch(image, _INFO, b"x" * SECTOR)
    before = image.read_bytes()
    chains.prepare(image, BEGIN, "stiefelsystem/b")
    assert image.read_bytes() == before
    make.image(image, config, update=True)
    assert numbers(image) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (11, struct.pack("<H", 4096)),
        (13, b"\0"),
        (17, struct.pack("<H", 512)),
        (22, struct.pack("<H", 64)),
        (32, struct.pack("<I", 9)),
        (36, struct.pack("<I", 0)),
        (40, struct.pack("<H", 0x81)),
        (36, struct.pack("<I", 0xFFFFFFFF)),
    ],
)
def test_no_fat32(image: Path, at: int, data: bytes) -> None:
    patch(image, BEGIN + at, data)
    before = image.read_bytes()
    with pytest.raises(StiefelError, match="no FAT32 that can be understood"):
        chains.prepare(image, BEGIN, "stiefelsystem/b")
    assert image.read_bytes() == before


def test_image_that_ends_too_early(image: Path) -> None:
    for size in (Table(image).starts[0] + SECTOR + 3, BEGIN + 20, BEGIN):
        with image.open("r+b") as file:
            file.truncate(size)
        with pytest.raises(StiefelError, match="it ends too early"):
            chains.prepare(image, BEGIN, "stiefelsystem/b")


def test_image_that_ends_in_a_folder(image: Path) -> None:
    one_stick.mtools("mmd", image, "::mine")
    table = Table(image)
    (place,) = table.places("mine")
    for size in (place + 70, place):
        with image.open("r+b") as file:
            file.truncate(size)
        with pytest.raises(StiefelError, match="it ends too early"):
            chains.prepare(image, BEGIN, "stiefelsystem/b")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_no_room_or_a_failing_disk_below_an_image(
    image: Path, config: Config, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It was not pulled out, and the stick boots what it had."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StiefelError, match="cannot be read and changed") as caught:
            make.image(image, config, update=True)
    assert os.strerror(number) in str(caught.value)
    assert "pulled out" not in str(caught.value)
    assert numbers(image) == {"a": 1, "b": 0}


def test_what_was_pulled_out(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="it was pulled out, or it fails"):
        chains.prepare(tmp_path / "gone", BEGIN, "stiefelsystem/b")


def test_anything_in_the_tables(image: Path) -> None:
    """It ends, and says what is wrong, if that matters."""
    chance = random.Random(9)
    put(image, "letter", b"y" * 5000)
    one_stick.mtools("mmd", image, "::a folder")
    table, whole = Table(image), image.read_bytes()
    used = max(*table.clusters("letter"), *table.clusters("a folder"))
    refusals = 0
    for _ in range(80):
        for _ in range(chance.randrange(1, 20)):
            where = chance.choice((table.starts[0], table.end))
            data = chance.choice((chance.randbytes(4), struct.pack("<I", chance.randrange(used))))
            patch(image, where + 4 * chance.randrange(used), data)
        try:
            chains.prepare(image, BEGIN, "stiefelsystem/a")
        except StiefelError as error:
            assert "is damaged" in str(error)
            refusals += 1
        image.write_bytes(whole)
    assert 5 < refusals < 75
