"""A guest's kernel that QEMU's emulation has broken is told from one that panics by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import pack
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds, capabilities


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("6550e482", "QEMU's emulation of the guest has failed"),
        ("00010246", "but the guest ended; its last words: '.*Rebooting"),
    ],
)
def test_flags(flags: str, message: str, tmp_path: Path) -> None:
    """The kernel says its command line, in the words of its report, and panics without a root."""
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn")
    guest = Hardware(
        name="guest",
        kernel=pack.kernel_of(builds.ramdisk()),
        cmdline=f"console=ttyS0 panic=1 EFLAGS: {flags}",
        mac="52:54:00:00:00:32",
        cable=(tmp_path / "unplugged", tmp_path / "nobody"),
        memory=512,
    )
    with pytest.raises(StiefelError, match=message), VirtualMachine(guest, tmp_path) as machine:
        machine.wait_for("what it never says", 120.0)
