"""A ramdisk and boot loaders of a few kilobytes, as the build leaves them, and what is on a stick
that was made of them."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path

from stiefelsystem import config, cpio
from stiefelsystem.config import Config
from stiefelsystem.host import pack, tree
from stiefelsystem.host.stick import loaders
from stiefelsystem.host.stick.layout import GRUB, SECTOR
from tests import capabilities

KEY = hashlib.sha256(b"the key of the fake ramdisk").digest()
HASH = b"root:$y$j9T$hash-of-a-password:19000::::::\n"
# GRUB's boot.img is as large as a sector, and its table of partitions is empty.
BOOT = bytes(range(1, 251)) + bytes(range(1, 250)) + bytes(11) + b"\x55\xaa"
CORE = random.Random(1).randbytes(61 * SECTOR + 7)
NUMBERS = random.Random(2)


def require_tools() -> None:
    capabilities.require_tools("sfdisk", "mkfs.vfat", "mcopy")


def secrets(key: bytes = KEY) -> bytes:
    folder = cpio.Entry(name="etc/stiefelsystem", mode=0o40755)
    entries = [
        cpio.Entry(name=tree.KEY_PATH, mode=0o100600, data=key),
        cpio.Entry(name="etc/shadow", mode=0o100600, data=HASH),
    ]
    return cpio.archive([folder, *entries])


def new_ramdisk(image: Path, size: int = 300_000) -> None:
    """Another kernel and image, at the same place; the key stays."""
    image.write_bytes(NUMBERS.randbytes(size))
    pack.kernel_of(image).write_bytes(NUMBERS.randbytes(100_001))


def settings(folder: Path, *lines: str) -> Config:
    """A configuration in an empty folder, and all that the build would make for it."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    words = (
        "modules: [system-debian]",
        "boot: {disk: /dev/vda, cmdline: inner=word}",
        "paths: {workdir: work}",
        *lines,
    )
    path.write_text("\n".join(words) + "\n")
    made = config.load(path)
    image = made.paths.cpio
    image.parent.mkdir()
    new_ramdisk(image)
    secret = pack.secrets_of(image)
    secret.write_bytes(secrets())
    secret.chmod(0o600)
    _lay_out_loaders(loaders.loaders_of(image))
    return made


def _lay_out_loaders(folder: Path) -> None:
    efi = {f"EFI/BOOT/{name}": name.encode() * 99 for name in ("BOOTX64.EFI", "mmx64.efi")}
    modules = {f"{GRUB}/i386-pc/{n}": n.encode() * 9 for n in ("normal.mod", "command.lst")}
    esp = {**efi, **modules, "EFI/BOOT/grubx64.efi": b"grub" * 9}
    net = {**efi, **modules, "EFI/BOOT/grubx64.efi": b"grubnet" * 9}
    wanted = {
        **{f"{loaders.ESP}/{name}": data for name, data in esp.items()},
        **{f"{loaders.NET}/{name}": data for name, data in net.items()},
        loaders.NET_BIOS_CORE: b"core.0",
        loaders.BIOS_BOOT: BOOT,
        loaders.BIOS_CORE: CORE,
        loaders.PACKAGES: b"grub-pc-bin 2.12-9\n",
    }
    for name, data in wanted.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def mtools(tool: str, image: Path, *words: str, first: int = 2048) -> bytes:
    """What a tool of mtools' prints about the stick's filesystem."""
    return subprocess.run(
        [tool, "-i", f"{image}@@{first * SECTOR}", *words],
        env={"PATH": os.environ["PATH"], "MTOOLSRC": "/dev/null", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    ).stdout


def read(image: Path, name: str, *, first: int = 2048) -> bytes:
    return mtools("mcopy", image, f"::{name}", "-", first=first)


def names(image: Path, *, first: int = 2048) -> set[str]:
    """All files on the stick."""
    lines = mtools("mdir", image, "-/", "-b", "-a", "::", first=first).decode().splitlines()
    return {line.removeprefix("::/") for line in lines if not line.endswith("/")}


def unpacked(image: Path, folder: Path, *, first: int = 2048) -> Path:
    """The stick's files in a new folder."""
    folder.mkdir()
    mtools("mcopy", image, "-s", "::*", str(folder), first=first)
    return folder


def fsck(image: Path, folder: Path, *, first: int = 2048) -> subprocess.CompletedProcess[str]:
    """What fsck says about the stick's filesystem; it changes nothing."""
    apart = folder / "filesystem"
    with image.open("rb") as source, apart.open("wb") as target:
        source.seek(first * SECTOR)
        while data := source.read(1 << 20):
            if any(data):
                target.write(data)
            else:
                target.seek(len(data), os.SEEK_CUR)
        target.truncate()
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return subprocess.run(
        ["fsck.vfat", "-n", "-v", str(apart)],
        env={"PATH": path, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
