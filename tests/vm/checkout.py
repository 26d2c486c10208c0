"""A virtual laptop with a checkout and a ramdisk that was built: for running our scripts there.

The loader's part is played by QEMU, but its configuration is read as the laptop's own.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from stiefelsystem.host import laptop as laptops
from stiefelsystem.host.laptop import PARTITIONS, SWAP, Laptop
from stiefelsystem.host.vm import VirtualMachine
from tests import builds
from tests.vm.console import ask

HOME = "/root/stiefelsystem"
SECONDS = 900.0
_CONFIG = """\
modules: [system-debian]
boot: {disk: /dev/vda}
"""
_LOADER = """\
DEFAULT debian
LABEL debian
  LINUX /vmlinuz-{version}
  INITRD /initrd.img-{version}
  APPEND root=UUID={root} ro console=ttyS0 resume=UUID={swap}
"""


def on_disk(made: Laptop, tree: Path, image: Path, folder: Path) -> Laptop:
    """A laptop whose disk has this tree, and what is said above; `image` is the ramdisk."""
    own, home = folder / "tree", folder / f"tree{HOME}"
    subprocess.run(["cp", "-a", "--reflink=auto", tree, own], check=True)
    home.mkdir()
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=builds.REPO, stdout=subprocess.PIPE, check=True).stdout
    packed = ["cpio", "--quiet", "-0", "--pass-through", "--make-directories", home]
    subprocess.run(packed, cwd=builds.REPO, input=names, check=True)
    (home / "workdir").mkdir()
    built = (image, *(image.with_suffix(end) for end in (".vmlinuz", ".key.cpio", ".loaders")))
    subprocess.run(["cp", "-a", *built, home / "workdir"], check=True)
    shutil.copy(image.with_name("aes-key"), home / "aes-key")
    (home / "config.yaml").write_text(_CONFIG)
    (kernel,) = (own / "boot").glob("vmlinuz-*")
    (own / "boot/extlinux").mkdir()
    (own / "boot/extlinux/extlinux.conf").write_text(
        _LOADER.format(
            version=kernel.name.removeprefix("vmlinuz-"), root=PARTITIONS[1].uuid, swap=SWAP.uuid
        )
    )
    laptop = replace(
        made,
        tree=own,
        image=folder / "disk.img",
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd.img",
    )
    laptops.write_image(laptop)
    shutil.rmtree(own)
    return laptop


def do(machine: VirtualMachine, command: str, *, status: int = 0) -> str:
    """What a long command prints at its end; it must end with this status."""
    at = machine.position
    machine.type(f"cd {HOME}; ({command}) >/run/output 2>&1; echo sta''tus-$?\n")
    found = machine.wait_for(r"status-(\d+)", SECONDS, after=at).group(1)
    said = ask(machine, "tail -n 40 /run/output")
    assert found == b"%d" % status, said
    return said
