"""Whether the ramdisk is built, and there is room for it on the laptop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import pack
from stiefelsystem.host.preflight import tree
from stiefelsystem.host.preflight.finding import Finding, obstacle, ok
from stiefelsystem.host.server_os import mkinitcpio
from stiefelsystem.host.setup.root import Root

_TOPIC = "ramdisk"
_BUILD = "sudo ./create-initrd-nspawn --pack"
# As large as mkinitcpio's fallback image with all graphics drivers, where none can be measured.
_IMAGE_SIZE = 150 << 20
_MIB = 1 << 20
# What generators call their images.
_INITRDS = ("initrd", "initramfs")


@dataclass(frozen=True)
class Need:
    """Bytes for something that will be at `path` in the tree."""

    path: str
    size: int
    what: str


def look(root: Root, config: Config, *, generator: str) -> list[Finding]:
    """The ramdisk's files, and the room that they and new initrds need; `generator` is the name of
    what makes those, or empty."""
    image = config.paths.cpio
    parts = [image, pack.kernel_of(image), pack.secrets_of(image), config.paths.key]
    missing = [str(path) for path in parts if not path.is_file()]
    if missing:
        text = f"not built: there is no {', no '.join(missing)}"
        return [obstacle(_TOPIC, text, f"build it first: {_BUILD}")]
    needs = [*_ramdisk(root, config), *_initrd(root, generator)]
    built = ok(_TOPIC, f"{image}, {image.stat().st_size / _MIB:.0f} MiB")
    return [built, *_room(root, needs)]


def _ramdisk(root: Root, config: Config) -> Iterator[Need]:
    """What is copied, unless it is there: replaced as a whole, so that both need their room."""
    setup, image = config.server_setup, config.paths.cpio
    copies = {
        setup.stiefelsystem_initrd: image,
        setup.stiefelsystem_kernel: pack.kernel_of(image),
    }
    for target, source in copies.items():
        size = source.stat().st_size
        if _size(root, str(target)) != size:
            yield Need(str(target), size, "the ramdisk")


def _initrd(root: Root, generator: str) -> Iterator[Need]:
    """An initrd that is made anew lies beside the one that it will replace for a moment."""
    names = [name for name in tree.names(root, "/boot") if name.startswith(_INITRDS)]
    largest = max((_size(root, f"/boot/{name}") for name in names), default=0)
    if generator == "mkinitcpio":
        if _size(root, mkinitcpio.IMAGE) == 0:
            fallback = (_size(root, f"/boot/{name}") for name in names if "fallback" in name)
            size = max(fallback, default=0) or _IMAGE_SIZE
            yield Need(mkinitcpio.IMAGE, size, "the image for desktops")
    elif generator:
        # With drivers for NICs, it may become larger than it is.
        yield Need("/boot/initrd", largest + largest // 4, "a new initrd beside the old one")


def _size(root: Root, path: str) -> int:
    """A file's size; 0 where there is none, or none that this user may see."""
    try:
        return tree.real(root, path).stat().st_size
    except OSError:
        return 0


def _room(root: Root, needs: list[Need]) -> Iterator[Finding]:
    by_filesystem: dict[int, list[Need]] = {}
    folders: dict[int, Path] = {}
    for need in needs:
        folder = _existing(tree.real(root, need.path).parent)
        device = folder.stat().st_dev
        folders.setdefault(device, folder)
        by_filesystem.setdefault(device, []).append(need)
    for device, wanted in by_filesystem.items():
        status = os.statvfs(folders[device])
        free = status.f_bavail * status.f_frsize
        size = sum(need.size for need in wanted)
        if free < size:
            what = ", ".join(dict.fromkeys(need.what for need in wanted))
            yield obstacle(
                _TOPIC,
                f"{folders[device]} has {free // _MIB} MiB free, but {what} would need"
                f" {-(-size // _MIB)} MiB there",
                "remove kernels that are not used, or change server-setup in config.yaml",
            )


def _existing(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    for one in (folder, *folder.parents):
        try:
            if one.is_dir():
                return one
        except OSError as error:
            raise StiefelError(f"cannot look at {one}: {error.strerror}") from error
    return Path("/")
