"""Archives for the kernel's initramfs: read back by a reader of our own, and by cpio(1)."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem import cpio
from stiefelsystem.cpio import Entry, Writer
from tests import capabilities

FILE, DIR, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
HEADER = 110
TRAILER = b"TRAILER!!!"


@dataclass(frozen=True)
class Member:
    """One member as the kernel's unpacker sees it (usr/../init/initramfs.c, parse_header)."""

    name: bytes
    data: bytes
    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    mtime: int
    device: tuple[int, int]
    rdev: tuple[int, int]


def parse(image: bytes) -> tuple[list[Member], int]:
    """The members before the trailer, and where the archive ends."""
    members: list[Member] = []
    at = 0
    while True:
        assert at % 4 == 0
        header = image[at : at + HEADER]
        assert header[:6] == b"070701"
        fields = [int(header[i : i + 8], 16) for i in range(6, HEADER, 8)]
        ino, mode, uid, gid, nlink, mtime, size, *device, major, minor, name_size, check = fields
        assert check == 0
        end = at + HEADER + name_size
        assert image[end - 1] == 0
        name = image[at + HEADER : end - 1]
        start = end + -end % 4
        assert not any(image[end:start])
        at = start + size + -size % 4
        assert len(image) >= at
        assert not any(image[start + size : at])
        if name == TRAILER:
            assert size == 0
            return members, at
        data = image[start : start + size]
        one = Member(
            name, data, ino, mode, uid, gid, nlink, mtime, (device[0], device[1]), (major, minor)
        )
        members.append(one)


def test_bytes() -> None:
    """The format's description, for one small file."""
    made = cpio.archive([Entry(name="init", mode=FILE | 0o755, data=b"hello", uid=1, gid=2)])
    header = (
        "070701"
        "00000001"
        "000081ed"
        "00000001"
        "00000002"
        "00000001"
        "00000000"
        "00000005"
        "00000000"
        "00000000"
        "00000000"
        "00000000"
        "00000005"
        "00000000"
    )
    trailer = (
        "070701"
        "00000000"
        "00000000"
        "00000000"
        "00000000"
        "00000001"
        "00000000"
        "00000000"
        "00000000"
        "00000000"
        "00000000"
        "00000000"
        "0000000b"
        "00000000"
    )
    expected = (
        header.encode() + b"init\0\0" + b"hello\0\0\0" + trailer.encode() + TRAILER + bytes(4)
    )
    assert made.ljust(len(expected), b"\0") == expected
    assert len(made) % 4 == 0


# The format has no way to store a file that is named as its trailer.
names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=()), min_size=1, max_size=40
).filter(lambda name: name != "TRAILER!!!")


@given(entries=st.lists(st.tuples(names, st.binary(max_size=20), st.integers(0, 0o7777))))
def test_roundtrip(entries: list[tuple[str, bytes, int]]) -> None:
    for name, _, _ in entries:
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            return  # no file has such a name
    image = cpio.archive(
        [Entry(name=name, mode=FILE | mode, data=data) for name, data, mode in entries]
    )
    members, end = parse(image)
    assert end == len(image)
    assert [(one.name, one.data, one.mode) for one in members] == [
        (os.fsencode(name), data, FILE | mode) for name, data, mode in entries
    ]
    assert [one.ino for one in members] == list(range(1, len(entries) + 1))


def test_alignment_of_every_residue() -> None:
    for name_size in range(1, 9):
        for size in range(9):
            entries = [Entry(name="n" * name_size, mode=FILE, data=b"\xff" * size)] * 2
            members, _ = parse(cpio.archive(entries))
            assert [(len(one.name), one.data) for one in members] == [
                (name_size, b"\xff" * size)
            ] * 2


def test_empty() -> None:
    members, end = parse(cpio.archive([]))
    assert (members, end) == ([], 124)


def test_fields() -> None:
    entries = [
        Entry(name="dev", mode=DIR | 0o755),
        Entry(name="dev/console", mode=stat.S_IFCHR | 0o600, rdev=os.makedev(5, 1)),
        Entry(name="dev/nbd0", mode=stat.S_IFBLK | 0o660, rdev=os.makedev(43, 300), gid=6),
        Entry(name="bin", mode=LINK | 0o777, data=b"usr/bin"),
        Entry(name="pipe", mode=stat.S_IFIFO | 0o600),
        Entry(name="secret", mode=FILE | 0o4600, data=b"s", uid=0xFFFFFFFE, gid=1000),
    ]
    members, _ = parse(cpio.archive(entries))
    assert [one.mode for one in members] == [one.mode for one in entries]
    assert [one.rdev for one in members] == [(0, 0), (5, 1), (43, 300), (0, 0), (0, 0), (0, 0)]
    assert [one.nlink for one in members] == [2, 1, 1, 1, 1, 1]
    assert members[3].data == b"usr/bin"
    assert [(one.uid, one.gid) for one in members] == [(one.uid, one.gid) for one in entries]
    assert {(one.mtime, one.device) for one in members} == {(0, (0, 0))}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with something of every kind that needs no root."""
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder").chmod(0o1777)
    (tree / "folder/file").write_bytes(b"content")
    (tree / "folder/file").chmod(0o640)
    (tree / "empty").write_bytes(b"")
    (tree / "link").symlink_to("folder/nothing there")
    (tree / "loop").symlink_to("loop")
    (tree / "to folder").symlink_to("folder")
    os.mkfifo(tree / "pipe")
    (tree / os.fsdecode(b"odd \xff\xc3\xa4 name")).write_bytes(b"odd")
    return tree


def packed(tree: Path) -> bytes:
    out = io.BytesIO()
    writer = Writer(out)
    for path in sorted(tree.rglob("*")):
        writer.add_path(str(path.relative_to(tree)), path)
    writer.close()
    return out.getvalue()


def test_paths(tree: Path) -> None:
    members = {one.name: one for one in parse(packed(tree))[0]}
    assert set(members) == {
        b"folder",
        b"folder/file",
        b"empty",
        b"link",
        b"loop",
        b"to folder",
        b"pipe",
        b"odd \xff\xc3\xa4 name",
    }
    assert (members[b"folder"].mode, members[b"folder"].data) == (DIR | 0o1777, b"")
    assert (members[b"folder/file"].mode, members[b"folder/file"].data) == (
        FILE | 0o640,
        b"content",
    )
    assert members[b"empty"].data == b""
    for name, target in ((b"link", b"folder/nothing there"), (b"to folder", b"folder")):
        assert stat.S_ISLNK(members[name].mode)
        assert members[name].data == target
    assert (stat.S_ISFIFO(members[b"pipe"].mode), members[b"pipe"].data) == (True, b"")
    assert members[b"odd \xff\xc3\xa4 name"].data == b"odd"
    assert {(one.uid, one.gid) for one in members.values()} == {(os.getuid(), os.getgid())}


def test_device_of_the_filesystem() -> None:
    out = io.BytesIO()
    Writer(out).add_path("dev/null", Path("/dev/null"))
    out.write(cpio.archive([]))
    (null,), _ = parse(out.getvalue())
    assert (stat.S_ISCHR(null.mode), null.rdev, null.data) == (True, (1, 3), b"")


def test_link_to_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(os.fsdecode(b"\xff\xfe"))
    (link,), _ = parse(packed(tmp_path))
    assert link.data == b"\xff\xfe"


def test_equal_trees_give_equal_bytes(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree / "folder", copy / "folder", symlinks=True)
    for path in tree.iterdir():
        if path.name == "pipe":
            os.mkfifo(copy / "pipe")
        elif path.name != "folder":
            shutil.copy(path, copy / path.name, follow_symlinks=False)
    for path in (*copy.rglob("*"), copy):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert packed(copy) == packed(tree)
    (copy / "folder/file").chmod(0o600)
    assert packed(copy) != packed(tree)


def test_hard_links_become_copies(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    members, _ = parse(packed(tmp_path))
    assert [(one.name, one.data, one.nlink) for one in members] == [
        (b"a", b"same", 1),
        (b"b", b"same", 1),
    ]
    assert members[0].ino != members[1].ino


def test_large_source_in_pieces(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(251)) * 13000)
    (one,), _ = parse(cpio.archive([Entry(name="x", mode=FILE, source=source)]))
    assert one.data == source.read_bytes()


def test_too_large_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(1 << 32)
    out = io.BytesIO()
    with pytest.raises(ValueError, match="x: 4294967296 bytes do not fit"):
        Writer(out).add(Entry(name="x", mode=FILE, source=source))
    assert out.getvalue() == b""


def test_source_that_shrinks(tmp_path: Path) -> None:
    """As a log may, while it is packed: the archive would be wrong from there on."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100)

    class Out(io.BytesIO):
        def write(self, data: object, /) -> int:
            os.truncate(source, 10)
            return super().write(data)  # type: ignore[arg-type]

    with pytest.raises(OSError, match="x became shorter while it was read"):
        Writer(Out()).add(Entry(name="x", mode=FILE, source=source))


modes = st.sampled_from([FILE | 0o600, DIR | 0o755, LINK | 0o777, stat.S_IFCHR | 0o600])
ids = st.integers(0, 0xFFFFFFFF)
devices = st.builds(os.makedev, st.integers(0, 0xFFF), st.integers(0, 0xFFFFF))
some_entries = st.lists(
    st.builds(
        Entry,
        name=names.filter(lambda name: name.isascii()),
        mode=modes,
        data=st.binary(max_size=20),
        uid=ids,
        gid=ids,
        rdev=devices,
    ),
    max_size=5,
)


@given(entries=some_entries, more=st.binary(max_size=9))
def test_entries_are_what_was_written(entries: list[Entry], more: bytes) -> None:
    assert cpio.entries(cpio.archive(entries) + more) == entries


def test_entries_of_an_archive_that_is_cut_short() -> None:
    whole = cpio.archive([Entry(name="etc/key", mode=FILE, data=b"k" * 33)])
    last = len(whole.rstrip(b"\0")) + 1  # the zero that ends the trailer's name
    for size in range(last):
        with pytest.raises(ValueError, match=r"header|no end|cut short"):
            cpio.entries(whole[:size])
    assert len(cpio.entries(whole[:last])) == 1


@pytest.mark.parametrize("field", [b"-0000001", b" 0000001", b"+0000001", b"0x000001", b"0000_001"])
@pytest.mark.parametrize("at", [6, 11])
def test_entries_with_fields_that_are_no_numbers(field: bytes, at: int) -> None:
    """Python's own reading of numbers is wider: with a negative size, one would read for ever."""
    whole = cpio.archive([Entry(name="a", mode=FILE, data=b"b")])
    begin = 6 + 8 * at
    with pytest.raises(ValueError, match="no cpio header at byte 0"):
        cpio.entries(whole[:begin] + field + whole[begin + 8 :])


@pytest.mark.parametrize("length", [b"00000000", b"00000001", b"FFFFFFFF"])
def test_entries_with_a_name_of_another_length(length: bytes) -> None:
    whole = cpio.archive([Entry(name="name", mode=FILE)])
    with pytest.raises(ValueError, match="has no end"):
        cpio.entries(whole[:94] + length + whole[102:])


@given(data=st.binary(max_size=300))
def test_entries_of_rubbish(data: bytes) -> None:
    for text in (data, b"070701" + data):
        with pytest.raises(ValueError, match=r"header|no end|cut short"):
            cpio.entries(text)


@pytest.mark.parametrize("size", range(9))
def test_append(size: int) -> None:
    more = cpio.archive([Entry(name="key", mode=FILE | 0o600, data=b"secret")])
    image = io.BytesIO(b"\xaa" * size)
    cpio.append(image, more)
    whole = image.getvalue()
    zeros = len(whole) - size - len(more)
    assert whole == b"\xaa" * size + bytes(zeros) + more
    # A legacy lz4 stream takes 4 zero bytes for its end; the kernel wants its archives aligned.
    assert 4 <= zeros < 8
    assert (size + zeros) % 4 == 0


def test_append_from_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"\xaa" * 9)
    with path.open("r+b") as image:
        image.read(3)
        cpio.append(image, b"more")
    assert path.read_bytes() == b"\xaa" * 9 + bytes(7) + b"more"


def test_cpio_reads_it(tree: Path, tmp_path: Path) -> None:
    capabilities.require_tools("cpio")
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        ["cpio", "-i", "--quiet", "--no-preserve-owner"],
        input=packed(tree),
        cwd=out,
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    assert done.stderr == b""
    assert packed(out) == packed(tree)


def test_bsdtar_reads_it(tree: Path) -> None:
    capabilities.require_tools("bsdtar")
    done = subprocess.run(
        ["bsdtar", "-tf", "-"], input=packed(tree), capture_output=True, check=True
    )
    assert done.stdout.count(b"\n") == 8
