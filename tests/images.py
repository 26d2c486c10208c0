"""Images as the kernel reads them: archives, compressed or not, one after the other."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import zstandard

from stiefelsystem import cpio

_ZSTD = b"\x28\xb5\x2f\xfd"


def archives(image: Path) -> Iterator[bytes]:
    """The cpio archives of an image, uncompressed; zeros between them are skipped."""
    left = image.read_bytes()
    while left := left.lstrip(b"\0"):
        if not left.startswith(_ZSTD):
            yield left
            return
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        yield unpacker.decompress(left)
        left = unpacker.unused_data


def contents(image: Path) -> dict[str, str]:
    """What GNU cpio finds in an image: its line for each name."""
    listed = {}
    for archive in archives(image):
        command = ["cpio", "-itv", "--quiet"]
        done = subprocess.run(command, input=archive, capture_output=True, check=True)
        for line in done.stdout.decode().splitlines():
            # Mode, links, owner, group, size, three words of date, and the name with its target.
            listed[line.split(maxsplit=8)[8].split(" -> ")[0]] = line
    return listed


def unpack(image: Path, folder: Path) -> None:
    """Lay an image's files out in `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for archive in archives(image):
        command = ["cpio", "-idu", "--quiet", "--no-absolute-filenames"]
        subprocess.run(command, cwd=folder, input=archive, capture_output=True, check=True)


def microcode() -> bytes:
    """An archive with microcode for no processor, as distributions put before their initrds: it is
    not compressed (Linux, Documentation/arch/x86/microcode.rst)."""
    folders = ("kernel", "kernel/x86", "kernel/x86/microcode")
    file = cpio.Entry(name=f"{folders[-1]}/GenuineIntel.bin", mode=0o100644, data=b"no processor's")
    return cpio.archive([*(cpio.Entry(name=name, mode=0o40755) for name in folders), file])
