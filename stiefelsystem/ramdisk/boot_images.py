"""What the target boots, as it is read from the files of the boot partition: nothing is copied."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from stiefelsystem import cpio
from stiefelsystem.boot_files import BootFiles
from stiefelsystem.ramdisk.archive import Piece


class BootImages(NamedTuple):
    """A kernel and one initrd, piece by piece."""

    kernel: list[Piece | bytes]
    initrd: list[Piece | bytes]


def of(files: BootFiles, folder: Path) -> BootImages:
    """The kernel, and its initrds as one, since kexec takes one.

    Where both are the same file, it is a unified kernel image, of which kernel and initrds are
    sections. Raises `StiefelError` if it is none; `folder` is the boot partition.
    """
    if files.initrds == (files.kernel,):
        return _unified(files.kernel, folder)
    return BootImages([_whole(files.kernel)], _joined(_whole(path) for path in files.initrds))


def _whole(path: Path) -> Piece:
    return Piece(path, 0, path.stat().st_size)


def _unified(path: Path, folder: Path) -> BootImages:
    from stiefelsystem.bootloader import uki  # most laptops have no such image
    from stiefelsystem.bootloader.places import Tree

    image = uki.parse(Tree(folder), Path("/") / path.relative_to(folder))
    kernel, *initrds = (
        Piece(path, section.offset, section.size) for section in (image.kernel, *image.initrds)
    )
    return BootImages([kernel], _joined(initrds))


def _joined(archives: Iterable[Piece]) -> list[Piece | bytes]:
    """Archives one after the other, as the kernel unpacks them."""
    joined: list[Piece | bytes] = []
    for one in archives:
        joined += [one, cpio.separator(one.size)]
    return joined[:-1]
