"""Where files lie: what a boot loader names by its own view of the disks, in the system's tree.

A loader sees single filesystems: its `/vmlinuz` is `/boot/vmlinuz` where /boot is one of its own,
and its `/@/boot/vmlinuz` is the same file where the root is the btrfs subvolume `@`. fstab(5) tells
which filesystems and subvolumes there are.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.bootloader.entry import OVERRIDE, misunderstood
from stiefelsystem.console import StiefelError

# Where the EFI system partition and the boot partition are mounted, by custom and by the Boot
# Loader Specification.
BOOT_POINTS = (Path("/boot"), Path("/efi"), Path("/boot/efi"))
# A name that stands for the tree itself, where a loader has the name of a device.
TREE = "tree"
_POINTS = (Path("/"), *BOOT_POINTS)
# Generous: a grub.cfg with hundreds of snapshots has less than a megabyte.
_MAX_TEXT = 8 << 20
_MAX_LINKS = 40  # as many as the kernel follows
_SPECS = (
    ("UUID=", "fs-uuid:"),
    ("/dev/disk/by-uuid/", "fs-uuid:"),
    ("LABEL=", "fs-label:"),
    ("/dev/disk/by-label/", "fs-label:"),
)


@dataclass(frozen=True)
class Mount:
    """A line of fstab: where a filesystem, or a subvolume of one, is mounted."""

    point: Path
    device: str  # fs-uuid:… or fs-label:…, or as it stands there
    subvolume: str = ""

    def paths(self, name: str) -> Iterator[Path]:
        """Where a file that the filesystem has as `name` may be in the tree."""
        prefix = f"/{self.subvolume}/"
        if self.subvolume and name.startswith(prefix):
            yield self.point / name.removeprefix(prefix).lstrip("/")
        else:  # the loader may begin at the subvolume by itself
            yield self.point / name.lstrip("/")


class Tree:
    """A system's tree below `root`; symbolic links lead nowhere else."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts = tuple(self._fstab())
        # One folder may have two of these names.
        different = {self.real(point): point for point in reversed(BOOT_POINTS)}
        self.boot_points = tuple(reversed(different.values()))

    def real(self, path: Path) -> Path:
        """The path outside of the tree, all its links resolved within; it need not exist."""
        left, at, links = list(reversed(path.parts)), list[str](), 0
        while left:
            part = left.pop()
            if part in ("/", "//"):
                at = []
            elif part == "..":
                at = at[:-1]
            else:
                target = self._link(self.root.joinpath(*at, part))
                links += target is not None
                if target is None or links > _MAX_LINKS:
                    at.append(part)
                else:
                    left.extend(reversed(Path(target).parts))
        return self.root.joinpath(*at)

    def _link(self, path: Path) -> str | None:
        try:
            return os.readlink(path)
        except (OSError, ValueError):  # no link, or nothing, or no name that a file can have
            return None

    def _status(self, path: Path) -> os.stat_result | None:
        try:
            return os.lstat(self.real(path))
        except (OSError, ValueError):
            return None

    def is_file(self, path: Path) -> bool:
        status = self._status(path)
        return status is not None and stat.S_ISREG(status.st_mode)

    def is_folder(self, path: Path) -> bool:
        status = self._status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def size(self, path: Path) -> int:
        """A file's size; 0 where there is none."""
        status = self._status(path)
        return status.st_size if status else 0

    def files(self, folder: Path, suffix: str) -> list[Path]:
        """The files of a folder whose names end so, whatever their case; sorted."""
        if not self.is_folder(folder):
            return []
        try:
            names = sorted(os.listdir(self.real(folder)))
        except OSError as error:
            raise StiefelError(f"cannot read {folder}: {error.strerror}") from error
        # What is hidden may be half written, and loaders leave it out, too.
        shown = [folder / name for name in names if not name.startswith(".")]
        found = [path for path in shown if path.name.lower().endswith(suffix)]
        return [path for path in found if self.is_file(path)]

    def read(self, path: Path, *, most: int = _MAX_TEXT) -> bytes:
        """A file's content. Raises `StiefelError` if it has none, or more than `most` bytes."""
        try:
            if not self.is_file(path):  # a pipe or a device would be waited for
                raise StiefelError(f"cannot read {path}: it is no file", hint=OVERRIDE)
            with self.real(path).open("rb") as file:
                data = file.read(most + 1)
        except OSError as error:
            raise StiefelError(f"cannot read {path}: {error.strerror}") from error
        if len(data) > most:
            raise misunderstood(str(path), f"has more than {most} bytes")
        return data

    def text(self, path: Path) -> str:
        """A configuration's text; what is no UTF-8 is replaced, so that it names no file."""
        return self.read(path).decode("utf-8-sig", errors="replace")

    def locate(self, name: str, device: str = "", *, place: str) -> Path:
        """The path in the tree of what a loader calls `name` on `device` (empty: not known).

        Raises `StiefelError` about `place`, the line that names it, if there is no such file, or
        more than one that it might be.
        """
        found = self.find(name, device)
        if not found:
            raise misunderstood(place, f"there is no file {name} where it could be meant")
        if len(found) > 1:
            names = " or ".join(str(path) for path in found)
            raise misunderstood(place, f"{name} may be {names}")
        return found[0]

    def find(self, name: str, device: str = "") -> list[Path]:
        """The files that a loader may mean, the same one not twice: by what is known best."""
        name = posixpath.normpath("/" + name.lstrip("/"))
        for guesses in self._guesses(name, device):
            different = {self.real(path): path for path in guesses if self.is_file(path)}
            if different:
                return list(different.values())
        return []

    def _guesses(self, name: str, device: str) -> Iterator[Iterable[Path]]:
        if device == TREE:
            yield [Path(name)]
            return
        known = [mount for mount in self.mounts if device and mount.device == device]
        yield [path for mount in known for path in mount.paths(name)]
        volumes = [m for m in self.mounts if m.subvolume and name.startswith(f"/{m.subvolume}/")]
        yield [path for mount in volumes for path in mount.paths(name)]
        yield [point / name[1:] for point in _POINTS]
        # A subvolume that fstab does not tell; ZFS has names such as /BOOT/debian@/vmlinuz.
        _, _, rest = name.partition("@/" if "@/" in name[2:] else "/")
        if rest == name[1:]:
            rest = rest.partition("/")[2]
        yield [point / rest for point in _POINTS if rest]

    def _fstab(self) -> Iterator[Mount]:
        fstab = Path("/etc/fstab")
        for line in self.text(fstab).splitlines() if self.is_file(fstab) else ():
            fields = line.split()
            if len(fields) < 4 or fields[0].startswith("#") or not fields[1].startswith("/"):
                continue
            options = dict(option.partition("=")[::2] for option in fields[3].split(","))
            subvolume = options.get("subvol", "").strip("/")
            yield Mount(Path(_unescaped(fields[1])), _device(_unescaped(fields[0])), subvolume)


def _device(spec: str) -> str:
    for prefix, name in _SPECS:
        if spec.startswith(prefix):
            value = spec.removeprefix(prefix).strip("\"'")
            return device(name, value)
    return spec


def split_device(name: str) -> tuple[str, str]:
    """`(device)/path` as device and path; without a device, that is the current root."""
    match = re.fullmatch(r"\(([^)]*)\)(.*)", name, re.S)
    return (match[1], match[2]) if match else ("", name)


def device(kind: str, value: str) -> str:
    """How this module writes a filesystem that is known by its UUID or label."""
    return kind + (value.lower() if kind == "fs-uuid:" else value)


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match[1], 8)), field)
