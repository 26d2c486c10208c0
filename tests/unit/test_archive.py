"""The boot archive through its sealed stream: whole and as it was, or refused."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.console import StiefelError
from stiefelsystem.framing import FRAME_SIZE, FramingError, Opener, Sealer
from stiefelsystem.ramdisk import archive
from stiefelsystem.ramdisk.archive import ArchiveError, Content, Piece, Receiver

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


def test_good_is_good(folder: Path) -> None:
    """What the hostile archives below are made from is accepted."""
    answer, received = receive(sealed(good()), folder)
    assert answer == {"status": "ok"}
    assert received.cmdline == "quiet"


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


def turned(*names: str) -> bytes:
    return tar_of(member(name, GOOD[name]) for name in names)


def link(name: str, kind: bytes, to: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=to)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "empty": lambda: tar_of([]),
    "zeros": lambda: bytes(FRAME_SIZE),
    "text": lambda: b"GET / HTTP/1.0\r\n\r\n" * 100,
    "gzip": lambda: b"\x1f\x8b\x08" + bytes(1000),
    "no answer": lambda: good(without="answer"),
    "no kernel": lambda: good(without="kernel"),
    "no initrd": lambda: good(without="initrd"),
    "no cmdline": lambda: good(without="cmdline"),
    "answer last": lambda: turned("kernel", "initrd", "cmdline", "answer"),
    "kernel and initrd turned round": lambda: turned("answer", "initrd", "kernel", "cmdline"),
    "answer twice": lambda: turned("answer", "answer", "kernel", "initrd", "cmdline"),
    "kernel twice": lambda: turned("answer", "kernel", "kernel", "initrd", "cmdline"),
    "cmdline twice": lambda: turned("answer", "kernel", "initrd", "cmdline", "cmdline"),
    "unknown name": lambda: good(kernel=member("vmlinuz", b"K")),
    "unknown member inside": lambda: tar_of(
        [member("answer", b"{}"), member("x", b"x"), *(member(n) for n in archive._FILES)]
    ),
    "extra member": lambda: tar_of([*(member(n, c) for n, c in GOOD.items()), member("x", b"x")]),
    "extra folder": lambda: tar_of(
        [*(member(n, c) for n, c in GOOD.items()), member("x", type=tarfile.DIRTYPE)]
    ),
    "way out": lambda: good(kernel=member("../kernel", b"K")),
    "way out over the folder": lambda: good(kernel=member("../folder/kernel", b"K")),
    "victim": lambda: good(kernel=member("../victim", b"K")),
    "absolute": lambda: good(kernel=member("/kernel", b"K")),
    "dot": lambda: good(kernel=member("./kernel", b"K")),
    "long way out": lambda: good(kernel=member("../" * 30 + "tmp/x", b"K")),
    "symbolic link": lambda: good(kernel=link("kernel", tarfile.SYMTYPE, "../victim")),
    "symbolic link before": lambda: tar_of(
        [
            member("answer", GOOD["answer"]),
            link("kernel", tarfile.SYMTYPE, "../victim"),
            *(member(name, GOOD[name]) for name in archive._FILES),
        ]
    ),
    "hard link": lambda: good(kernel=link("kernel", tarfile.LNKTYPE, "../victim")),
    "hard link to the answer": lambda: good(kernel=link("kernel", tarfile.LNKTYPE, "answer")),
    "character device": lambda: good(kernel=member("kernel", type=tarfile.CHRTYPE, devminor=1)),
    "block device": lambda: good(kernel=member("kernel", type=tarfile.BLKTYPE, devmajor=8)),
    "pipe": lambda: good(kernel=member("kernel", type=tarfile.FIFOTYPE)),
    "folder": lambda: good(kernel=member("kernel", type=tarfile.DIRTYPE)),
    "contiguous": lambda: good(kernel=member("kernel", b"K", type=tarfile.CONTTYPE)),
    "sparse": lambda: good(kernel=member("kernel", b"K", type=tarfile.GNUTYPE_SPARSE)),
    "unknown type": lambda: good(kernel=member("kernel", b"K", type=b"Z")),
    "answer is a link": lambda: good(answer=link("answer", tarfile.SYMTYPE, "../victim")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive(folder: Path, name: str) -> None:
    refused(sealed(HOSTILE[name]()), folder)


@pytest.mark.parametrize(
    ("name", "limit"), [("answer", 1 << 16), ("kernel", 1 << 28), ("cmdline", 1 << 16)]
)
def test_oversized_declaration(folder: Path, name: str, limit: int) -> None:
    """Refused when it is declared, not when it has filled the memory."""
    before = list(GOOD)[: list(GOOD).index(name)]
    start = tar_of(member(one, GOOD[one]) for one in before)[: 1024 * len(before)]
    stream = sealed(start + header(name, b"%011o\0" % (limit + 1)))
    refused(stream, folder, f"{name} has an impossible size: {limit + 1} bytes")


SIZE_FIELDS = {
    "8 GiB": b"77777777777\0",
    "over 8 GiB": b"\x80" + (1 << 34).to_bytes(11, "big"),
    "2 ** 63": b"\x80" + (1 << 63).to_bytes(11, "big"),
    "2 ** 87": b"\x80" + b"\xff" * 11,
    "-1": b"\xff" * 12,
    "-512": b"\xff" * 10 + b"\xfe\x00",
    "-1024": b"\xff" * 10 + b"\xfc\x00",
    "-2 ** 80": b"\xff\xff" + bytes(10),
    "no number": b"99999999999\0",
    "text": b"twelve bytes",
    "minus": b"-0000000001\0",
}


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("field", SIZE_FIELDS)
def test_impossible_size(folder: Path, name: str, field: str) -> None:
    """In the place of every member: the others are good."""
    parts = []
    for one, content in GOOD.items():
        whole = tar_of([member(one, content)])[:1024]
        parts.append(header(one, SIZE_FIELDS[field]) + whole[512:] if one == name else whole)
    stream = sealed(b"".join(parts) + bytes(1024))
    refused(stream, folder, f"{name} has an impossible size|the archive is malformed")


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


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_other_formats_with_long_names(folder: Path, format: int) -> None:
    """They hide the true name in a member of its own."""
    for name in ("kernel" + "x" * 300, "../" * 100 + "victim"):
        members = [member("answer", b"{}"), member(name, b"K")]
        refused(sealed(tar_of(members, format)), folder)


PAX: dict[str, dict[str, str]] = {
    "path out": {"path": "../victim"},
    "link": {"linkpath": "../victim"},
    "size": {"size": str(1 << 40)},
    "negative size": {"size": "-1024"},
    "size that is none": {"size": "many"},
    "size without end": {"size": "9" * 5000},
    "sparse map": {"GNU.sparse.map": "0,1,-5,7", "GNU.sparse.size": "99"},
    "sparse major": {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(1 << 50),
    },
    "sparse name": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "../x"},
    "time": {"mtime": "inf"},
    "time that is none": {"mtime": "nan"},
    "character set": {"hdrcharset": "BINARY", "path": "kernel"},
}


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("pax", PAX)
def test_pax_headers(folder: Path, name: str, pax: str) -> None:
    """They would give a file another size, name or holes; our server writes none."""
    members = []
    for one, content in GOOD.items():
        info, _ = member(one, content)
        if one == name:
            info.pax_headers = PAX[pax]
        members.append((info, content))
    stream = sealed(tar_of(members, tarfile.PAX_FORMAT))
    refused(stream, folder, f"where {name} belongs")


def test_global_pax_header(folder: Path) -> None:
    out = io.BytesIO()
    headers = {"path": "../victim"}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as tar:
        for name, content in GOOD.items():
            tar.addfile(member(name, content)[0], io.BytesIO(content))
    refused(sealed(out.getvalue()), folder)


def test_malformed_pax_header(folder: Path) -> None:
    for record in (
        b"999999 path=x\n",
        b"0 path=x\n",
        b"x",
        b"\xff" * 512,
        b"-5 path=x\n",
        b"9" * 5000,
    ):
        content = record.ljust(-(-len(record) // 512) * 512, b"\0")
        block = header("pax", b"%011o\0" % len(record), b"x")
        refused(sealed(block + content + good()[:512] + bytes(1024)), folder)


def test_long_names_without_end(folder: Path) -> None:
    """A chain of headers, each of which is about the next."""
    for kind in (b"L", b"K", b"x", b"g"):
        one = header("long", b"00000000001\0", kind) + b"x".ljust(512, b"\0")
        refused(sealed(one * 3000), folder)


@given(data=st.binary(max_size=3000))
def test_garbage(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    for plain in (data, good()[:512] + data, good()[:2048] + data, good()[:4096] + data):
        try:
            receive(sealed(plain), folder)
        except StiefelError:
            pass
        else:
            assert plain.startswith(good()[:4096])
    assert all(path.name in archive._FILES for path in folder.iterdir())


@given(at=st.integers(0, 4095), value=st.integers(0, 255))
def test_mutated(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    """A good archive with one byte changed is refused, or has changed in that byte only."""
    folder = tmp_path_factory.mktemp("mutated")
    plain = bytearray(good())
    plain[at] = value
    try:
        _, received = receive(sealed(bytes(plain)), folder)
    except StiefelError:
        return
    assert len(received.kernel.read_bytes()) == len(received.initrd.read_bytes()) == 1
    assert all(path.name in archive._FILES for path in folder.iterdir())


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
