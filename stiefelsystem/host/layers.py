"""Layers: cpio archives that are compressed once, and found again by what is in them.

An image is some layers, one after the other: the kernel unpacks them all. The large ones hardly
ever change, and compressing them well takes longer than all the rest of a build. So a layer is
written, hashed, and looked up in the cache; whatever led to the same bytes need not be known.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from stiefelsystem import cpio, files
from stiefelsystem.console import step
from stiefelsystem.run import pipe_into

# So many layers are kept: those of a few configurations.
_KEPT = 12
_CHUNK = 1 << 20


def compressed(
    name: str, entries: Iterable[tuple[str, Path]], *, command: Sequence[str], cache: Path
) -> Path:
    """A layer of these files, compressed by the filter `command`, in the cache."""
    folder = cache / "layers"
    files.make_folder(folder)
    with tempfile.TemporaryFile(dir=folder) as plain:
        writer = cpio.Writer(plain)
        for entry, path in entries:
            writer.add_path(entry, path)
        writer.close()
        layer = folder / f"{_digest(plain, command)}.cpio"
        if layer.exists():
            os.utime(layer)
            return layer
        size = plain.tell()
        with (
            step(f"compress {name}, {size / 1e6:.0f} MB, with {command[0]}"),
            files.replacing(layer) as out,
            pipe_into(command, out) as packed,
        ):
            plain.seek(0)
            shutil.copyfileobj(plain, packed, _CHUNK)
    _remove_old(folder)
    return layer


def join(layers: Iterable[Path], out: IO[bytes]) -> None:
    """Write an image of `layers`, in which each starts on a boundary of 4 bytes.

    The zeros between them are at least 4: see `cpio.append`.
    """
    for number, layer in enumerate(layers):
        if number:
            out.write(bytes(4 + -out.tell() % 4))
        with layer.open("rb") as file:
            shutil.copyfileobj(file, out, _CHUNK)


def _digest(file: IO[bytes], command: Sequence[str]) -> str:
    file.seek(0)
    digest = hashlib.sha256("\0".join(command).encode())
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _remove_old(folder: Path) -> None:
    layers = sorted(folder.glob("*.cpio"), key=lambda path: path.stat().st_mtime, reverse=True)
    for layer in layers[_KEPT:]:
        layer.unlink(missing_ok=True)
