"""Tar archives of strangers: unpacked as they are, or refused, and nothing lands outside."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.console import StiefelError
from stiefelsystem.host import tarballs
from tests.tarfiles import below, member, write_archive

# Archives.


def unpacked(tmp_path: Path, *members: tarfile.TarInfo) -> Path:
    return tarballs.unpack(write_archive(tmp_path / "archive", members), tmp_path / "folder")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_unpack(tmp_path: Path, mode: str) -> None:
    members = [
        member("top-1.0", tarfile.DIRTYPE, mode=0o700),
        member("top-1.0/configure", mode=0o6755, mtime=1_500_000_000.5, uid=1000),
        member("./top-1.0/src//main.c", mode=0o600),
        member("top-1.0/src/link.c", tarfile.SYMTYPE, linkname="../src/main.c"),
        member("top-1.0/same.c", tarfile.LNKTYPE, linkname="top-1.0/src/main.c"),
    ]
    archive = write_archive(tmp_path / "archive", members, mode=mode)
    top = tarballs.unpack(archive, tmp_path / "folder")
    assert top == tmp_path / "folder/top-1.0"
    configure = (top / "configure").stat()
    assert configure.st_mode == stat.S_IFREG | 0o755
    assert configure.st_uid == os.getuid()
    assert int(configure.st_mtime) == 1_500_000_000
    assert (top / "src/main.c").stat().st_mode == stat.S_IFREG | 0o644
    assert (top / "src/link.c").is_symlink()
    for name in ("src/main.c", "src/link.c", "same.c"):
        assert (top / name).read_bytes() == b"content"


def test_the_order_of_times_stays(tmp_path: Path) -> None:
    """Or make would take what was shipped for what has to be made again."""
    folder = unpacked(tmp_path, member("made", mtime=2000), member("from", mtime=1000))
    assert (folder / "made").stat().st_mtime > (folder / "from").stat().st_mtime


@pytest.mark.parametrize("names", [["a", "b"], ["a/x", "b/x"], ["x"]])
def test_without_one_top_folder(tmp_path: Path, names: list[str]) -> None:
    assert unpacked(tmp_path, *map(member, names)) == tmp_path / "folder"


def test_a_link_is_no_top_folder(tmp_path: Path) -> None:
    link = member("top", tarfile.SYMTYPE, linkname=".")
    assert unpacked(tmp_path, link) == tmp_path / "folder"


def test_an_empty_archive(tmp_path: Path) -> None:
    assert unpacked(tmp_path) == tmp_path / "folder"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file beside the folder, which must stay as it is."""
    file = tmp_path / "outside"
    file.write_bytes(b"before")
    file.chmod(0o600)
    yield file
    assert (file.read_bytes(), file.stat().st_mode) == (b"before", stat.S_IFREG | 0o600)
    assert file.stat().st_nlink == 1
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "folder", "outside"}


def link(name: str, to: str) -> tarfile.TarInfo:
    return member(name, tarfile.SYMTYPE, linkname=to)


def hard_link(name: str, to: str) -> tarfile.TarInfo:
    return member(name, tarfile.LNKTYPE, linkname=to)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../outside")], "'../outside' leads outside"),
        ([member("a/../../outside")], "leads outside"),
        ([member("/{tmp}/outside")], "leads outside"),
        ([member("../new", tarfile.DIRTYPE)], "leads outside"),
        ([link("l", "../outside")], "'l' is a link that leads outside"),
        ([link("l", "/{tmp}/outside")], "is a link that leads outside"),
        ([link("a/l", "../b/../../outside")], "is a link that leads outside"),
        # A link that leads outside only by way of another one is there, but of no use.
        ([link("a/b/up", "../.."), link("l", "a/b/up/../outside"), member("l")], "through a link"),
        ([link("l", "x"), member("l")], "'l' leads through a link"),
        ([link("l", "."), member("l/x")], "'l/x' leads through a link"),
        ([link("l", "."), member("l/x", tarfile.DIRTYPE)], "leads through a link"),
        ([link("l", "."), member("./l/../l/x")], "leads outside"),
        ([link("l", "x"), hard_link("h", "l")], "leads through a link"),
        ([link("l", "."), hard_link("h", "l/l")], "leads through a link"),
        ([hard_link("h", "../outside"), member("h")], "'../outside' leads outside"),
        ([hard_link("h", "/{tmp}/outside")], "leads outside"),
        ([hard_link("h", "no-such")], "No such file"),
        ([member("x"), member("x")], "exists"),
        ([member("x"), link("x", "y")], "exists"),
        ([member("x"), member("x/y")], "exists|directory"),
        ([member("."), member("x")], "exists|directory"),
        ([link(".", "x")], "exists"),
        ([member("d", tarfile.CHRTYPE, devmajor=1, devminor=3)], "neither file, folder nor link"),
        ([member("d", tarfile.BLKTYPE, devmajor=8)], "neither file, folder nor link"),
        ([member("p", tarfile.FIFOTYPE)], "neither file, folder nor link"),
        ([member("n" * 300)], "name too long"),
        ([member("x", mtime=1e300)], "cannot unpack"),
        ([member("x", pax_headers={"mtime": "nan"})], "cannot unpack"),
    ],
)
def test_hostile(
    tmp_path: Path, outside: Path, members: list[tarfile.TarInfo], message: str
) -> None:
    for info in members:
        info.name = info.name.replace("{tmp}", str(tmp_path).lstrip("/"))
        info.linkname = info.linkname.replace("{tmp}", str(tmp_path).lstrip("/"))
    with pytest.raises(StiefelError, match=message) as caught:
        unpacked(tmp_path, *members)
    assert str(tmp_path / "archive") in str(caught.value)
    assert not any(path.is_char_device() for path in (tmp_path / "folder").rglob("*"))


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [member(str(number)) for number in range(5)]
    archive = write_archive(tmp_path / "archive", members, bytes(1000))
    monkeypatch.setattr(tarballs, "_UNPACKED_BYTES", 5000)
    tarballs.unpack(archive, tmp_path / "as much as may be")
    monkeypatch.setattr(tarballs, "_UNPACKED_BYTES", 4999)
    with pytest.raises(StiefelError, match="more than"):
        tarballs.unpack(archive, tmp_path / "more bytes")
    monkeypatch.undo()
    monkeypatch.setattr(tarballs, "_MEMBERS", 4)
    with pytest.raises(StiefelError, match="more than 4 files"):
        tarballs.unpack(archive, tmp_path / "more files")


def test_a_sparse_file_counts_with_its_holes(tmp_path: Path) -> None:
    """GNU tar's format 1.0 for sparse files: a few bytes that say that they are a terabyte."""
    info = member("x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    info.pax_headers |= {"GNU.sparse.name": "x", "GNU.sparse.realsize": str(1 << 40)}
    sparse_map = f"1\n{1 << 40}\n0\n".encode().ljust(512, b"\0")
    archive = write_archive(tmp_path / "archive", [info], sparse_map)
    with pytest.raises(StiefelError, match="more than"):
        tarballs.unpack(archive, tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"<html>", os.urandom(5000), bytes(511), b"\x1f\x8b\x08"])
def test_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(StiefelError, match="cannot unpack") as caught:
        tarballs.unpack(tmp_path / "archive", tmp_path / "folder")
    assert "tar archive" in caught.value.hint


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_cut_in_the_middle(tmp_path: Path, mode: str) -> None:
    """Where tarfile has read good members already, the compression's own errors come through."""
    content = os.urandom(1 << 20)
    archive = write_archive(tmp_path / "archive", [member("a"), member("b")], content, mode)
    os.truncate(archive, archive.stat().st_size * 3 // 4)
    with pytest.raises(StiefelError, match="cannot unpack"):
        tarballs.unpack(archive, tmp_path / "folder")


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_damaged_in_the_middle(tmp_path: Path, mode: str) -> None:
    """The same. (Of the others, tarfile may take damage for the end; only the digest tells.)"""
    content = os.urandom(1 << 20)
    archive = write_archive(tmp_path / "archive", [member("a"), member("b")], content, mode)
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size * 3 // 4)
        file.write(bytes(1000))
    with pytest.raises(StiefelError, match="cannot unpack"):
        tarballs.unpack(archive, tmp_path / "folder")


def test_a_member_of_negative_size(tmp_path: Path) -> None:
    """Some versions of Python would go back to its header, and read it again, for ever; others
    refuse it by themselves."""
    (tmp_path / "archive").write_bytes(
        member("a", size=-512).tobuf(tarfile.GNU_FORMAT) + bytes(10240)
    )
    with pytest.raises(StiefelError, match=r"has the size -512|invalid offset"):
        tarballs.unpack(tmp_path / "archive", tmp_path / "folder")


def test_headers_of_headers(tmp_path: Path) -> None:
    """Each says something about the next one; Python reads the next one within the first."""
    header = member("x", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "archive").write_bytes(header * 5000)
    with pytest.raises(StiefelError, match="cannot unpack"):
        tarballs.unpack(tmp_path / "archive", tmp_path / "folder")


_NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=4).map("/".join)
_KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
_MEMBERS = st.builds(lambda name, kind, to: member(name, kind, linkname=to), _NAMES, _KINDS, _NAMES)


@given(st.lists(_MEMBERS, max_size=8))
def test_nothing_is_ever_written_outside(members: list[tarfile.TarInfo]) -> None:
    with tempfile.TemporaryDirectory() as name:
        around = Path(name) / "a/b"  # so that names of the archive could meet something
        around.mkdir(parents=True)
        (around / "b").write_bytes(b"outside")
        folder = around / "a"
        archive = write_archive(Path(name) / "archive", members)
        before = below(Path(name))
        with suppress(StiefelError):
            tarballs.unpack(archive, folder)
        after = below(Path(name))
        inside = {key for key in after if Path(name, key).is_relative_to(folder)}
        assert {key: after[key] for key in after.keys() - inside} == before
        kinds = {stat.S_IFMT(after[key][0]) for key in inside}
        assert kinds <= {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
        assert not [key for key in inside if after[key][0] & 0o7022 and not is_link(after[key])]


def is_link(entry: tuple[int, bytes]) -> bool:
    return stat.S_ISLNK(entry[0])


@given(st.data())
def test_damaged_archives_are_refused_or_unpacked(data: st.DataObject) -> None:
    """Flipped bytes and cut ends, in the archive itself and below its compression."""
    mode = data.draw(st.sampled_from(["w", "w:gz", "w:bz2", "w:xz"]))
    with tempfile.TemporaryDirectory() as name:
        members = [member("a/b"), link("a/c", "b"), member("ä" * 120), hard_link("d", "a/b")]
        archive = write_archive(Path(name) / "archive", members, mode=mode)
        content = bytearray(archive.read_bytes())
        for _ in range(data.draw(st.integers(0, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        archive.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        with suppress(StiefelError):
            tarballs.unpack(archive, Path(name) / "folder")
        assert {path.name for path in Path(name).iterdir()} == {"archive", "folder"}


# The cache of what was built. The container is left out: `Workshop` stands for the tree and for
