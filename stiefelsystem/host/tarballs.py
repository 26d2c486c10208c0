"""Unpacking tar archives of strangers, so that nothing lands where it does not belong."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from stiefelsystem.console import StiefelError

# All of Linux, unpacked, has 90,000 files.
_UNPACKED_BYTES = 1 << 30
_MEMBERS = 100_000
# What tarfile raises for a damaged archive, from its own depths and those of the compressions.
_UNREADABLE = (EOFError, RecursionError, lzma.LZMAError, tarfile.TarError, zlib.error)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar archive into the new `folder`; returns its one top folder, or else `folder`.

    Nothing is written outside, whatever the archive says: not because it is clear where each link
    leads to, but because nothing is ever written at a link or below one. (The filter "data" of
    Python's tarfile is not there in Python 3.11.2, and had to be mended several times since.)
    Owners and special modes are not taken over. Raises `StiefelError` for what else there is
    in tar archives, and for what is too much.
    """
    folder.mkdir()
    links: set[PurePosixPath] = set()
    size = 0
    try:
        with tarfile.open(archive) as tar:
            for number, member in enumerate(tar):
                # Else Python would go back, and read the same again.
                if member.size < 0:
                    raise ValueError(f"{member.name!r} has the size {member.size}")
                size += member.size
                if size > _UNPACKED_BYTES or number >= _MEMBERS:
                    raise ValueError(
                        f"more than {_MEMBERS} files, or {_UNPACKED_BYTES >> 20} MB of them"
                    )
                _unpack_member(tar, member, folder, links)
    except (*_UNREADABLE, OSError, OverflowError, ValueError) as error:
        raise StiefelError(
            f"cannot unpack {archive}: {error}",
            hint="a source is a tar archive, maybe compressed by gzip, bzip2 or xz",
        ) from error
    top = list(folder.iterdir())
    return top[0] if len(top) == 1 and top[0].is_dir() and not top[0].is_symlink() else folder


def _unpack_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, links: set[PurePosixPath]
) -> None:
    name = _inside(member.name, links)
    target = folder / name
    (target if member.isdir() else target.parent).mkdir(parents=True, exist_ok=True)
    if member.issym():
        leads_to = os.path.normpath(name.parent / member.linkname)
        if leads_to.startswith(("/", "..")):
            raise ValueError(f"{member.name!r} is a link that leads outside")
        target.symlink_to(member.linkname)
        links.add(name)
    elif member.islnk():
        os.link(folder / _inside(member.linkname, links), target)
    elif member.isfile():
        content = tar.extractfile(member)
        assert content is not None
        with target.open("xb") as file:
            shutil.copyfileobj(content, file)
        target.chmod(0o755 if member.mode & 0o111 else 0o644)
        # By its time, make knows what is older than what it was made of.
        os.utime(target, (member.mtime, member.mtime))
    elif not member.isdir():
        raise ValueError(f"{member.name!r} is neither file, folder nor link")


def _inside(name: str, links: set[PurePosixPath]) -> PurePosixPath:
    """The path that a name in an archive stands for, if it leads through no link."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} leads outside")
    if not links.isdisjoint((path, *path.parents)):
        raise ValueError(f"{name!r} leads through a link")
    return path
