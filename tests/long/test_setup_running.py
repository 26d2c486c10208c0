"""setup-server-os on the OS that runs, as a user calls it: in a virtual machine, with a loader.

The loader's part is played by QEMU, but its configuration is read as the laptop's own.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from stiefelsystem.host import laptop as laptops
from stiefelsystem.host import vm
from stiefelsystem.host.laptop import PARTITIONS, SWAP, Laptop
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds
from tests.vm import two
from tests.vm.console import ask, log_in

_HOME = "/root/stiefelsystem"
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
# All files but what remembers by its nature, what is made anew, and the checkout.
_SUMS = (
    f"find /boot /etc /usr -xdev -type f ! -name 'initrd.img-*' ! -path '{_HOME}/*' -print0"
    " | sort -z | xargs -0 sha256sum >/run/{name}; wc -l </run/{name}"
)
_SECONDS = 900.0


def with_checkout(made: Laptop, image: Path, folder: Path) -> Laptop:
    """The laptop as it was before, with a checkout and a ramdisk that was built."""
    tree, home = folder / "tree", folder / f"tree{_HOME}"
    subprocess.run(["cp", "-a", "--reflink=auto", made.before, tree], check=True)
    home.mkdir()
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=builds.REPO, stdout=subprocess.PIPE, check=True).stdout
    packed = ["cpio", "--quiet", "-0", "--pass-through", "--make-directories", home]
    subprocess.run(packed, cwd=builds.REPO, input=names, check=True)
    (home / "workdir").mkdir()
    for path in (image, image.with_suffix(".vmlinuz"), image.with_suffix(".key.cpio")):
        shutil.copy(path, home / "workdir" / path.name)
    shutil.copy(image.with_name("aes-key"), home / "aes-key")
    (home / "config.yaml").write_text(_CONFIG)
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    (tree / "boot/extlinux").mkdir()
    (tree / "boot/extlinux/extlinux.conf").write_text(
        _LOADER.format(
            version=kernel.name.removeprefix("vmlinuz-"), root=PARTITIONS[1].uuid, swap=SWAP.uuid
        )
    )
    laptop = replace(
        made,
        tree=tree,
        image=folder / "disk.img",
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd.img",
    )
    laptops.write_image(laptop)
    return laptop


def do(machine: VirtualMachine, command: str) -> str:
    """What a long command prints at its end; it must succeed."""
    at = machine.position
    machine.type(f"cd {_HOME}; {command} >/run/output 2>&1; echo sta''tus-$?\n")
    status = machine.wait_for(r"status-(\d+)", _SECONDS, after=at).group(1)
    said = ask(machine, "tail -n 40 /run/output")
    assert status == b"0", said
    return said


def test_there_and_back(tmp_path: Path) -> None:
    image, made = two.parts(updated=False)
    laptop = with_checkout(made, image, tmp_path)
    hardware = Hardware(
        name="laptop",
        kernel=laptop.kernel,
        initrd=laptop.initrd,
        cmdline=laptop.cmdline,
        mac="52:54:00:00:00:51",
        cable=vm.cable(tmp_path, "laptop", "nobody")["laptop"],
        disk=laptop.image,
    )
    with VirtualMachine(hardware, tmp_path) as machine:
        log_in(machine)
        found = do(machine, "./setup-server-os --check")
        assert "by syslinux's default entry 'debian'" in found
        assert "without resume=" in found
        before = ask(machine, _SUMS.format(name="before"))
        do(machine, "./setup-server-os --yes")
        assert ask(machine, "systemctl is-active stiefel-autokexec") == "active"
        assert "could serve now" in ask(machine, "stiefel-autokexec --check")
        assert "nothing to do" in do(machine, "./setup-server-os")
        assert "everything is taken back" in do(machine, "./setup-server-os --uninstall --yes")
        assert ask(machine, "systemctl is-active stiefel-autokexec") == "inactive"
        assert ask(machine, _SUMS.format(name="after")) == before
        assert ask(machine, "diff /run/before /run/after && echo same") == "same"
        machine.type("systemctl poweroff\n")
        machine.wait_until_off(_SECONDS)
    shutil.rmtree(tmp_path / "tree")
    laptop.image.unlink()
