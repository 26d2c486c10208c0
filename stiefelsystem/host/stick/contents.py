"""What goes onto a stick: the packed ramdisk with its key, and the boot loaders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stiefelsystem import cpio, wrapped
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import pack, tree
from stiefelsystem.host.stick import loaders
from stiefelsystem.host.stick.layout import INITRD, KERNEL, SECRETS
from stiefelsystem.host.stick.menu import Settings

# Where the ramdisk looks for a key that wants a passphrase.
WRAPPED = f"{tree.KEY_PATH}.wrapped"
# FAT knows no earlier time: Microsoft's FAT32 File System Specification, "Date and Time Formats".
_FAT_EPOCH = 315532800
_BUILD = "run ./create-initrd-nspawn --pack"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The files of one set, by their names on the stick, its settings, and the boot loaders.

    `wrapped` says that the key among them wants a passphrase; the stick's partition begins at
    sector `first`.
    """

    files: dict[str, Path]
    loaders: Path
    settings: Settings
    first: int
    wrapped: bool = False

    @property
    def size(self) -> int:
        """The bytes of one set."""
        return sum(path.stat().st_size for path in self.files.values())

    @property
    def time(self) -> int:
        """When the ramdisk was packed: the time of all files, so that equal ones make equal
        images."""
        return max(int(self.files[INITRD].stat().st_mtime), _FAT_EPOCH)


@contextmanager
def contents(config: Config, *, passphrase: str | None = None) -> Iterator[Contents]:
    """What `create-initrd-nspawn --pack` has made, for as long as the block runs.

    With a passphrase, the key is wrapped by it. Raises `StiefelError` for what is not there.
    """
    found = without_key(config)
    # In memory, under a name that is gone with this process.
    with os.fdopen(os.memfd_create("stiefel-key"), "w+b") as file:
        file.write(_secrets(pack.secrets_of(config.paths.cpio), passphrase))
        file.flush()
        path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        yield replace(found, files={**found.files, SECRETS: path}, wrapped=passphrase is not None)


def without_key(config: Config) -> Contents:
    """The same, but for the key and the password. Raises `StiefelError` for what is missing."""
    image = config.paths.cpio
    parts = {KERNEL: pack.kernel_of(image), INITRD: image}
    for path in (*parts.values(), loaders.loaders_of(image)):
        if not path.exists():
            raise StiefelError(f"there is no ramdisk: {path} is missing", hint=_BUILD)
    setup = config.client_setup
    return Contents(
        files=parts,
        loaders=loaders.loaders_of(image),
        settings=Settings(inner=config.boot.cmdline, words=setup.cmdline, timeout=setup.timeout),
        first=setup.first_sector,
    )


def _secrets(archive: Path, passphrase: str | None) -> bytes:
    """The archive with what is secret, as it is to lie on the stick."""
    try:
        data = archive.read_bytes()
        entries = cpio.entries(data)
    except FileNotFoundError as error:
        raise StiefelError(f"there is no ramdisk: {archive} is missing", hint=_BUILD) from error
    except OSError as error:
        raise StiefelError(
            f"cannot read the key in {archive}: {error.strerror}",
            hint="run it as root, or as who has built the ramdisk",
        ) from error
    except ValueError as error:
        raise StiefelError(f"{archive} is damaged: {error}", hint=_BUILD) from error
    if tree.KEY_PATH not in {entry.name for entry in entries}:
        raise StiefelError(f"{archive} has no key", hint=_BUILD)
    if passphrase is None:
        return data
    return cpio.archive([_wrap(entry, passphrase) for entry in entries])


def _wrap(entry: cpio.Entry, passphrase: str) -> cpio.Entry:
    if entry.name != tree.KEY_PATH:
        return entry
    return replace(entry, name=WRAPPED, data=wrapped.wrap(entry.data, passphrase))
