"""The boot archive behind its decryption: the three files and nothing else, or an error.

The first byte's bit 0 tells whether the checksums of tar headers are put right. The rest is the tar
stream. The members' limits are smaller here, so that they are met.
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from stiefelsystem.framing import FRAME_SIZE
from stiefelsystem.ramdisk import archive
from stiefelsystem.ramdisk.archive import ArchiveError, Received, Receiver

LIMITS = {"answer": 600, "kernel": 700, "initrd": 1100, "cmdline": 500}
BLOCK = 512
CHECKSUM = slice(148, 156)


class Stream:
    """A verified stream, as `framing.Opener` is one."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.finished = False

    def read(self, size: int) -> bytes:
        assert 0 <= size <= FRAME_SIZE
        return self._file.read(size)

    def finish(self) -> None:
        assert not self._file.read()
        self.finished = True


def _repaired(data: bytes) -> bytes:
    """With the right checksum in all that looks like a header (ustar: POSIX.1, pax)."""
    blocks = [bytearray(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == BLOCK:
            block[CHECKSUM] = b" " * 8
            block[CHECKSUM] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def fuzz(data: bytes) -> bool:
    """Returns whether the archive was accepted."""
    plain = _repaired(data[1:]) if data[:1] and data[0] & 1 else data[1:]
    stream = Stream(plain)
    with tempfile.TemporaryDirectory(prefix="stiefel-fuzz-") as name:
        around = Path(name)
        folder = around / "folder"
        folder.mkdir()
        (around / "victim").write_text("untouched")
        received = None
        with mock.patch.dict(archive._MAX_SIZES, LIMITS):
            receiver = Receiver(stream)  # type: ignore[arg-type]
            try:
                answer = receiver.answer()
                received = receiver.files(folder, lambda _: None)
            except ArchiveError:
                pass
        _nothing_else_was_written(around)
        if received:
            assert stream.finished
            _is_what_was_sent(plain, answer, received)
    return received is not None


def _nothing_else_was_written(around: Path) -> None:
    assert sorted(path.name for path in around.iterdir()) == ["folder", "victim"]
    assert (around / "victim").read_text() == "untouched"
    for path in (around / "folder").iterdir():
        assert path.name in ("kernel", "initrd", "cmdline")
        assert path.is_file()
        assert not path.is_symlink()
        assert path.stat().st_size <= LIMITS[path.name]


def _is_what_was_sent(plain: bytes, answer: dict[str, Any], received: Received) -> None:
    """The members stand in the stream one behind the other, and behind them only zeros."""
    contents = {"answer": plain[BLOCK : BLOCK + _size(plain[124:136])]}
    assert len(contents["answer"]) <= LIMITS["answer"]
    # By their texts, since NaN is not equal to itself.
    assert repr(answer) == repr(json.loads(contents["answer"]))
    folder = received.kernel.parent
    contents |= {name: (folder / name).read_bytes() for name in ("kernel", "initrd", "cmdline")}
    at = 0
    for name, content in contents.items():
        assert plain[at : at + 100].partition(b"\0")[0] == name.encode()
        assert plain[at + 156 : at + 157] == b"0"
        at += BLOCK
        assert plain[at : at + len(content)] == content
        at += -(-len(content) // BLOCK) * BLOCK
    assert not any(plain[at:])
    assert received.cmdline.split() == contents["cmdline"].decode(errors="replace").split()


def _size(field: bytes) -> int:
    """A number in a header: octal, or as GNU has it, base 256 behind 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.partition(b"\0")[0].strip() or b"0", 8)
