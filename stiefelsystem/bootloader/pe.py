"""The sections of an EFI program: as much of the PE/COFF format as tells where they lie.

Microsoft, "PE Format": at 0x3c stands where the signature is; the COFF header follows, then an
optional header, then the section table.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import IO

from stiefelsystem.console import StiefelError

_SIGNATURE_AT = struct.Struct("<60xI")
_COFF = struct.Struct("<4sHHIIIHH")  # with the signature
_SECTION = struct.Struct("<8sIIII16x")
# Windows loads no more than 96; a UKI with many profiles has a few dozen.
_MAX_SECTIONS = 512


@dataclass(frozen=True)
class Section:
    """A section: its name, and where in the file its bytes are."""

    name: str
    offset: int
    size: int


def sections(file: IO[bytes], name: str) -> list[Section]:
    """The sections of an EFI program, which errors call `name`.

    Raises `StiefelError` for what is none, or is cut short.
    """
    whole = file.seek(0, os.SEEK_END)
    start = _unpack(file, name, 0, _SIGNATURE_AT)[0]
    file.seek(0)
    if file.read(2) != b"MZ":
        raise StiefelError(f"{name} is no EFI program: it does not begin with MZ")
    magic, _, count, _, _, _, optional, _ = _unpack(file, name, start, _COFF)
    if magic != b"PE\0\0":
        raise StiefelError(f"{name} is no EFI program: it has no PE signature")
    if count > _MAX_SECTIONS:
        raise StiefelError(f"{name} is malformed: it has {count} sections")
    table = start + _COFF.size + optional
    found = []
    for index in range(count):
        entry = _unpack(file, name, table + index * _SECTION.size, _SECTION)
        label, virtual_size, _, raw_size, offset = entry
        text = label.rstrip(b"\0").decode("ascii", errors="replace")
        # In the file, a section is padded; in memory, what the file lacks would be zeros.
        size = min(virtual_size, raw_size)
        if offset + size > whole:
            raise StiefelError(f"{name} is cut short: its section {text} ends after the file")
        found.append(Section(text, offset, size))
    return found


def _unpack(file: IO[bytes], name: str, at: int, form: struct.Struct) -> tuple:  # type: ignore[type-arg]
    file.seek(at)
    data = file.read(form.size)
    if len(data) != form.size:
        raise StiefelError(f"{name} is no EFI program, or is cut short: its headers end too early")
    return form.unpack(data)
