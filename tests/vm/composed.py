"""An image as mkinitcpio makes it on Arch, composed of the virtual laptop's programs and modules.

The hook, its settings and its units are ours, as they are installed; what calls them is a stand-in
for mkinitcpio (tests/unit/standins), and what else is in the image stands in for Arch's (arch/).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import zstandard

from stiefelsystem import cpio
from stiefelsystem.host import debian
from stiefelsystem.host.laptop import PARTITIONS, Laptop
from tests.unit import one_initrd

_ARCH = Path(__file__).with_name("arch")
_OURS = one_initrd.HOOKS / "mkinitcpio"


def image(laptop: Laptop, hooks: str, folder: Path) -> Path:
    """Compose the image of a laptop whose /etc/mkinitcpio.conf has these words in HOOKS; in
    `folder`, which is made."""
    _lay_out(folder, laptop.tree, hooks)
    (folder / "root").mkdir()
    places = {"BUILDROOT": "/mnt/root", "HOOK_FOLDER": "/mnt/hooks"}
    command = ["bash", "/mnt/compose"]
    debian.nspawn(laptop.tree, command, binds={folder: "/mnt"}, env=places, network=False)
    packed = folder / "image"
    with packed.open("wb") as file, zstandard.ZstdCompressor(threads=-1).stream_writer(file) as out:
        writer = cpio.Writer(out)
        for path in sorted((folder / "root").rglob("*")):
            writer.add_path(str(path.relative_to(folder / "root")), path)
        writer.close()
    return packed


def _lay_out(folder: Path, tree: Path, hooks: str) -> None:
    """What mkinitcpio finds on that machine."""
    etc, local = folder / "etc", folder / "local/stiefelsystem"
    (etc / "stiefelsystem").mkdir(parents=True)
    (etc / "mkinitcpio.conf").write_text(f"MODULES=(ext4)\nHOOKS=({hooks})\n")
    shutil.copy(_OURS / "mkinitcpio.conf", etc / "stiefelsystem")
    for name in ("passwd", "group"):
        shutil.copy(tree / "etc" / name, etc)
    shutil.copytree(one_initrd.HOOKS / "systemd", local / "initrd")
    shutil.copy(one_initrd.HOOKS / "lib", local / "nbd-hook-lib")
    for kind, own in (("install", "install"), ("hooks", "hook")):
        shutil.copytree(_ARCH / kind, folder / "hooks" / kind)
        shutil.copy(_OURS / own, folder / "hooks" / kind / "stiefelsystem")
    for name in ("mkinitcpio.sh", "mkinitcpio_init_functions.sh"):
        shutil.copy(one_initrd.STANDINS / name, folder)
    for name in ("compose", "init"):
        shutil.copy(_ARCH / name, folder)
    shutil.copy(shutil.which("busybox") or "", folder)


def put_into_boot(disk: Path, files: dict[str, Path]) -> None:
    """Put files into the boot partition of a laptop's disk."""
    for name, path in files.items():
        command = ["debugfs", "-w", "-R", f"write {path} {name}"]
        place = f"{disk}?offset={PARTITIONS[0].offset}"
        done = subprocess.run([*command, place], capture_output=True, text=True, check=True)
        # Its status tells nothing.
        assert "Allocated inode" in done.stdout, done.stderr
