"""Debian and its kin: initramfs-tools, whose hooks run with every update of a kernel."""

from __future__ import annotations

from stiefelsystem.host.server_os.parts import copy, hook, initrds
from stiefelsystem.host.setup.steps import Step

_FROM = "nbd-hook/initramfs-tools"
_TO = "/etc/initramfs-tools"


def steps() -> list[Step]:
    """The hook, the boot script, and the initrds made anew."""
    return [
        hook(
            copy(f"{_FROM}/hook", f"{_TO}/hooks/stiefelsystem", mode=0o755),
            copy(f"{_FROM}/local-top", f"{_TO}/scripts/local-top/stiefelsystem", mode=0o755),
        ),
        initrds("update-initramfs", "-u", "-k", "all"),
    ]
