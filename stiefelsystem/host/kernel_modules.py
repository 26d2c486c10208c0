"""Which of the kernel's modules go into the ramdisk: classes, each with its reason, and their
dependencies."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.run import run

# Globs below /usr/lib/modules/VERSION/kernel. A folder takes what is below it.
CLASSES = (
    # The link: wired NICs on PCI, USB and thunderbolt, and their PHYs.
    "drivers/net/ethernet",
    "drivers/net/mdio",
    "drivers/net/phy",
    "drivers/net/pcs",
    "drivers/net/thunderbolt",
    "drivers/net/usb",
    "drivers/net/virtio_net.ko*",
    # The laptop's disk.
    "drivers/ata",
    "drivers/block/loop.ko*",
    "drivers/block/virtio_blk.ko*",
    "drivers/mmc",
    "drivers/nvme/host",
    "drivers/pci/controller/vmd.ko*",
    "drivers/scsi/scsi_mod.ko*",
    "drivers/scsi/sd_mod.ko*",
    "drivers/scsi/sr_mod.ko*",
    "drivers/scsi/virtio_scsi.ko*",
    "drivers/ufs",
    "drivers/usb/storage",
    # Its layers, and the throwaway snapshot of the boot partition.
    "drivers/md/dm-crypt.ko*",
    "drivers/md/dm-mod.ko*",
    "drivers/md/dm-snapshot.ko*",
    # What /boot may be.
    "fs/autofs",  # systemd asks for it
    "fs/btrfs",
    "fs/ext4",
    "fs/fat",
    "fs/nls",
    "fs/xfs",
    # The way to both: buses, keyboards, VMs, hardware random numbers.
    "drivers/char/hw_random",
    "drivers/hid/hid-generic.ko*",
    "drivers/hid/hid.ko*",
    "drivers/hid/usbhid",
    "drivers/input/keyboard",
    "drivers/input/serio",
    "drivers/thunderbolt",
    "drivers/usb/core",
    "drivers/usb/host",
    "drivers/virtio",
    # AES and CRCs of the filesystems and of LUKS.
    "arch/*/crypto",
    "crypto",
    "lib",
)


def select(modules: Path, to: Path) -> None:
    """Copy the chosen modules of `modules` (…/usr/lib/modules/VERSION) below `to`, uncompressed.

    Uncompressed, since the ramdisk is compressed as a whole, much better than file by file. The
    signatures, which Secure Boot wants, stay. `to` becomes the root of a tree with the same paths.
    """
    version = modules.name
    target = to / "usr/lib/modules" / version
    chosen = _chosen(modules)
    for name in sorted(chosen | _dependencies(modules, chosen)):
        _copy(modules / name, target / name)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (modules / name).exists():
            shutil.copy(modules / name, target / name)
    # depmod looks below BASE/lib/modules.
    (to / "lib").symlink_to("usr/lib")
    run(["depmod", "-b", to, version])
    (to / "lib").unlink()


def _chosen(modules: Path) -> set[str]:
    chosen: set[str] = set()
    for pattern in CLASSES:
        for found in (modules / "kernel").glob(pattern):
            files = found.rglob("*.ko*") if found.is_dir() else [found]
            chosen |= {str(file.relative_to(modules)) for file in files}
    if not chosen:
        raise StiefelError(f"no kernel modules in {modules}", hint="build the ramdisk's tree again")
    return chosen


def _dependencies(modules: Path, chosen: set[str]) -> set[str]:
    """All that modules.dep (depmod(8): `module: dependency …`, transitive) names for `chosen`."""
    needed: set[str] = set()
    for line in (modules / "modules.dep").read_text().splitlines():
        module, _, dependencies = line.partition(":")
        if module in chosen:
            needed.update(dependencies.split())
    return needed


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".xz":
        with lzma.open(source) as packed, target.with_suffix("").open("wb") as file:
            shutil.copyfileobj(packed, file)
    else:
        shutil.copy(source, target)
