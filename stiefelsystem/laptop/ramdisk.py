"""The ramdisk that is started instead of this OS: put together in memory, and loaded for kexec."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stiefelsystem import cmdline, cpio, kexec
from stiefelsystem.config import Config, ServerSetup
from stiefelsystem.console import StiefelError, say

# Says, in the folder for what runs, that what is loaded is ours.
_MARK = "loaded"


def words(settings: Config) -> str:
    """The ramdisk's command line: what it is to serve, as it is now on this laptop.

    Raises `StiefelError` if it cannot be known what the desktop is to boot.
    """
    from stiefelsystem.laptop import served

    found = served.find(settings)
    say(f"to be served: {found.source}")
    for note in found.notes:
        say(note)
    for word, reason in found.dropped:
        say(f"the desktop does not get {word}: {reason}")
    target = served.server_settings(settings, found)
    return " ".join((cmdline.SERVER_UNIT, target.words(), settings.server_setup.cmdline)).strip()


def require_files(setup: ServerSetup, secrets: Path) -> None:
    """Raise `StiefelError` if a part of the ramdisk cannot be read."""
    for path in (setup.stiefelsystem_kernel, setup.stiefelsystem_initrd, secrets):
        try:
            path.open("rb").close()
        except OSError as error:
            raise _unreadable(error) from error


@contextmanager
def loaded(setup: ServerSetup, secrets: Path, words: str, *, folder: Path) -> Iterator[None]:
    """Load the ramdisk for kexec; it is forgotten again unless the block stops this OS.

    A mark in `folder` tells a later call that what is loaded was loaded here.
    """
    try:
        (folder / _MARK).touch()
        with os.fdopen(os.memfd_create("stiefel-ramdisk"), "w+b") as initrd:
            assemble(setup.stiefelsystem_initrd, secrets, initrd)
            kexec.load(setup.stiefelsystem_kernel, initrd, words)
        yield
    except BaseException:
        _unload(folder)
        raise


def require_loaded() -> None:
    """Raise `StiefelError` if somebody has unloaded it meanwhile."""
    if not kexec.is_loaded():
        raise StiefelError("somebody has unloaded the ramdisk meanwhile: kexec_loaded is 0")


def forget(folder: Path) -> None:
    """Forget what a program of ours has left loaded, that was killed: else the next reboot would
    start it, since `systemctl reboot` takes a loaded kernel."""
    if (folder / _MARK).exists():
        if kexec.is_loaded():
            say("a ramdisk was still loaded, by a program of ours that was killed: forgotten")
        _unload(folder)


def assemble(image: Path, secrets: Path, out: IO[bytes]) -> None:
    """The ramdisk as it boots: the image, which is no secret, and what is."""
    try:
        with image.open("rb") as file:
            shutil.copyfileobj(file, out)
        cpio.append(out, secrets.read_bytes())
    except OSError as error:
        raise _unreadable(error) from error
    out.flush()


def _unload(folder: Path) -> None:
    kexec.unload()
    if not kexec.is_loaded():
        (folder / _MARK).unlink(missing_ok=True)


def _unreadable(error: OSError) -> StiefelError:
    return StiefelError(
        f"cannot read the ramdisk: {error}", hint="install it again: sudo ./setup-server-os"
    )
