"""The whole way, on two virtual machines: a laptop's own Debian runs on a desktop."""

from __future__ import annotations

from tests import builds, capabilities


def test_demo_boots_and_what_was_written_is_on_the_laptops_disk() -> None:
    """`--check` ends with 0 only if the file is in the image and both filesystems are clean."""
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn")
    builds.run_demo()
