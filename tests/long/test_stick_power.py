"""Many power cuts during updates of a stick: what its owner copies onto it then stays, and each
next update works."""

from __future__ import annotations

import os
import random
import subprocess
from itertools import pairwise
from pathlib import Path

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import make
from stiefelsystem.host.stick.layout import SECTOR
from tests.unit import one_stick
from tests.unit.stick_sets import (
    at_each_flush,
    booted,
    changed,
    config,
    image,
    in_image,
    kernel_and_image,
)
from tests.unit.stick_tables import Table, patch, put

__all__ = ["config", "image"]  # the fixtures
_STICKS = 300
_HINT = 2048 * SECTOR + SECTOR + 488  # in FSInfo


def cut(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Some of the sectors that were written, of any kind: tables, folders, data."""
    sectors = changed(before, after)
    share = chance.choice((0.1, 0.5, 0.9))
    # Neighbours are often written together.
    run = chance.choice((1, 1, 8, 64))
    found, kept = bytearray(after), True
    for number, at in enumerate(sectors):
        if number % run == 0:
            kept = chance.random() < share
        if not kept:
            found[at : at + SECTOR] = before[at : at + SECTOR]
    return bytes(found)


def copy_something(stick: Path, chance: random.Random, turn: int) -> dict[str, bytes]:
    """What its owner puts there, in new folders, too, as far as there is room."""
    written = {}
    for number in range(chance.randrange(4)):
        data = chance.randbytes(chance.choice((300, 5000, 400_000, 9_000_000)))
        folder = f"DIR{turn}{number}"
        name = chance.choice((f"file {turn}{number}", f"{folder}/file"))
        (stick.parent / "put").write_bytes(data)
        if "/" in name:
            one_stick.mtools("mmd", stick, f"::{folder}")
        one_stick.mtools("mcopy", stick, str(stick.parent / "put"), f"::{name}")
        if one_stick.read(stick, name) == data:
            written[name] = data
    return written


def cut_and_use(stick: Path, config: Config, chance: random.Random, turn: int) -> dict[str, bytes]:
    """An update that ends by a power cut, after which the owner copies something."""
    steps = list(pairwise(at_each_flush(stick, config)))
    stick.write_bytes(cut(*chance.choice(steps), chance))
    # The first free cluster is wherever one is: as Linux looks from a hint that it keeps.
    with stick.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * 4 + chance.randbytes(2) + bytes(2), _HINT)
    return copy_something(stick, chance, turn)


def test_many(image: Path, config: Config, tmp_path: Path) -> None:
    chance, stick = random.Random(2026), tmp_path / "cut.img"
    make.image(image, config, update=True)
    whole = image.read_bytes()
    refused = hopeless = 0
    for number in range(_STICKS):
        stick.write_bytes(whole)
        written: dict[str, bytes] = {}
        try:
            for turn in range(chance.choice((1, 1, 2, 3))):
                one_stick.new_ramdisk(config.paths.cpio, size=chance.choice((300_000, 310_000)))
                written |= cut_and_use(stick, config, chance, turn)
            one_stick.new_ramdisk(config.paths.cpio)
            make.image(stick, config, update=True)
            assert in_image(stick, booted(stick)) == kernel_and_image(config), number
        except StiefelError:
            refused += 1
        except subprocess.CalledProcessError:  # it took no file, nor would it from its owner
            hopeless += 1
        assert {name: one_stick.read(stick, name) for name in written} == written, number
    print(f"{refused} sticks refused an update, {hopeless} a file")
    assert refused + hopeless < _STICKS // 10


def test_pulled_out_while_its_owner_copies(image: Path, config: Config) -> None:
    """All names are on it, and not all of the tables: an update is refused, or leaves what is
    there, which some drivers read."""
    chance = random.Random(30)
    make.image(image, config, update=True)
    whole, table = image.read_bytes(), Table(image)
    refused = 0
    for number in range(_STICKS):
        image.write_bytes(whole)
        for name in range(4):
            put(image, f"mine{name}", chance.randbytes(chance.choice((300, 500, 3000, 60_000))))
        places = [place for name in range(4) for place in table.places(f"mine{name}")]
        for at in changed(whole, after := image.read_bytes()):
            if at < table.end and chance.random() < 0.5:
                patch(image, at, whole[at : at + SECTOR])
        before = image.read_bytes()
        one_stick.new_ramdisk(config.paths.cpio, size=330_000)
        try:
            make.image(image, config, update=True)
        except StiefelError:
            refused += 1
            assert image.read_bytes() == before, number
        found = image.read_bytes()
        assert all(found[at : at + SECTOR] == after[at : at + SECTOR] for at in places), number
    print(f"{refused} of {_STICKS} were refused")
    assert refused
