"""Kernel and initrds by their names in a folder, where a `*` stands for a version."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from stiefelsystem.console import StiefelError


class BootFiles(NamedTuple):
    """A kernel and the initrds that belong to it, in their order."""

    kernel: Path
    initrds: tuple[Path, ...]


def find(folder: Path, kernel: str, initrds: Sequence[str]) -> BootFiles:
    """The files of the newest version that has all of them.

    The names are relative to `folder`, or to /boot in it; a `*` in the kernel's name stands for
    the version, and in the initrds' for the same text. Raises `StiefelError` where there are none.
    """
    wanted = str(PurePosixPath(kernel.lstrip("/")))
    name = re.compile(re.escape(wanted).replace(r"\*", "(.+)"), re.DOTALL)
    for root in (folder, folder / "boot"):
        candidates = root.glob(glob.escape(wanted).replace("[*]", "*"))
        for candidate in sorted(candidates, key=_version, reverse=True):
            match = name.fullmatch(str(candidate.relative_to(root)))
            if match is None:
                continue  # nothing stands where the version belongs
            version = match.group(1) if name.groups else ""
            others = tuple(root / one.lstrip("/").replace("*", version) for one in initrds)
            if all(_is_file_in(path, folder) for path in (candidate, *others)):
                return BootFiles(candidate, others)
    raise StiefelError(
        f"the boot partition has no {kernel} with its {' and '.join(initrds)}",
        hint="check boot.part and boot.load in config.yaml",
    )


def _version(path: Path) -> list[tuple[int, str]]:
    """A sort key in which 6.12.9 comes before 6.12.10."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _is_file_in(path: Path, folder: Path) -> bool:
    """Whether `path` is a file that lies in `folder` whatever links lead to it."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())
