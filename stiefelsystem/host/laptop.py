"""The demo's virtual laptop: a real, minimal Debian with our parts, on a partitioned disk image.

Nothing is mounted: the filesystems are made from folders, into their places in the image.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError, say, step
from stiefelsystem.host import debian
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.stamps import Stamp
from stiefelsystem.host.tree import SOURCE
from stiefelsystem.run import run

NAME = "laptop"
PASSWORD = "stiefel"
_PACKAGES = (
    "dbus",
    "linux-image-{architecture}",
    "python3-pyudev",
    "python3-yaml",
    "systemd-zram-generator",
)
_SETUP = SOURCE / "setup-server-os"
_OWN_PARTS = (SOURCE / "autokexec", SOURCE / "nbd-hook", SOURCE / "stiefelsystem", _SETUP)
# For Debian's kernel, modules and initrd: as its package makes the first one.
_FIRST_INITRD = """\
for modules in /lib/modules/*; do /etc/kernel/postinst.d/$0 "${modules##*/}"; done
"""
MIB = 1 << 20
_SECONDS = 1200.0
_BOOT = "boot"
_ROOT = "root"

_WIRED = """\
[Match]
Type=ether
[Network]
LinkLocalAddressing=ipv6
"""
_ZRAM = """\
[zram0]
zram-size = 64
"""


@dataclass(frozen=True)
class Partition:
    """A filesystem's place in the image, in bytes, and its UUID."""

    name: str
    offset: int
    size: int
    uuid: str


# The UUIDs are fixed, so that equal trees make equal images.
PARTITIONS = (
    Partition(_BOOT, 1 * MIB, 511 * MIB, str(uuid.uuid5(uuid.NAMESPACE_DNS, "boot.laptop"))),
    Partition(_ROOT, 512 * MIB, 2048 * MIB, str(uuid.uuid5(uuid.NAMESPACE_DNS, "root.laptop"))),
)
SWAP = Partition("swap", 2560 * MIB, 64 * MIB, str(uuid.uuid5(uuid.NAMESPACE_DNS, "swap.laptop")))


@dataclass(frozen=True)
class Kind:
    """A virtual laptop's name, what makes its initrds (the package of that name), and what else it
    has."""

    name: str
    generator: str
    packages: tuple[str, ...] = ()


DEMO = Kind("laptop", "initramfs-tools")


@dataclass(frozen=True)
class Laptop:
    """What a virtual laptop is booted from; the loader's part is played by QEMU.

    `tree` is the system with our parts, and `before` the same without them.
    """

    before: Path
    tree: Path
    image: Path
    kernel: Path
    initrd: Path
    cmdline: str


def build(config: Config, config_text: str, *, mirror: str | None, kind: Kind = DEMO) -> Laptop:
    """Make the laptop, or take the one that was made of just the same parts."""
    folder = config.paths.workdir / kind.name
    laptop = Laptop(
        folder / "before",
        folder / "tree",
        folder / "disk.img",
        folder / "vmlinuz",
        folder / "initrd.img",
        f"root=UUID={PARTITIONS[1].uuid} ro console=ttyS0 quiet panic=1 oops=panic",
    )
    names = (*_PACKAGES, kind.generator, *kind.packages)
    ours = (*_OWN_PARTS, config.paths.key, config.paths.cpio)
    stamp = Stamp(laptop.image, config_text, *names, *ours)
    if stamp.is_current():
        say(f"the virtual {kind.name} is as it should be")
        return laptop
    stamp.remove()
    files.make_folder(folder)
    packages = [name.format(architecture=debian.architecture()) for name in names]
    debian.packaged_tree(laptop.before, packages, debian.Supply(config.paths.cache, mirror))
    with step(f"{kind.name}: its own initrd, as before we come"):
        _configure(laptop.before)
        if not list((laptop.before / "boot").glob("initrd*")):
            # Not in a container, where dracut could make no device nodes.
            Root(laptop.before).run(["sh", "-ec", _FIRST_INITRD, kind.generator], timeout=_SECONDS)
    with step(f"{kind.name}: setup-server-os"):
        debian.remove_tree(laptop.tree)
        run(["cp", "--archive", "--reflink=auto", laptop.before, laptop.tree])
        set_up(laptop.tree, config_text, log=folder / "setup.log")
    with step(f"{kind.name}: write the disk image"):
        write_image(laptop)
    stamp.write()
    return laptop


def set_up(tree: Path, config_text: str, *options: str, log: Path) -> None:
    """Run setup-server-os for a tree, as a user does, with all questions answered by yes."""
    settings = log.with_suffix(".yaml")
    files.write(settings, config_text)
    with log.open("a") as file:
        command: list[str | Path] = [_SETUP, "--config", settings, "--root", tree, "--yes"]
        run([*command, *options], log=file, timeout=_SECONDS)


def _configure(tree: Path) -> None:
    """What every installed system has, and debootstrap leaves open."""
    boot, root = PARTITIONS
    files.write(
        tree / "etc/fstab",
        f"UUID={root.uuid} / ext4 defaults 0 1\nUUID={boot.uuid} /boot ext4 defaults 0 2\n"
        f"UUID={SWAP.uuid} none swap defaults 0 0\n",
    )
    files.write(tree / "etc/systemd/zram-generator.conf", _ZRAM)
    files.write(tree / "etc/hostname", f"{NAME}\n")
    files.write(tree / "etc/machine-id", "")
    files.write(tree / "etc/systemd/network/80-wired.network", _WIRED)
    debian.nspawn(tree, ["systemctl", "enable", "systemd-networkd.service"])
    # Nothing here waits for the internet.
    debian.nspawn(tree, ["systemctl", "mask", "systemd-networkd-wait-online.service"])
    debian.nspawn(tree, ["chpasswd"], text=f"root:{PASSWORD}\n")


def write_image(laptop: Laptop) -> None:
    """Make the disk of the tree, and take what QEMU boots it by: the newest kernel."""
    tree = laptop.tree
    boot, root = PARTITIONS
    new = laptop.image.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)  # the laptop holds the key, as a real one does
    os.truncate(new, SWAP.offset + SWAP.size + MIB)
    places = "".join(
        f"start={one.offset // 512}, size={one.size // 512}, type={kind}\n"
        for one, kind in ((boot, "L"), (root, "L"), (SWAP, "S"))
    )
    run(["sfdisk", "--quiet", new], text=f"label: gpt\n{places}")
    _make_swap(new)
    _make_filesystem(new, boot, tree / "boot")
    # /boot is a filesystem of its own: an empty one lies over it while the root's is made.
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$1" && shift && exec "$@"']
    _make_filesystem(new, root, tree, before=[*hide, "sh", str(tree / "boot")])
    shutil.copy(_newest(tree / "boot", "vmlinuz-*"), laptop.kernel)
    shutil.copy(_newest(tree / "boot", "initrd.img-*"), laptop.initrd)
    new.rename(laptop.image)
    files.belongs_to_invoker(laptop.image, laptop.kernel, laptop.initrd)


def _make_filesystem(
    image: Path, partition: Partition, contents: Path, *, before: Sequence[str] = ()
) -> None:
    blocks = f"{partition.size // 1024}k"
    options = ["-E", f"offset={partition.offset}", "-U", partition.uuid, "-L", partition.name]
    run([*before, "mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", contents, image, blocks])


def _make_swap(image: Path) -> None:
    # Apart: not every release of mkswap can begin at an offset.
    with tempfile.NamedTemporaryFile(dir=image.parent) as file:
        file.truncate(SWAP.size)
        run(["mkswap", "--quiet", "--uuid", SWAP.uuid, file.name])
        place = [f"of={image}", "bs=1M", f"seek={SWAP.offset // MIB}"]
        run(["dd", f"if={file.name}", *place, "conv=notrunc,sparse", "status=none"])


def _newest(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise StiefelError(f"the laptop's tree has no {pattern} in /boot")
    return found[-1]
