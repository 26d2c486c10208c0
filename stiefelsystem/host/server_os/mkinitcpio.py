"""Arch with mkinitcpio: an image of our own, for machines that are not this one."""

from __future__ import annotations

from stiefelsystem.bootloader import loaders
from stiefelsystem.console import StiefelError
from stiefelsystem.host.server_os import initrd_units
from stiefelsystem.host.server_os.parts import ETC, copy
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Command, File, Step, WriteFiles
from stiefelsystem.host.tree import SOURCE
from stiefelsystem.laptop import presets

_FROM = "nbd-hook/mkinitcpio"
_KERNEL = "/boot/vmlinuz-linux"
IMAGE = "/boot/initramfs-stiefel.img"


def steps(root: Root) -> list[Step]:
    """The hook, the image's own settings and preset, what makes it anew with each kernel, and what
    makes the user's own images while this OS runs on a desktop."""
    preset = (SOURCE / _FROM / "stiefelsystem.preset").read_text()
    preset = preset.replace(f"'{_KERNEL}'", f"'{kernel(root)}'")
    return [
        WriteFiles(
            id="hook",
            purpose="an image for desktops, beside yours, and what makes it anew with each kernel",
            needs=("programs",),
            files=(
                *initrd_units.files(),
                copy(f"{_FROM}/install", "/etc/initcpio/install/stiefelsystem"),
                copy(f"{_FROM}/hook", "/etc/initcpio/hooks/stiefelsystem"),
                copy(f"{_FROM}/mkinitcpio.conf", f"{ETC}/mkinitcpio.conf"),
                copy(f"{_FROM}/own-images.conf", "/etc/mkinitcpio.conf.d/stiefelsystem.conf"),
                File(path=presets.OURS, content=preset.encode(), mode=0o644, ours=True),
                copy(f"{_FROM}/95-stiefelsystem.hook", "/etc/pacman.d/hooks/95-stiefelsystem.hook"),
            ),
        ),
        Command(
            id="initrd",
            purpose=f"make the image for desktops, {IMAGE}",
            needs=("programs", "hook"),
            argv=("mkinitcpio", "-p", "stiefelsystem"),
            take_back=("rm", "-f", IMAGE),
            makes=IMAGE,
        ),
    ]


def kernel(root: Root) -> str:
    """The kernel that the image is made for: the one that is booted by default, or the only one
    that has a preset."""
    known = presets.kernels(root.path)
    try:
        default = loaders.default(root.path)
    except StiefelError:
        default = None
    if default and str(default.kernel) in known:
        return str(default.kernel)
    return known[0] if len(known) == 1 else _KERNEL
