"""What goes into an initrd with systemd, for the generators that copy it from the system."""

from __future__ import annotations

from stiefelsystem.host.server_os.parts import LIBRARY, copy
from stiefelsystem.host.setup.steps import File

FOLDER = f"{LIBRARY}/initrd"


def files() -> tuple[File, ...]:
    """The unit that connects the disk, the program that it runs, and the initrd's generator."""
    source = "nbd-hook/systemd"
    return (
        copy(f"{source}/stiefel-link.service", f"{FOLDER}/stiefel-link.service"),
        copy(f"{source}/connect", f"{FOLDER}/connect", mode=0o755),
        copy(f"{source}/initrd-generator", f"{FOLDER}/initrd-generator", mode=0o755),
    )
