"""Boot archives that our server never sends: refused, and nothing else is touched."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.console import StiefelError
from stiefelsystem.framing import FRAME_SIZE
from stiefelsystem.ramdisk import archive
from tests.unit.one_archive import (
    GOOD,
    folder,
    good,
    header,
    member,
    receive,
    refused,
    sealed,
    tar_of,
)

__all__ = ["folder"]  # the fixture


def test_good_is_good(folder: Path) -> None:
    """What the hostile archives below are made from is accepted."""
    answer, received = receive(sealed(good()), folder)
    assert answer == {"status": "ok"}
    assert received.cmdline == "quiet"


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
