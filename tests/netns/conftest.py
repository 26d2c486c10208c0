"""The ramdisk's tree, and machines in network namespaces that run its programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import builds, capabilities
from tests.netns.machines import Hub


@pytest.fixture(scope="session")
def tree() -> Path:
    """The ramdisk's tree, as create-initrd-nspawn makes it of what is in the checkout."""
    capabilities.require_namespaces()
    capabilities.require_tools("debootstrap", "systemd-nspawn", "ethtool", "nbdinfo", "nbdcopy")
    return builds.ramdisk_tree()


@pytest.fixture
def hub(tree: Path, tmp_path: Path) -> Iterator[Hub]:
    with ExitStack() as stack:
        yield Hub(stack, tree, tmp_path)
