"""EFI variables: which boot loader the firmware starts, and what that has noted.

The formats: UEFI specification, "Boot Manager"; the Boot Loader Interface of systemd; and Linux's
efivarfs, which puts 4 bytes of attributes before each value.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError

VARIABLES = Path("/sys/firmware/efi/efivars")
_FIRMWARE = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_MAX_SIZE = 64 << 10
_ACTIVE = 1
# A device path's node: type, subtype, and a length that counts these 4 bytes, too.
_NODE = struct.Struct("<BBH")
_FILE = (4, 4)  # a file's path, in the media device path


@dataclass(frozen=True)
class BootOption:
    """A Boot#### variable that starts a file: its name in the firmware's menu, and the path."""

    description: str
    path: str


def loader_text(tree: Tree, name: str) -> str:
    """A text of the Boot Loader Interface, such as LoaderInfo; empty where there is none."""
    return _text(_read(tree, f"{name}-{_LOADER}"))


def boot_options(tree: Tree) -> Iterator[BootOption]:
    """What the firmware tries to start, in its order; options that start no file left out."""
    order = _read(tree, f"BootOrder-{_FIRMWARE}")
    for (number,) in struct.iter_unpack("<H", order[: len(order) // 2 * 2]):
        data = _read(tree, f"Boot{number:04X}-{_FIRMWARE}")
        if option := parse_option(data):
            yield option


def parse_option(data: bytes) -> BootOption | None:
    """An EFI_LOAD_OPTION, if it is active and starts a file."""
    if len(data) < 6:
        return None
    attributes, length = struct.unpack_from("<IH", data)
    description, rest = _utf16(data[6:])
    path = _file_path(rest[:length])
    return BootOption(description, path) if path and attributes & _ACTIVE else None


def find_file(tree: Tree, path: str) -> Path | None:
    r"""Where the file that the firmware knows as `\EFI\…` is in the tree."""
    name = re.sub(r"[\\/]+", "/", path).strip("/")
    places = [point / name for point in tree.boot_points]
    return next((place for place in places if name and tree.is_file(place)), None)


def _read(tree: Tree, name: str) -> bytes:
    """A variable's value, without its attributes."""
    with suppress(StiefelError):  # most machines have not all of them
        return tree.read(VARIABLES / name, most=_MAX_SIZE)[4:]
    return b""


def _text(data: bytes) -> str:
    return _utf16(data)[0]


def _utf16(data: bytes) -> tuple[str, bytes]:
    """The text before the first NUL character, and what follows it."""
    size = len(data) // 2 * 2
    end = next((at for at in range(0, size, 2) if data[at : at + 2] == b"\0\0"), size)
    return data[:end].decode("utf-16-le", errors="replace"), data[end + 2 :]


def _file_path(nodes: bytes) -> str:
    """The file's path in a device path; it may be in several nodes."""
    parts, at = [], 0
    while at + _NODE.size <= len(nodes):
        kind, subtype, length = _NODE.unpack_from(nodes, at)
        if length < _NODE.size:
            break
        if (kind, subtype) == _FILE:
            parts.append(_text(nodes[at + _NODE.size : at + length]))
        at += length
    return "\\".join(parts)
