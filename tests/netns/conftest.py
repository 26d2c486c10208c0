"""The ramdisk, and machines in network namespaces that run its programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import builds, capabilities, images
from tests.netns.machines import Hub


@pytest.fixture(scope="session")
def image() -> Path:
    """The ramdisk's image, of what is in the checkout."""
    capabilities.require_namespaces()
    capabilities.require_tools("debootstrap", "systemd-nspawn", "ethtool", "nbdinfo", "nbdcopy")
    return builds.ramdisk()


@pytest.fixture(scope="session")
def tree(image: Path) -> Path:
    """The tree that the image was packed from."""
    return image.parent / "initrd"


@pytest.fixture(scope="session")
def ramdisk(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's contents, and nothing else: what it lacks, its programs lack."""
    folder = tmp_path_factory.mktemp("ramdisk") / "root"
    images.unpack(image, folder)
    return folder


@pytest.fixture
def hub(ramdisk: Path, tmp_path: Path) -> Iterator[Hub]:
    with ExitStack() as stack:
        yield Hub(stack, ramdisk, tmp_path)
