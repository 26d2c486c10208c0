"""The second archive, behind initrds of all compressions, as Linux itself reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stiefelsystem import cpio
from stiefelsystem.cpio import Entry
from stiefelsystem.host import pack
from stiefelsystem.host.vm import Hardware, VirtualMachine
from stiefelsystem.ramdisk import keeper
from tests import builds, capabilities

_SECONDS = 120.0
# Of lz4's formats, Linux reads the legacy one.
_COMPRESSORS = {
    "gzip": ["gzip", "-9"],
    "xz": ["xz", "--check=crc32"],
    "zstd": ["zstd", "--quiet", "-19"],
    "lz4": ["lz4", "-l", "-9"],
}


@pytest.fixture(scope="module")
def kernel() -> Path:
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn", "gcc")
    return pack.kernel_of(builds.ramdisk())


@pytest.fixture(scope="module")
def first_archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("init")
    source = Path(__file__).with_name("appended.c")
    command = ["gcc", "-static", "-Os", "-s", "-o", folder / "init", source]
    subprocess.run(command, check=True, timeout=60)
    return cpio.archive([Entry(name="init", mode=0o100755, data=(folder / "init").read_bytes())])


@pytest.mark.parametrize("name", _COMPRESSORS)
def test_linux_finds_both(name: str, kernel: Path, first_archive: bytes, tmp_path: Path) -> None:
    command = _COMPRESSORS[name]
    capabilities.require_tools(command[0])
    done = subprocess.run(command, input=first_archive, capture_output=True, check=True)
    program = tmp_path / "stiefel-link"
    program.write_bytes(bytes(range(256)) * 11)
    initrd = tmp_path / "initrd"
    with initrd.open("w+b") as file:
        file.write(done.stdout)
        cpio.append(file, keeper.archive("mac=of the second archive\n", program))
    machine = Hardware(
        name="target",
        kernel=kernel,
        initrd=initrd,
        cmdline="console=ttyS0 quiet panic=1",
        mac="52:54:00:00:00:31",
        cable=(tmp_path / "unplugged", tmp_path / "nobody"),
        memory=512,
    )
    with VirtualMachine(machine, tmp_path) as target:
        target.wait_for("found 100600 100700 2816: mac=of the second archive", _SECONDS)
