"""What the target's initrd gets in a second archive: the link keeper, and this session's settings.

The keeper (nbd-hook/keeper) was built with the ramdisk, so that it always fits what it meets; the
target's own initrd only has to start it. The settings hold the session's keys: they lie in the
initrd's memory, readable for root alone, until the keeper has read and removed them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stiefelsystem import cpio
from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk.exchange import Secrets

_PROGRAM = Path("/usr/lib/stiefelsystem/stiefel-link")
_FOLDER = "stiefelsystem"
# Of a wrong value, in the error.
_SHOWN = 80
_ADDRESS, _NUMBER, _KEY = "fe80::[0-9a-f:]{1,19}", "[0-9]{1,5}", "[0-9a-f]{64}"
# Fields of the server's answer, by their names in the keeper's file, and what they may hold.
_FIELDS = {
    "address": ("client", _ADDRESS),
    "server": ("server", _ADDRESS),
    "port": ("port", _NUMBER),
    "export": ("export", "[a-z0-9-]{1,64}"),
    "sector": ("sector_size", _NUMBER),
    "connections": ("connections", "[0-9]{1,2}"),
    "end-port": ("end-port", _NUMBER),
}
# Only where there is a tunnel; the keeper refuses them where there is none.
_TUNNEL_FIELDS = {
    "peer": ("tunnel", _KEY),
    "wg-port": ("tunnel-port", _NUMBER),
    "inner-address": ("inner-client", _ADDRESS),
    "inner-server": ("inner-server", _ADDRESS),
}


def session(answer: dict[str, Any], mac: str, secrets: Secrets, private: bytes | None) -> str:
    """The keeper's settings file: lines of `name=value` (nbd-hook/keeper/session.c).

    Raises `StiefelError` for an answer that has not what the keeper needs.
    """
    values = {"mac": mac, "end": secrets.end.hex(), "ended": secrets.ended.hex()}
    fields = dict(_FIELDS)
    if answer.get("tunnel") is None:
        values["encryption"] = "none"
    elif private is None:
        raise StiefelError("the laptop answers with a tunnel that was not asked for")
    else:
        values |= {"encryption": "wireguard", "private": private.hex()}
        values["preshared"] = secrets.preshared.hex()
        fields |= _TUNNEL_FIELDS
    values |= {name: _checked(answer, *field) for name, field in fields.items()}
    return "".join(f"{name}={value}\n" for name, value in values.items())


def archive(settings: str, program: Path = _PROGRAM) -> bytes:
    """The second archive, as it is appended to the target's initrd."""
    try:
        content = program.read_bytes()
    except OSError as error:
        raise StiefelError(
            f"cannot read the link keeper {program}: {error.strerror}",
            hint="the ramdisk was built without it; build it again",
        ) from error
    entry = cpio.Entry
    return cpio.archive(
        [
            entry(name=_FOLDER, mode=0o40700),
            entry(name=f"{_FOLDER}/stiefel-link", mode=0o100700, data=content),
            entry(name=f"{_FOLDER}/session", mode=0o100600, data=settings.encode()),
        ]
    )


def _checked(answer: dict[str, Any], field: str, allowed: str) -> str:
    value = answer.get(field)
    if not isinstance(value, str | int) or not re.fullmatch(allowed, str(value)):
        shown = repr(value)[:_SHOWN]
        raise StiefelError(f"the laptop's answer is not what the target needs: {field}: {shown}")
    return str(value)
