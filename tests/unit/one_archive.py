"""A boot archive, as the server sends it or as it never would, and who receives it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.framing import FramingError, Opener, Sealer
from stiefelsystem.ramdisk import archive
from stiefelsystem.ramdisk.archive import ArchiveError, Content, Receiver

KEY = b"a" * 32
ANSWER = {"status": "ok", "size": 3}
GOOD = {"answer": b'{"status": "ok"}', "kernel": b"K", "initrd": b"I", "cmdline": b"quiet"}


def sealed(plain: bytes) -> bytes:
    out = io.BytesIO()
    with Sealer(out.write, KEY) as sealer:
        sealer.write(plain)
    return out.getvalue()


def sent(answer: dict[str, Any], files: dict[str, Content]) -> bytes:
    """What the server sends."""
    out = io.BytesIO()
    with Sealer(out.write, KEY) as sealer:
        archive.send(sealer, answer, files)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files go: a folder beside others, which must stay as they are."""
    (tmp_path / "around").mkdir()
    (tmp_path / "around/victim").write_text("untouched")
    folder = tmp_path / "around/folder"
    folder.mkdir()
    return folder


def receive(stream: bytes, folder: Path) -> tuple[dict[str, Any], archive.Received]:
    with Opener(io.BytesIO(stream).read, KEY) as opener:
        receiver = Receiver(opener)
        return receiver.answer(), receiver.files(folder, lambda _: None)


def refused(stream: bytes, folder: Path, message: str = ".") -> None:
    """`stream` is refused as one of our own errors, and nothing outside of `folder` changes."""
    with pytest.raises((ArchiveError, FramingError), match=message):
        receive(stream, folder)
    for path in folder.iterdir():
        assert path.name in archive._FILES
        assert path.is_file()
        assert not path.is_symlink()
    around = folder.parent
    assert {path.name for path in around.iterdir()} == {"folder", "victim"}
    assert {path.name for path in around.parent.iterdir()} == {"around"}
    assert (around / "victim").read_text() == "untouched"
    assert (around / "victim").stat().st_nlink == 1


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar_of(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.USTAR_FORMAT
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def good(*, without: str = "", **changes: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A good archive, but for some members that are replaced or missing."""
    return tar_of(
        changes.get(name) or member(name, content)
        for name, content in GOOD.items()
        if name != without
    )


def header(name: str, size_field: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with any size field, which tarfile would not write."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size_field
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
