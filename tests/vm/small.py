"""A small disk: a kernel and its initrd, three filesystems, and an OS of one program, writer.c.

Kernel and initrd are the virtual laptop's own, made by the real initramfs-tools, with our hook.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import cpio
from stiefelsystem.host.laptop import Laptop
from tests import capabilities

KINDS = ("ext4", "xfs", "btrfs")
MIB = 1 << 20
# Name, first MiB, and MiB: boot partition, and the least that mkfs makes for each, with some more.
PLACES = {"boot": (1, 95), "ext4": (96, 128), "xfs": (224, 320), "btrfs": (544, 256)}
_END = 801
_TOOLS = ("gcc", "mke2fs", "mkfs.xfs", "mkfs.btrfs", "fdisk", "sfdisk")
_UUID = "4d5a1e7c-0000-4000-8000-00000000000"  # and a digit
_UUIDS = {kind: f"{_UUID}{number}" for number, kind in enumerate(KINDS)}
_HERE = Path(__file__).resolve().parent
# What the initrd does not load by itself, since only its root's filesystem is its business.
_MODULES = cpio.archive(
    [cpio.Entry(name="conf/modules", mode=0o100644, data="\n".join(KINDS).encode() + b"\n")]
)
# Blocks that are smaller than a sector cannot be used.
_EXT4 = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"]
_CHECKS = {
    "ext4": ["e2fsck", "-f", "-n"],
    "xfs": ["xfs_repair", "-n", "-f"],
    "btrfs": ["btrfs", "check", "--readonly"],
}


@dataclass(frozen=True, kw_only=True)
class Small:
    """A small disk's image, and what it is booted from where nothing else boots it."""

    image: Path
    sector: int
    kernel: Path
    initrd: Path
    cmdline: str


def make(folder: Path, laptop: Laptop, *, table: str, sector: int, root: str) -> Small:
    """Make one in `folder`, with a partition table `gpt` or `dos`, logical sectors of so many
    bytes, and the root on one of `KINDS`."""
    capabilities.require_tools(*_TOOLS, *(command[0] for command in _CHECKS.values()))
    image, initrd = folder / "disk.img", folder / "initrd.img"
    with image.open("wb") as file:
        file.truncate(_END * MIB)
    with initrd.open("w+b") as file:
        file.write(laptop.initrd.read_bytes())
        cpio.append(file, _MODULES)
    _partition(image, table, sector)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        boot, tree, empty = _folders(Path(scratch))
        shutil.copy(laptop.kernel, boot / "vmlinuz-1")
        shutil.copy(initrd, boot / "initrd.img-1")
        _fill(image, "boot", [*_EXT4, "-L", "boot", "-d", str(boot)])
        for kind in KINDS:
            _fill(image, kind, _maker(kind, tree if kind == root else empty, sector))
    return Small(
        image=image,
        sector=sector,
        kernel=laptop.kernel,
        initrd=initrd,
        cmdline=f"root=UUID={_UUIDS[root]} ro console=ttyS0 loglevel=6 panic=1 oops=panic",
    )


def check(small: Small) -> None:
    """fsck of all three, which changes nothing, and must find nothing."""
    for kind in KINDS:
        part = small.image.with_name(f"{kind}.part")
        start, size = PLACES[kind]
        _copy(small.image, part, f"skip={start}", f"count={size}")
        done = subprocess.run([*_CHECKS[kind], part], capture_output=True, text=True, check=False)
        part.unlink()
        assert done.returncode == 0, f"{kind} is damaged:\n{done.stdout}\n{done.stderr}"


def _folders(folder: Path) -> tuple[Path, Path, Path]:
    """One for the kernel and its initrd, one with an OS in it, and an empty one."""
    boot, tree, empty = (folder / name for name in ("boot", "tree", "empty"))
    for path in (boot, empty, *(tree / name for name in ("dev", "proc", "sys", "run", "sbin"))):
        path.mkdir(parents=True)
    for kind in KINDS:
        (tree / "mnt" / kind).mkdir(parents=True)
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-static"]
    _run(["gcc", *flags, "-o", tree / "sbin/init", _HERE / "writer.c"])
    return boot, tree, empty


def _run(command: Sequence[str | Path], text: str | None = None) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"


def _copy(source: Path, to: Path, *words: str) -> None:
    words = (*words, "bs=1M", "conv=sparse,notrunc", "status=none")
    _run(["dd", f"if={source}", f"of={to}", *words])


def _partition(image: Path, table: str, sector: int) -> None:
    if table == "dos":
        places = (f"start={at}MiB, size={size}MiB\n" for at, size in PLACES.values())
        _run(["sfdisk", "--quiet", image], "label: dos\n" + "".join(places))
        return
    # Not every release of sfdisk can do with other sectors than a file's 512 bytes.
    each = MIB // sector
    orders = ["g"]
    for number, (at, size) in enumerate(PLACES.values(), 1):
        orders += ["n", str(number), str(at * each), str((at + size) * each - 1)]
    _run(["fdisk", "-b", str(sector), image], "\n".join([*orders, "w", ""]))


def _maker(kind: str, tree: Path, sector: int) -> list[str]:
    """The command that makes a filesystem of a folder, less the file's name."""
    if kind == "ext4":
        command = [*_EXT4, "-d", str(tree), "-U"]
    elif kind == "btrfs":
        command = ["mkfs.btrfs", "-q", "--rootdir", str(tree), "-U"]
    else:
        prototype = tree.with_suffix(".prototype")
        prototype.write_text("/\n0 0\n" + _prototype(tree, "d--755 0 0"))
        command = ["mkfs.xfs", "-q", "-f", "-s", f"size={sector}", "-p", str(prototype), "-m"]
        return [*command, f"uuid={_UUIDS[kind]}", "-L", kind]
    return [*command, _UUIDS[kind], "-L", kind]


def _prototype(folder: Path, line: str) -> str:
    """A folder as mkfs.xfs(8) wants it described."""
    lines = [line]
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            lines.append(_prototype(path, f"{path.name} d--755 0 0").rstrip("\n"))
        else:
            lines.append(f"{path.name} ---755 0 0 {path}")
    return "\n".join([*lines, "$", ""])


def _fill(image: Path, name: str, command: list[str]) -> None:
    """Make a filesystem as a file, and put it into its place."""
    start, size = PLACES[name]
    part = image.with_name(f"{name}.part")
    with part.open("wb") as file:
        file.truncate(size * MIB)
    _run([*command, part])
    _copy(part, image, f"seek={start}")
    part.unlink()
