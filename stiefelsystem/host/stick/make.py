"""What setup-client-usbdrive makes: a stick, an image of one, a folder for booting by network."""

from __future__ import annotations

import getpass
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from stiefelsystem import files
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError, say, step
from stiefelsystem.host.stick import compose, device, loaders
from stiefelsystem.host.stick import netboot as folders
from stiefelsystem.host.stick import update as updates
from stiefelsystem.host.stick import write as writing
from stiefelsystem.host.stick.contents import Contents, contents, without_key
from stiefelsystem.host.stick.device import Device
from stiefelsystem.host.stick.layout import MIB


def stick(
    path: Path,
    config: Config,
    *,
    update: bool,
    passphrase: Callable[[], str] | None,
    force_fixed: bool,
) -> None:
    """Write a stick, after showing what is on it and having its name typed; or update one.

    `passphrase` asks for one, which is done only where the device may become a stick. Raises
    `StiefelError` for a device that must not be written, and for what fails.
    """
    found = device.look(path)
    # Without the key, which is small enough to be covered by what is kept in reserve.
    least = compose.smallest(without_key(config))
    device.refuse(found, boot_disk=config.boot.disk, smallest=least, force_fixed=force_fixed)
    with contents(config, passphrase=passphrase() if passphrase else None) as parts:
        _tell(parts)
        if update:
            for line in device.describe(found):
                say(line)
            with _claimed(found):
                updates.update(Path(found.name), parts)
        else:
            if found.size < compose.comfortable(parts):
                say("It has no room for a second set: --update will not do, only writing it anew.")
            device.confirm(found)
            # Sparse, and as large as the stick. It holds the key, so it is gone with this process.
            with TemporaryFile(dir=config.paths.workdir) as file:
                image = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
                _compose(image, parts, size=found.size)
                writing.write(image, found)
    say(f"{found.name} is ready; it can be pulled out")


def image(
    file: Path,
    config: Config,
    *,
    update: bool = False,
    passphrase: Callable[[], str] | None = None,
) -> None:
    """Write an image of a stick, which replaces a former one as a whole; or update one.

    `passphrase` asks for one, which is done only where the file may become an image. Raises
    `StiefelError` for a file that is something else, and for what fails.
    """
    if "@@" in str(file):
        raise StiefelError(
            f"{file} has @@ in its name, behind which mtools expects a number",
            hint="name it without that",
        )
    _refuse_other_file(file, update=update)
    with contents(config, passphrase=passphrase() if passphrase else None) as parts:
        _tell(parts)
        if update:
            updates.update_image(file, parts)
        else:
            _replace(file, parts)
    size = file.stat().st_size // MIB
    say(f"{file} is ready: {size} MiB; like a stick, it holds the key")


def netboot(folder: Path, config: Config) -> None:
    """Write a folder for a boot server, without the key."""
    parts = without_key(config)
    _show_loaders(parts)
    folders.write(folder, parts)
    say(f"{folder} is ready; there is no key in it, and who boots from it has to get one")


def new_passphrase(config: Config) -> str:
    """Ask for a passphrase, twice, if there is a ramdisk at all.

    Raises `StiefelError` if the two differ, and for what cannot be typed on the desktop.
    """
    without_key(config)
    first = _ask("Passphrase for the stick: ")
    if not first:
        raise StiefelError("an empty passphrase protects nothing", hint="type another one")
    if not (first.isascii() and first.isprintable()):
        raise StiefelError(
            "the passphrase has characters that a US keyboard has not, which the desktop's is",
            hint="take letters, digits, blanks and signs of a US keyboard",
        )
    if _ask("The same again: ") != first:
        raise StiefelError("the two differ; nothing has been written", hint="try it again")
    return first


def _ask(question: str) -> str:
    """What is typed, unseen. Raises `StiefelError` where that cannot be."""
    try:
        with warnings.catch_warnings():
            # Without a terminal, getpass would show what is typed, after a warning.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(question)
    except (EOFError, getpass.GetPassWarning) as error:
        raise StiefelError(
            "there is nobody to ask for a passphrase", hint="run it in a terminal"
        ) from error


def _tell(parts: Contents) -> None:
    _show_loaders(parts)
    if not parts.wrapped:
        say("The stick will hold the key: whoever has it, or a copy, may use the laptop's disk.")
        say("With --passphrase, the desktop would ask for one first.")
    else:
        say("The stick will hold the key, wrapped by the passphrase.")


def _show_loaders(parts: Contents) -> None:
    say("the boot loaders are Debian's:")
    for line in loaders.digests(parts.loaders):
        say(f"  {line}")


def _refuse_other_file(file: Path, *, update: bool) -> None:
    if file.is_block_device():
        raise StiefelError(f"{file} is a device", hint="name it without --image")
    if file.exists() and not file.is_file():
        raise StiefelError(f"{file} is no file", hint="name a file in it, or another one")
    if update and not file.exists():
        raise StiefelError(f"there is no {file} to update", hint="without --update, it is made")
    if not file.parent.is_dir():
        raise StiefelError(f"cannot make {file}: there is no folder {file.parent}")
    if file.exists() and file.stat().st_size and not update:
        try:
            updates.open_stick(file)
        except StiefelError as error:
            hint = "name another file; or remove it, if it may go"
            raise StiefelError(f"{file} is there, and no image of a stick", hint=hint) from error


def _replace(file: Path, parts: Contents) -> None:
    file = file.resolve()  # by a link, what it leads to
    new = file.with_name(f".{file.name}.{os.urandom(8).hex()}.new")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _compose(new, parts, size=compose.comfortable(parts))
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
    files.belongs_to_invoker(file)


def _compose(image: Path, parts: Contents, *, size: int) -> None:
    with step("put the stick's contents together"):
        compose.compose(image, parts, size=size)


@contextmanager
def _claimed(found: Device) -> Iterator[None]:
    """For us alone: as long as the block runs, nobody mounts what is on the device."""
    try:
        handle = os.open(found.name, os.O_RDWR | os.O_EXCL)
    except OSError as error:
        raise StiefelError(f"cannot open {found.name} for writing: {error.strerror}") from error
    try:
        device.require_opened(found, handle)
        # While a passphrase was asked for, there was time.
        device.require_unchanged(found)
        yield
    finally:
        os.close(handle)
