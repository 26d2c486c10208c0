"""The boot archive through its sealed stream: whole and as it was, or cut and refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from stiefelsystem.framing import FRAME_SIZE, Opener
from stiefelsystem.ramdisk import archive
from stiefelsystem.ramdisk.archive import ArchiveError, Content, Piece, Receiver
from tests.unit.one_archive import (
    ANSWER,
    GOOD,
    KEY,
    folder,
    good,
    header,
    member,
    receive,
    refused,
    sealed,
    sent,
    tar_of,
)

__all__ = ["folder"]  # the fixture


def test_roundtrip(folder: Path, tmp_path: Path) -> None:
    initrd = folder / "source"
    initrd.write_bytes(bytes(range(256)) * 9000)
    files: dict[str, Content] = {
        "kernel": b"MZ",
        "initrd": [Piece(initrd, 0, initrd.stat().st_size)],
        "cmdline": b"root=/dev/x\n",
    }
    stream = sent(ANSWER, files)
    counted: list[int] = []
    with Opener(io.BytesIO(stream).read, KEY) as opener:
        receiver = Receiver(opener)
        assert receiver.answer() == ANSWER
        received = receiver.files(folder, counted.append)
    assert received.kernel.read_bytes() == b"MZ"
    assert received.initrd.read_bytes() == initrd.read_bytes()
    assert received.cmdline == "root=/dev/x"
    assert (received.kernel.parent, received.initrd.parent) == (folder, folder)
    assert sum(counted) == 2 + 2304000 + 12


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, FRAME_SIZE - 512, FRAME_SIZE + 1])
def test_sizes(folder: Path, size: int) -> None:
    content = b"\xa5" * size
    _, received = receive(sent(ANSWER, {**GOOD, "kernel": content, "initrd": content}), folder)
    assert received.kernel.read_bytes() == received.initrd.read_bytes() == content


def test_members_are_sent_in_their_order_and_no_others() -> None:
    stream = sent(ANSWER, {"cmdline": b"", "surprise": b"", "initrd": b"", "kernel": b""})
    with Opener(io.BytesIO(stream).read, KEY) as opener:
        plain = opener.read(1 << 24)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert tar.getnames() == ["answer", "kernel", "initrd", "cmdline"]
        # Nothing of the laptop that the desktop need not know.
        assert {(info.uid, info.gid, info.mtime, info.uname) for info in tar} == {(0, 0, 0, "")}


def test_refusal_alone(folder: Path) -> None:
    refusal = {"status": "refused", "reason": "the disk is mounted"}
    with Opener(io.BytesIO(sent(refusal, {})).read, KEY) as opener:
        receiver = Receiver(opener)
        assert receiver.answer() == refusal
        receiver.finish()
    refused(sent(refusal, {}), folder, "the archive ends before kernel")


def test_refusal_with_something_behind_it() -> None:
    with Opener(io.BytesIO(sealed(good())).read, KEY) as opener:
        receiver = Receiver(opener)
        receiver.answer()
        with pytest.raises(ArchiveError, match="more members than it should"):
            receiver.finish()


def test_cmdline_of_odd_bytes(folder: Path) -> None:
    _, received = receive(sealed(good(cmdline=member("cmdline", b" a=\xff \n"))), folder)
    assert received.cmdline == "a=\ufffd"


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"[]", b"1", b'"ok"', b"null", b"\xff\xfe", b"[" * 60000, b"1" * 60000],
    ids=["empty", "cut", "list", "number", "text", "null", "not text", "deep", "long number"],
)
def test_answer_that_is_none(folder: Path, answer: bytes) -> None:
    refused(sealed(good(answer=member("answer", answer))), folder, "the server's answer is not")


def test_truncated(folder: Path) -> None:
    """The tar stream ends early, in a sealed stream that is whole."""
    plain = good()[:4096]
    receive(sealed(plain), folder)
    for size in {*range(0, 4096, 100), *range(0, 4096, 512), 4095}:
        refused(sealed(plain[:size]), folder, "the archive ends before")


def test_truncated_content(folder: Path) -> None:
    for name in GOOD:
        before = list(GOOD)[: list(GOOD).index(name)]
        start = tar_of(member(one, GOOD[one]) for one in before)[: 1024 * len(before)]
        refused(sealed(start + header(name, b"00000060000\0") + b"x" * 1000), folder)


def test_truncated_stream(folder: Path) -> None:
    stream = sealed(good())
    for size in (0, 4, 100, len(stream) // 2, len(stream) - 1):
        refused(stream[:size], folder, "the stream ended before its last frame")


def test_stream_cut_between_frames(folder: Path) -> None:
    """Every file is there, but it is not known whether that was all."""
    stream = sealed(good(kernel=member("kernel", bytes(3 * FRAME_SIZE))) + bytes(2 * FRAME_SIZE))
    refused(stream[: 5 * (FRAME_SIZE + 21)], folder, "the stream ended before its last frame")


def test_junk_behind_the_stream(folder: Path) -> None:
    refused(sealed(good()) + b"x", folder, "behind the end of the stream")


def test_altered_stream(folder: Path) -> None:
    stream = bytearray(sealed(good(initrd=member("initrd", bytes(2 * FRAME_SIZE)))))
    stream[-17] ^= 1
    refused(bytes(stream), folder, "frame 2 of the stream was altered")


def test_constant_memory(folder: Path) -> None:
    """An initrd goes through without being held: it is sent and received in small pieces."""

    class Counter:
        largest = 0

        def write(self, data: bytes) -> None:
            self.largest = max(self.largest, len(data))

    counter = Counter()
    source = folder / "source"
    with source.open("wb") as file:
        file.truncate(1 << 26)
    archive.send(counter, ANSWER, {"initrd": [Piece(source, 0, 1 << 26)]})
    assert 0 < counter.largest <= 2 * FRAME_SIZE


def test_json_is_plain() -> None:
    """Readable by anything: no Python-only values, whatever the text."""
    answer = {"status": "refused", "reason": "no “disk” \udcff"}
    stream = sent(answer, {})
    with Opener(io.BytesIO(stream).read, KEY) as opener:
        plain = opener.read(1 << 20)
    content = plain[512 : 512 + plain[512:].index(b"\0")]
    assert json.loads(content.decode("ascii")) == answer
