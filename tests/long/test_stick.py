"""The whole way with Secure Boot: the ramdisk's kernel is locked down, and starts the laptop's."""

from __future__ import annotations

import pytest

from tests import builds, capabilities


@pytest.mark.parametrize("firmware", ["uefi", "secure-boot"])
def test_demo(firmware: str) -> None:
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn")
    builds.run_demo("--firmware", firmware)
