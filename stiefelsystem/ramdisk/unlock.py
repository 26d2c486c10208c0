"""The shared key of this ramdisk: as it is, or wrapped, and then by its passphrase."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from stiefelsystem import keys
from stiefelsystem.console import StiefelError, say

_QUESTION = "type the passphrase of this stick, then Enter; the keyboard is a US one here"
# After each wrong passphrase, one second longer.
_LONGEST_PAUSE = 10

Ask = Callable[[str], Generator[str, None, None]]


def key(path: Path, ask: Ask | None = None) -> bytes:
    """The key at `path`; or that at `path` with `.wrapped` behind it, as soon as whoever is here
    has typed its passphrase. That is kept in memory only.

    Raises `StiefelError` where there is neither, or what is there is no such file.
    """
    wrapped = path.with_name(f"{path.name}.wrapped")
    if path.exists():
        return keys.load(path)
    if wrapped.exists():
        return _unwrapped(wrapped, ask)
    raise StiefelError(
        "this ramdisk has no key, and no laptop answers without one",
        hint="boot from a stick that setup-client-usbdrive has made, or give the kernel key.cpio "
        "behind initrd.img",
    )


def _unwrapped(path: Path, ask: Ask | None) -> bytes:
    from stiefelsystem import wrapped
    from stiefelsystem.ramdisk import keyboards

    with path.open("rb") as file:
        data = file.read(max(wrapped.SIZES) + 1)
    wrapped.check(data)
    pause = 0
    with closing((ask or keyboards.answers)(_QUESTION)) as passphrases:
        for passphrase in passphrases:
            say("trying the passphrase, which takes a few seconds")
            try:
                return wrapped.unwrap(data, passphrase)
            except wrapped.WrongPassphrase as error:
                say(str(error))
            pause = min(pause + 1, _LONGEST_PAUSE)
            time.sleep(pause)
    raise AssertionError("the questions never end")
