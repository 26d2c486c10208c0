"""The power goes during an update: of the sectors that were written since the last flush, any may
be on the medium, and others not. A set that is whole is booted, whatever is there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.host.stick import make
from stiefelsystem.host.stick.layout import SECTOR
from tests.unit import one_stick
from tests.unit.stick_sets import (
    at_each_flush,
    booted,
    changed,
    image,
    in_image,
    kernel_and_image,
    valid_sets,
)

__all__ = ["image"]  # the fixture
_SHARES = (0.2, 0.5, 0.8, 0.95)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """With words for the kernel that take several sectors."""
    one_stick.require_tools()
    return one_stick.settings(tmp_path / "home", f"client-setup: {{cmdline: {'w' * 900}}}")


def cuts(before: bytes, after: bytes, chance: random.Random) -> Iterator[bytes]:
    """What may be on the medium between two flushes: all but one sector, or some of them."""
    sectors = changed(before, after)
    lost = [{one} for one in chance.sample(sectors, min(4, len(sectors)))]
    lost += [{at for at in sectors if chance.random() > share} for share in _SHARES]
    for missing in lost:
        found = bytearray(after)
        for at in missing:
            found[at : at + SECTOR] = before[at : at + SECTOR]
        yield bytes(found)


def test_any_sectors(image: Path, config: Config, tmp_path: Path) -> None:
    chance, probe = random.Random(7), tmp_path / "cut.img"
    make.image(image, config, update=True)
    one_stick.new_ramdisk(config.paths.cpio)
    oldest, one = in_image(image, "a"), in_image(image, booted(image))
    other = kernel_and_image(config)
    states = at_each_flush(image, config)
    assert one != other
    for number, (before, after) in enumerate(pairwise(states)):
        for found in cuts(before, after, chance):
            probe.write_bytes(found)
            whole = (one, other) if number == len(states) - 2 else (one,)
            assert in_image(probe, booted(probe)) in whole, number
            assert set(valid_sets(probe).values()) <= {oldest, one, other}
            text = one_stick.read(probe, f"stiefelsystem/{booted(probe)}/set.cfg").decode()
            assert "w" * 900 in text
            assert text.count("\n") == 3
