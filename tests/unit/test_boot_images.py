"""What is sent of the boot partition's files: read in pieces, joined, and taken apart."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from stiefelsystem import cpio
from stiefelsystem.boot_files import BootFiles
from stiefelsystem.console import StiefelError
from stiefelsystem.framing import FRAME_SIZE
from stiefelsystem.ramdisk import archive, boot_images
from stiefelsystem.ramdisk.archive import Content, Piece
from tests.unit.bootloader import program
from tests.unit.test_cpio import FILE, parse


def sent(content: Content) -> bytes:
    """A member as it arrives."""
    out = io.BytesIO()
    archive.send(out, {}, {"kernel": b"K", "initrd": content, "cmdline": b"C"})
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert tar.getnames() == ["answer", "kernel", "initrd", "cmdline"]
        member = tar.extractfile("initrd")
        assert member is not None
        return member.read()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"0123456789" * 200)
    return path


def test_pieces(source: Path) -> None:
    """Of files and of bytes, as one member."""
    pieces = [Piece(source, 11, 2), b"--", Piece(source, 1995, 5), Piece(source, 3, 0), b""]
    assert sent(pieces) == b"12--56789"
    assert archive.size(pieces) == 9
    assert (sent(b"abc"), archive.size(b"abc")) == (b"abc", 3)
    assert (sent([]), archive.size([])) == (b"", 0)


def test_a_file_that_becomes_shorter(source: Path) -> None:
    with pytest.raises(OSError, match="source became shorter while it was read"):
        sent([Piece(source, 1995, 6)])


@pytest.mark.parametrize("size", range(6))
def test_initrds_are_one(tmp_path: Path, size: int) -> None:
    """Each begins at a boundary of 4 bytes, behind zeros that the kernel skips, and that end a
    legacy lz4 stream."""
    paths = [tmp_path / name for name in ("ucode", "initrd", "last")]
    for number, path in enumerate(paths):
        entry = cpio.Entry(name=f"file{number}", mode=FILE | 0o644, data=b"x" * size)
        # As some tools do not fill up the last block.
        path.write_bytes(cpio.archive([entry]) + b"\1" * (size % 4))
    files = BootFiles(paths[0], tuple(paths))
    joined = sent(boot_images.of(files, tmp_path).initrd)
    for number in range(3):
        assert joined.startswith(b"070701")
        members, end = parse(joined)
        assert [(one.name, one.data) for one in members] == [(b"file%d" % number, b"x" * size)]
        end += size % 4
        rest = joined[end:].lstrip(b"\0")
        gap = len(joined) - end - len(rest)
        assert (gap >= 4 and gap % 4 == -end % 4) or number == 2
        joined = rest
    assert joined == b""


def test_one_initrd_is_sent_as_it_is(source: Path) -> None:
    images = boot_images.of(BootFiles(source, (source, source)), source.parent)
    assert images.kernel == [Piece(source, 0, 2000)]
    other = source.with_name("other")
    other.write_bytes(b"abc")
    assert boot_images.of(BootFiles(source, (other,)), source.parent).initrd == [Piece(other, 0, 3)]


def test_unified(tmp_path: Path) -> None:
    """Whatever the folder is called, and wherever the image is in it."""
    image = tmp_path / "EFI/Linux/a.efi"
    image.parent.mkdir(parents=True)
    image.write_bytes(program((".initrd", b"an initrd"), (".ucode", b"code"), (".linux", b"kern")))
    found = boot_images.of(BootFiles(image, (image,)), tmp_path)
    assert sent(found.kernel) == b"kern"
    assert sent(found.initrd) == b"code" + bytes(4) + b"an initrd"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no program", "/a.efi is no EFI program"),
        (program((".text", b"x")), "/a.efi: is no unified kernel image"),
        (program((".linux", b"x")), "/a.efi: has no .initrd section"),
        (program((".linux", b"x"), (".initrd", b"y" * 999))[:-600], "/a.efi is cut short"),
    ],
)
def test_no_unified_image(tmp_path: Path, content: bytes, message: str) -> None:
    image = tmp_path / "a.efi"
    image.write_bytes(content)
    with pytest.raises(StiefelError, match=f"^{message}"):
        boot_images.of(BootFiles(image, (image,)), tmp_path)


def test_constant_memory(tmp_path: Path) -> None:
    """Neither initrds nor the parts of an image are ever held as a whole."""

    class Nowhere:
        def write(self, data: bytes) -> None:
            assert len(data) <= 2 * FRAME_SIZE

    image = tmp_path / "a.efi"
    image.write_bytes(program((".linux", b"kern"), (".initrd", bytes(64 << 20))))
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(64 << 20)
    for files in (BootFiles(image, (image,)), BootFiles(image, (initrd, initrd))):
        tracemalloc.start()
        images = boot_images.of(files, tmp_path)
        archive.send(Nowhere(), {}, images._asdict())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.efi", "initrd"]
