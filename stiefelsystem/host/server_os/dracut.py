"""Gentoo, Fedora, and whoever else has dracut: a module that goes into each of its initrds."""

from __future__ import annotations

from stiefelsystem.host.server_os import initrd_units
from stiefelsystem.host.server_os.parts import copy, hook, initrds
from stiefelsystem.host.setup.steps import Step

_FROM = "nbd-hook/dracut"
_TO = "/usr/lib/dracut/modules.d/50stiefelsystem"


def steps() -> list[Step]:
    """The module, and the initrds made anew."""
    return [
        hook(
            *initrd_units.files(),
            copy(f"{_FROM}/module-setup.sh", f"{_TO}/module-setup.sh", mode=0o755),
            copy(f"{_FROM}/connect.sh", f"{_TO}/connect.sh", mode=0o755),
        ),
        initrds("dracut", "--regenerate-all", "--force"),
    ]
