"""A stick that is there, and the sets of kernel and ramdisk on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.host import pack
from stiefelsystem.host.stick import make, menu
from stiefelsystem.host.stick.fat import Fat
from stiefelsystem.host.stick.layout import SECTOR, SETS, in_set
from tests.unit import one_stick

_PAGE = 1 << 16


@pytest.fixture
def config(tmp_path: Path) -> Config:
    one_stick.require_tools()
    return one_stick.settings(tmp_path / "home")


@pytest.fixture
def image(tmp_path: Path, config: Config) -> Path:
    """A stick that is there; the ramdisk is another one by now."""
    path = tmp_path / "stick.img"
    make.image(path, config)
    one_stick.new_ramdisk(config.paths.cpio)
    return path


def number(image: Path, name: str) -> int:
    path = in_set(name, "set.cfg")
    present = path in one_stick.names(image)
    return menu.number_of(one_stick.read(image, path).decode(), name) if present else 0


def numbers(image: Path) -> dict[str, int]:
    return {name: number(image, name) for name in SETS}


def booted(image: Path) -> str:
    """The set that GRUB boots."""
    return max(SETS, key=lambda name: number(image, name))


def kernel_and_image(config: Config) -> tuple[bytes, bytes]:
    return pack.kernel_of(config.paths.cpio).read_bytes(), config.paths.cpio.read_bytes()


def in_image(image: Path, name: str) -> tuple[bytes, bytes]:
    assert one_stick.read(image, in_set(name, "key.cpio")) == one_stick.secrets()
    kernel, ramdisk = (one_stick.read(image, in_set(name, n)) for n in ("vmlinuz", "initrd.img"))
    return kernel, ramdisk


def valid_sets(image: Path) -> dict[int, tuple[bytes, bytes]]:
    """What is in each set that GRUB might boot, by its number."""
    return {number(image, name): in_image(image, name) for name in SETS if number(image, name)}


def at_each_flush(image: Path, config: Config) -> list[bytes]:
    """Update a stick; all of it before, and after each flush: between two of these, a power cut may
    leave any of the sectors that differ as they were."""
    states, really = [image.read_bytes()], Fat.flush

    def flush(fat: Fat) -> None:
        really(fat)
        states.append(image.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fat, "flush", flush)
        make.image(image, config, update=True)
    return states


def changed(before: bytes, after: bytes) -> list[int]:
    """Where sectors differ."""

    def differ(size: int, places: Iterable[int]) -> Iterator[int]:
        return (at for at in places if before[at : at + size] != after[at : at + size])

    pages = differ(_PAGE, range(0, len(after), _PAGE))
    return list(differ(SECTOR, (at for page in pages for at in range(page, page + _PAGE, SECTOR))))
