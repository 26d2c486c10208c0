"""What the server hands over, as a tar stream: its answer, then kernel, initrd and command line.

The first member is the answer, in JSON; when it is a refusal, there are no others. Only the known
names, in their order, as regular files of bounded size are accepted.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from stiefelsystem.console import StiefelError
from stiefelsystem.framing import FRAME_SIZE, Opener

_ANSWER = "answer"
_FILES = ("kernel", "initrd", "cmdline")
_MAX_SIZES = {_ANSWER: 1 << 16, "kernel": 1 << 28, "initrd": 1 << 32, "cmdline": 1 << 16}


class Sink(Protocol):
    """Where a tar stream is written to."""

    def write(self, data: bytes, /) -> object:
        """Take `data`."""


class ArchiveError(StiefelError):
    """The server sent something that is not a boot archive."""


class Piece(NamedTuple):
    """A part of a file, which is read when it is sent."""

    path: Path
    offset: int
    size: int


# What a member is made of: bytes, or pieces one after the other.
Content = bytes | Sequence[Piece | bytes]


class Received(NamedTuple):
    """A verified boot archive; its files lie in a folder."""

    kernel: Path
    initrd: Path
    cmdline: str


def send(out: Sink, answer: dict[str, Any], files: Mapping[str, Content]) -> None:
    """Write the archive with the members of `files` that are known, in their order.

    Header by header, as it is read: tarfile would copy each byte many times.
    """
    _add(out, _ANSWER, json.dumps(answer).encode())
    for name in _FILES:
        if name in files:
            _add(out, name, files[name])
    out.write(bytes(2 * tarfile.BLOCKSIZE))


def size(content: Content) -> int:
    """How many bytes a member has."""
    pieces = [content] if isinstance(content, bytes) else content
    return sum(piece.size if isinstance(piece, Piece) else len(piece) for piece in pieces)


def _add(out: Sink, name: str, content: Content) -> None:
    member = tarfile.TarInfo(name)
    member.size = size(content)
    out.write(member.tobuf(tarfile.USTAR_FORMAT))
    for piece in [content] if isinstance(content, bytes) else content:
        for chunk in _chunks(piece):
            out.write(chunk)
    out.write(bytes(-member.size % tarfile.BLOCKSIZE))


def _chunks(piece: Piece | bytes) -> Iterator[bytes]:
    """What a piece holds, in constant memory."""
    if isinstance(piece, bytes):
        yield piece
        return
    left = piece.size
    with piece.path.open("rb") as file:
        file.seek(piece.offset)
        while left:
            chunk = file.read(min(left, FRAME_SIZE))
            if not chunk:
                raise OSError(f"{piece.path.name} became shorter while it was read")
            left -= len(chunk)
            yield chunk


class Receiver:
    """Reads an archive from an opened stream: first `answer()`, then `files()`.

    Headers are read one by one, since tarfile's own way through an archive follows extended
    headers, which give a file another size, or holes, or have no end.
    """

    def __init__(self, stream: Opener) -> None:
        self._stream = stream

    def answer(self) -> dict[str, Any]:
        """The server's answer."""
        content = b"".join(self._content(_ANSWER, self._size(_ANSWER)))
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"the server's answer is not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise ArchiveError("the server's answer is not a JSON object")
        return answer

    def files(self, folder: Path, progress: Callable[[int], None]) -> Received:
        """Write the files into `folder`, and verify the stream to its end.

        `progress` is called with the number of bytes, as they come. Until this returns, nothing
        in `folder` may be used.
        """
        for name in _FILES:
            size = self._size(name)
            with (folder / name).open("wb") as file:
                for chunk in self._content(name, size):
                    file.write(chunk)
                    progress(len(chunk))
        self.finish()
        cmdline = (folder / "cmdline").read_text(errors="replace").strip()
        if "\0" in cmdline:
            raise ArchiveError("the target's command line has a byte that no command line can have")
        return Received(folder / "kernel", folder / "initrd", cmdline)

    def finish(self) -> None:
        """Nothing may follow but the zeros that end the archive, and the end of the stream."""
        while block := self._stream.read(tarfile.BLOCKSIZE):
            if any(block):
                raise ArchiveError("the archive has more members than it should")
        self._stream.finish()

    def _size(self, name: str) -> int:
        """The size of the next member, which must be `name`."""
        block = self._exactly(tarfile.BLOCKSIZE, name)
        if not any(block):
            raise ArchiveError(f"the archive ends before {name}")
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except tarfile.HeaderError as error:
            raise ArchiveError(f"the archive is malformed: {error}") from error
        if member.name != name or member.type != tarfile.REGTYPE:
            raise ArchiveError(f"the archive has {member.name!r} where {name} belongs")
        if not 0 <= member.size <= _MAX_SIZES[name]:
            raise ArchiveError(f"{name} has an impossible size: {member.size} bytes")
        return member.size

    def _content(self, name: str, size: int) -> Iterator[bytes]:
        """What a member holds, piece by piece."""
        padding = -size % tarfile.BLOCKSIZE
        while size:
            chunk = self._exactly(min(size, FRAME_SIZE), name)
            size -= len(chunk)
            yield chunk
        self._exactly(padding, name)

    def _exactly(self, size: int, name: str) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise ArchiveError(f"the archive ends before the end of {name}")
        return data
