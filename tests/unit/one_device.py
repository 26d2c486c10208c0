"""A device as lsblk tells of it, and whether it may become a stick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import device as devices
from stiefelsystem.host.stick.device import Device

GB = 10**9


def node(name: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What lsblk says of one device, with its columns' keys; `-` is `_` here."""
    said = {
        "name": f"/dev/{name}",
        "type": "part",
        "maj:min": "8:17",
        "pkname": None,
        "size": 15 * GB,
        "log-sec": 512,
        "ro": False,
        "rm": False,
        "tran": None,
        "model": None,
        "vendor": None,
        "serial": None,
        "fstype": None,
        "label": None,
        "mountpoints": [None],
    }
    said |= {{"log_sec": "log-sec", "number": "maj:min"}.get(k, k): v for k, v in fields.items()}
    return {**said, "children": [*children]} if children else said


def read(top: dict[str, Any], path: str = "", *, claimed: bool = False) -> Device:
    text = json.dumps({"blockdevices": [top]})
    return devices.parse(text, Path(path or top["name"]), claimed=claimed)


def stick(*children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A USB stick, such as there are many."""
    of_a_stick = {
        "type": "disk",
        "number": "8:16",
        "rm": True,
        "tran": "usb",
        "model": "Ultra Fit",
        "vendor": "SanDisk ",
        "serial": "4C530001",
    }
    return node("sdb", *children, **{**of_a_stick, **fields})


def refusal(device: Device, *, force_fixed: bool = False, smallest: int = GB) -> tuple[str, str]:
    """Message and hint; both empty where the device is taken."""
    try:
        devices.refuse(device, boot_disk=None, smallest=smallest, force_fixed=force_fixed)
    except StiefelError as error:
        return str(error), error.hint
    return "", ""
