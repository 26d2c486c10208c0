"""A stick's tables of clusters, for tests that damage them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from stiefelsystem.host.stick.layout import SECTOR
from tests.unit import one_stick

BEGIN = 2048 * SECTOR  # of the filesystem


class Table:
    """A stick's tables of clusters, both of them."""

    def __init__(self, image: Path) -> None:
        head = image.read_bytes()[BEGIN : BEGIN + SECTOR]
        (before,) = struct.unpack_from("<H", head, 14)
        (size,) = struct.unpack_from("<I", head, 36)
        self.starts = [BEGIN + (before + copy * size) * SECTOR for copy in range(head[16])]
        self.end = self.starts[0] + head[16] * size * SECTOR
        self._image = image
        assert len(self.starts) == 2

    def set(self, cluster: int, following: int) -> None:
        for start in self.starts:
            patch(self._image, start + cluster * 4, struct.pack("<I", following))

    def clusters(self, name: str) -> list[int]:
        said = one_stick.mtools("mshowfat", self._image, f"::{name}").decode()
        found: list[int] = []
        for begin, end in re.findall(r"<(\d+)(?:-(\d+))?>", said):
            found += range(int(begin), int(end or begin) + 1)
        return found

    def places(self, name: str) -> list[int]:
        """Where the clusters of a file are, in bytes; each is a sector, on so small a stick."""
        return [self.end + (cluster - 2) * SECTOR for cluster in self.clusters(name)]


def patch(image: Path, at: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(at)
        file.write(data)


def put(image: Path, name: str, data: bytes) -> None:
    file = image.with_name("put")
    file.write_bytes(data)
    one_stick.mtools("mcopy", image, "-o", str(file), f"::{name}")
