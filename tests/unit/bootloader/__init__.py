"""What the tests of the boot loaders share: systems' trees, EFI programs and EFI variables.

The samples beside this are written for the tests, in the manner of what the tools make.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

SAMPLES = Path(__file__).parent
FIRMWARE = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
VARIABLES = "sys/firmware/efi/efivars"


def sample(name: str) -> str:
    return (SAMPLES / name).read_text()


def make(root: Path, contents: Mapping[str, str | bytes]) -> Path:
    """A tree of files below `root`."""
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def empty(*names: str) -> dict[str, str]:
    """Files that need only be there."""
    return dict.fromkeys(names, "")


def environment(**variables: str) -> str:
    """GRUB's environment block."""
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    return ("# GRUB Environment Block\n" + lines).ljust(1024, "#")


def program(*sections: tuple[str, bytes], padding: int = 512) -> bytes:
    """An EFI program with these sections, each padded in the file as linkers do."""
    optional = 112
    table = 64 + 24 + optional
    offset = -(-(table + 40 * len(sections)) // padding) * padding
    headers, bodies = b"", b""
    for name, content in sections:
        raw = content.ljust(-(-len(content) // padding) * padding, b"\0")
        headers += struct.pack(
            "<8sIIIIIIHHI",
            *(name.encode(), len(content), 0, len(raw), offset + len(bodies), 0, 0, 0, 0, 0),
        )
        bodies += raw
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(sections), 0, 0, 0, optional, 0)
    return (dos + coff + bytes(optional) + headers).ljust(offset, b"\0") + bodies


def variable(content: bytes) -> bytes:
    """An EFI variable's file: attributes first."""
    return struct.pack("<I", 7) + content


def loader_variables(**texts: str) -> dict[str, bytes]:
    """Variables of the Boot Loader Interface."""
    return {
        f"{VARIABLES}/{name}-{LOADER}": variable((text + "\0").encode("utf-16-le"))
        for name, text in texts.items()
    }


def load_option(path: str, *, active: bool = True) -> bytes:
    """An EFI_LOAD_OPTION that starts a file on some partition."""
    name = (path + "\0").encode("utf-16-le")
    disk = struct.pack("<BBH", 4, 1, 42) + bytes(38)
    file = struct.pack("<BBH", 4, 4, 4 + len(name)) + name
    end = struct.pack("<BBH", 0x7F, 0xFF, 4)
    nodes = disk + file + end
    title = "some system\0".encode("utf-16-le")
    return struct.pack("<IH", int(active), len(nodes)) + title + nodes


def boot_variables(*options: bytes) -> dict[str, bytes]:
    """The firmware's boot options, in this order."""
    numbers = range(0x1A, 0x1A + len(options))
    found = {
        f"{VARIABLES}/BootOrder-{FIRMWARE}": variable(struct.pack(f"<{len(options)}H", *numbers))
    }
    for number, option in zip(numbers, options, strict=True):
        found[f"{VARIABLES}/Boot{number:04X}-{FIRMWARE}"] = variable(option)
    return found
