"""Tar archives for tests, member by member, and folders to compare."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def write_archive(
    path: Path, members: Sequence[tarfile.TarInfo], content: bytes = b"content", mode: Any = "w:gz"
) -> Path:
    with tarfile.open(path, mode) as tar:
        for info in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def below(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What lies there: mode and content of each, following no link."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b"",
        )
        for path in folder.rglob("*")
    }
