"""Many power cuts during updates of a stick: what its owner copies onto it then stays, and each
next update works."""

from __future__ import annotations

import contextlib
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

__all__ = ["config", "image"]  # the fixtures
_CUTS = 600
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


def copy_something(stick: Path, chance: random.Random) -> dict[str, bytes]:
    """What its owner puts there, in new folders, too, as far as there is room."""
    written = {}
    for number in range(chance.randrange(4)):
        data = chance.randbytes(chance.choice((300, 5000, 400_000, 9_000_000)))
        name = chance.choice((f"file {number}", f"DIR{number}/file"))
        (stick.parent / "put").write_bytes(data)
        if "/" in name:
            one_stick.mtools("mmd", stick, f"::DIR{number}")
        one_stick.mtools("mcopy", stick, str(stick.parent / "put"), f"::{name}")
        if one_stick.read(stick, name) == data:
            written[name] = data
    return written


def test_many(image: Path, config: Config, tmp_path: Path) -> None:
    chance, probe = random.Random(2026), tmp_path / "cut.img"
    make.image(image, config, update=True)
    one_stick.new_ramdisk(config.paths.cpio, size=310_000)
    steps = list(pairwise(at_each_flush(image, config)))
    refused = hopeless = 0
    for number in range(_CUTS):
        probe.write_bytes(cut(*chance.choice(steps), chance))
        # The first free cluster is wherever one is: as Linux looks from a hint that it keeps.
        with probe.open("r+b") as file:
            os.pwrite(file.fileno(), b"\xff" * 4 + chance.randbytes(2) + bytes(2), _HINT)
        try:
            written = copy_something(probe, chance)
        except subprocess.CalledProcessError:  # the stick is too damaged for that
            hopeless += 1
            continue
        for _ in range(chance.randrange(1, 3)):
            one_stick.new_ramdisk(config.paths.cpio)
            with contextlib.suppress(StiefelError):
                make.image(probe, config, update=True)
                assert in_image(probe, booted(probe)) == kernel_and_image(config), number
                continue
            refused += 1
        assert {name: one_stick.read(probe, name) for name in written} == written, number
    print(f"{refused} updates were refused; {hopeless} sticks took no file")
    assert refused + hopeless < _CUTS // 10
