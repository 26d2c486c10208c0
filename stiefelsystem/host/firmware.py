"""What a virtual PC starts with: a BIOS, UEFI, or UEFI that insists on Secure Boot.

Distributions tell where they keep UEFI firmware by QEMU's firmware descriptors (QEMU,
docs/interop/firmware.json).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from stiefelsystem.console import StiefelError

# A file takes the place of one with the same name in an earlier folder.
_FOLDERS = (Path("/usr/share/qemu/firmware"), Path("/etc/qemu/firmware"))
_SECURE = {"secure-boot", "enrolled-keys"}


class Firmware(Enum):
    """What starts a virtual PC."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "secure-boot"  # with Microsoft's keys


@dataclass(frozen=True)
class _Uefi:
    """UEFI firmware: what it can do, and its code and variables, as QEMU's options name them."""

    features: frozenset[str]
    code: str
    variables: str


def options(firmware: Firmware) -> list[str]:
    """QEMU's options. The machine's variables are forgotten when it ends.

    Raises `StiefelError` where there is no such firmware.
    """
    if firmware is Firmware.BIOS:
        return []
    found = _descriptor(_SECURE if firmware is Firmware.SECURE_BOOT else set())
    machine, protection = "q35", []
    if "requires-smm" in found.features:
        machine += ",smm=on"
        protection = ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    code = ["-drive", f"if=pflash,unit=0,readonly=on,{found.code}"]
    variables = ["-drive", f"if=pflash,unit=1,snapshot=on,{found.variables}"]
    return ["-machine", machine, *protection, *code, *variables]


def escaped(path: Path | str) -> str:
    """A path as it stands among an option's values, where a comma ends one."""
    return str(path).replace(",", ",,")


def _descriptor(features: set[str]) -> _Uefi:
    """The first firmware for a PC with just these features, as far as Secure Boot goes."""
    paths = {path.name: path for folder in _FOLDERS for path in folder.glob("*.json")}
    for name in sorted(paths):
        found = _read(paths[name])
        if found and _SECURE & found.features == features:
            return found
    kind = "UEFI with Secure Boot and keys for it" if features else "UEFI"
    raise StiefelError(f"there is no firmware for virtual PCs: {kind}", hint="install ovmf")


def _read(path: Path) -> _Uefi | None:
    """A descriptor of UEFI firmware for a PC, in two parts of flash memory: code, and variables.
    None for other firmware, and for an empty file, which hides one in an earlier folder."""
    try:
        text = path.read_text()
        found: dict[str, Any] = json.loads(text) if text.strip() else {"interface-types": []}
        mapping = found.get("mapping", {})
        fits = (
            "uefi" in found["interface-types"]
            and mapping["device"] == "flash"
            and mapping.get("mode", "split") == "split"
            and any(_is_pc(target) for target in found["targets"])
        )
        if not fits:
            return None
        return _Uefi(
            features=frozenset(found["features"]),
            code=_image(mapping["executable"]),
            variables=_image(mapping["nvram-template"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StiefelError(
            f"cannot understand the firmware's descriptor {path}: {error!r}",
            hint="reinstall the package that it is of",
        ) from error


def _image(fields: dict[str, str]) -> str:
    return f"format={fields['format']},file={escaped(Path(fields['filename']))}"


def _is_pc(target: dict[str, Any]) -> bool:
    """Whether a firmware is for QEMU's newer PC, which the options name."""
    machines = target["machines"]
    return target["architecture"] == "x86_64" and any("pc-q35" in name for name in machines)
