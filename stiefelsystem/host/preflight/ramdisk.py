"""Whether the ramdisk is built, and it and all else can be written on the laptop."""

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
from stiefelsystem.host.preflight.generator import Generator
from stiefelsystem.host.server_os import mkinitcpio
from stiefelsystem.host.setup.record import Record
from stiefelsystem.host.setup.root import Root

_TOPIC = "ramdisk"
_BUILD = "sudo ./create-initrd-nspawn --pack"
# As large as mkinitcpio's fallback image with all graphics drivers, where none can be measured.
_IMAGE_SIZE = 150 << 20
_MIB = 1 << 20
# Where boot partitions are mounted, and what generators call their images there: by kernel-install,
# below the machine's id and the kernel's version; unified ones by the Boot Loader Specification.
_BOOT = ("/boot", "/efi", "/boot/efi")
_INITRDS = ("initrd*", "initramfs*", "*/*/initrd*", "*/*/initramfs*", "EFI/Linux/*.efi")
# By which an initrd grows when it has the hook the first time: twice what was measured
# (docs/dracut.md), since other systems have more firmware.
_GROWTH = 20 << 20
# Where initramfs-tools takes the laptop's drivers only (MODULES=dep), with the hook it takes all:
# 10.8 MB became 36.8 with Debian 13's kernel, without a package of firmware.
_GROWTH_TO_ALL = 80 << 20
# Below these is all that is written, but for the ramdisk, initrds, and a module of dracut's.
_WRITTEN = ("/etc", "/usr/local", "/boot")
_DRACUT = "/usr/lib/dracut"


@dataclass(frozen=True)
class Need:
    """Bytes for something that will be at `path` in the tree."""

    path: str
    size: int
    what: str


def look(root: Root, config: Config, generator: Generator | None) -> list[Finding]:
    """The ramdisk's files, and the room that they and new initrds need; `generator` is what makes
    those, if that is known."""
    image = config.paths.cpio
    parts = [image, pack.kernel_of(image), pack.secrets_of(image), config.paths.key]
    missing = [str(path) for path in parts if not path.is_file()]
    closed = _read_only(root, config, generator.name if generator else "")
    if missing:
        text = f"not built: there is no {', no '.join(missing)}"
        return [obstacle(_TOPIC, text, f"build it first: {_BUILD}"), *closed]
    needs = [*_ramdisk(root, config), *_initrd(root, generator)]
    built = ok(_TOPIC, f"{image}, {image.stat().st_size / _MIB:.0f} MiB")
    return [built, *closed, *_room(root, needs)]


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


def _initrd(root: Root, generator: Generator | None) -> Iterator[Need]:
    """An initrd that is made anew lies beside the one that it will replace for a moment; and each
    is larger than it was, unless it has the hook already. Where they do not fit, dracut removes
    them: it is not to be tried."""
    images = _images(root)
    if generator is None:
        return
    if generator.name == "mkinitcpio":
        if _size(root, mkinitcpio.IMAGE) == 0:
            fallback = (size for path, size in images.items() if "fallback" in path)
            size = max(fallback, default=0) or _IMAGE_SIZE
            yield Need(mkinitcpio.IMAGE, size, "the image for desktops")
    elif images:
        largest = max(images, key=lambda path: images[path])
        yield Need(largest, images[largest], "a new initrd beside the old one")
        if not _have_hook(root):
            growth = _GROWTH_TO_ALL if generator.detail == "MODULES=dep" else _GROWTH
            for path in images:
                yield Need(path, growth, "what initrds grow by")


def _images(root: Root) -> dict[str, int]:
    """The sizes of all initrds, by their paths without links: a file may be seen by two names."""
    found = {}
    for folder in _BOOT:
        top = tree.real(root, folder)
        # What this user may not read is passed over.
        for place in (place for pattern in _INITRDS for place in top.glob(pattern)):
            path = root.resolve(f"{folder}/{place.relative_to(top)}")
            if size := _size(root, path):
                found[path] = size
    return found


def _have_hook(root: Root) -> bool:
    """Whether the initrds were made with the hook, by an earlier run."""
    with Record.open(root, writable=False) as record:
        made = record.steps.get("initrd")
        return bool(made and made.ended)


def _size(root: Root, path: str) -> int:
    """A file's size; 0 where there is none, or none that this user may see."""
    try:
        place = tree.real(root, path)
        return place.stat().st_size if place.is_file() else 0
    except OSError:
        return 0


def _read_only(root: Root, config: Config, generator: str) -> list[Finding]:
    setup = config.server_setup
    paths = [*_WRITTEN, str(setup.stiefelsystem_kernel), str(setup.stiefelsystem_initrd)]
    if generator == "dracut":
        paths.append(_DRACUT)
    if generator != "mkinitcpio":  # which leaves the user's own images alone
        paths += _images(root)
    folders = dict.fromkeys(_existing(tree.real(root, path)) for path in paths)
    closed = [str(folder) for folder in folders if os.statvfs(folder).f_flag & os.ST_RDONLY]
    if not closed:
        return []
    text = f"{', '.join(closed)} cannot be written: mounted read-only"
    hint = f"mount it writable: `findmnt --target {closed[0]}` shows what is mounted there"
    return [obstacle("files", text, hint)]


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
