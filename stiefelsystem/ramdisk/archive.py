"""What the server hands over, as a tar stream: its answer, then kernel, initrd and command line.

The first member is the answer, in JSON; when it is a refusal, there are no others. Only the known
names, in their order, as regular files of bounded size are accepted.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

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


@dataclass(frozen=True)
class Received:
    """A verified boot archive; its files lie in a folder."""

    kernel: Path
    initrd: Path
    cmdline: str


def send(out: Sink, answer: dict[str, Any], files: dict[str, Path | bytes]) -> None:
    """Write the archive with the members of `files` that are known, in their order."""
    with tarfile.open(
        fileobj=_Writable(out), mode="w|", format=tarfile.USTAR_FORMAT, bufsize=FRAME_SIZE
    ) as tar:
        _add(tar, _ANSWER, json.dumps(answer).encode())
        for name in _FILES:
            if name in files:
                _add(tar, name, files[name])


class _Writable(io.RawIOBase):
    """What tarfile takes for a file."""

    def __init__(self, out: Sink) -> None:
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._out.write(bytes(data))
        return len(data)


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    member = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    else:
        with content.open("rb") as file:
            member.size = content.stat().st_size
            tar.addfile(member, file)


class Receiver:
    """Reads an archive from an opened stream: first `answer()`, then `files()`."""

    def __init__(self, stream: Opener) -> None:
        self._stream = stream
        try:
            self._tar = tarfile.open(fileobj=_Readable(stream), mode="r|")  # noqa: SIM115
        except tarfile.TarError as error:
            raise ArchiveError(f"the server sent no archive: {error}") from error

    def answer(self) -> dict[str, Any]:
        """The server's answer."""
        _, content = self._next((_ANSWER,))
        try:
            answer = json.loads(content.read())
        except ValueError as error:
            raise ArchiveError(f"the server's answer is not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise ArchiveError("the server's answer is not a JSON object")
        return answer

    def files(self, folder: Path, progress: Callable[[int], None]) -> Received:
        """Write the files into `folder`, and verify the stream to its end.

        `progress` is called with the number of bytes, as they come. Until this returns, nothing
        in `folder` may be used.
        """
        for expected in _FILES:
            name, content = self._next((expected,))
            with (folder / name).open("wb") as file:
                while chunk := content.read(FRAME_SIZE):
                    file.write(chunk)
                    progress(len(chunk))
        self.finish()
        cmdline = (folder / "cmdline").read_text(errors="replace").strip()
        return Received(folder / "kernel", folder / "initrd", cmdline)

    def finish(self) -> None:
        """Nothing may follow but the end of the archive and of the stream."""
        if self._tar.next() is not None:
            raise ArchiveError("the archive has more members than it should")
        self._stream.finish()

    def _next(self, names: tuple[str, ...]) -> tuple[str, IO[bytes]]:
        try:
            member = self._tar.next()
            if member is None:
                raise ArchiveError(f"the archive ends before {names[0]}")
            if member.name not in names or member.type != tarfile.REGTYPE:
                raise ArchiveError(f"the archive has {member.name!r} where {names[0]} belongs")
            if member.size > _MAX_SIZES[member.name]:
                raise ArchiveError(f"{member.name} is too large: {member.size} bytes")
            content = self._tar.extractfile(member)
        except tarfile.TarError as error:
            raise ArchiveError(f"the archive is malformed: {error}") from error
        assert content is not None  # it is a regular file
        return member.name, content


class _Readable(io.RawIOBase):
    """What tarfile takes for a file."""

    def __init__(self, stream: Opener) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size)
