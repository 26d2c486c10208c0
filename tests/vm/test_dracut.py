"""A real Debian on the desktop whose initrd was made by dracut, with systemd in it.

It comes from a boot partition with FAT, as one EFI program with microcode, kernel and initrd;
`test_autokexec` has the same laptop with kernel and initrd as files of their own.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from stiefelsystem.host import debian
from stiefelsystem.host.laptop import MIB, PARTITIONS, Laptop
from tests import builds, capabilities, images
from tests.vm import two
from tests.vm.console import ask, log_in

_FILE = "/root/written"
_BOOT, _ROOT = PARTITIONS
_IMAGE = "EFI/Linux/debian.efi"
_VOLUME = "5741-4C4B"


def unify(laptop: Laptop, folder: Path) -> Path:
    """Join the laptop's newest kernel and initrd, by systemd's own program."""
    (folder / "ucode").write_bytes(images.microcode())
    version = builds.new_kernel(laptop)
    command = ["ukify", "build", f"--linux=/boot/vmlinuz-{version}", "--output=/mnt/image.efi"]
    command += [f"--initrd=/boot/initrd.img-{version}", "--microcode=/mnt/ucode"]
    command += [f"--uname={version}", "--cmdline=of its own"]
    debian.nspawn(laptop.tree, command, binds={folder: "/mnt"}, network=False)
    return folder / "image.efi"


def make_boot_partition(disk: Path, image: Path) -> None:
    """Replace the one of a laptop's disk by a partition as UEFI has it, with only this image."""
    place = [f"seek={_BOOT.offset // MIB}", "count=1", "bs=1M", "conv=notrunc", "status=none"]
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}", *place], check=True)
    numbers = ["--offset", str(_BOOT.offset // 512), "-i", _VOLUME.replace("-", "")]
    size = str(_BOOT.size // 1024)
    subprocess.run(
        ["mkfs.vfat", "-F", "32", *numbers, disk, size], check=True, stdout=subprocess.DEVNULL
    )
    drive = f"{disk}@@{_BOOT.offset}"
    for folder in ("EFI", "EFI/Linux"):
        subprocess.run(["mmd", "-i", drive, f"::{folder}"], check=True)
    subprocess.run(["mcopy", "-i", drive, image, f"::{_IMAGE}"], check=True)
    table = image.with_name("fstab")
    table.write_text(
        f"UUID={_ROOT.uuid} / ext4 defaults 0 1\nUUID={_VOLUME} /boot vfat defaults 0 2\n"
    )
    root = f"{disk}?offset={_ROOT.offset}"
    for request in ("rm etc/fstab", f"write {table} etc/fstab"):
        subprocess.run(["debugfs", "-w", "-R", request, root], check=True, capture_output=True)


def test_a_session(tmp_path: Path) -> None:
    capabilities.require_tools("mkfs.vfat", "mcopy", "debugfs")
    disk = tmp_path / "disk.img"
    parts = two.parts(builds.DRACUT)
    two.copy_disk(parts[1], disk)
    make_boot_partition(disk, unify(parts[1], tmp_path))
    with two.both(parts, disk, kernel=_IMAGE, initrd=_IMAGE) as (server, desktop):
        desktop.wait_for("the laptop's disk is /dev/nbd0", two.SECONDS)
        log_in(desktop)
        assert ask(desktop, "uname -r") == builds.new_kernel(parts[1])
        assert ask(desktop, "findmnt -n -o FSTYPE /boot") == "vfat"
        assert ask(desktop, f"test -s /boot/{_IMAGE} && echo it is there") == "it is there"
        keeper = two.look_at_keeper(desktop)
        # It has outlived the unit that started it, and dracut has no last program of its own.
        assert ask(desktop, f"cat /proc/{keeper}/cgroup") == "0::/init.scope"
        assert ask(desktop, "systemctl is-enabled dracut-shutdown.service") == "masked-runtime"
        ask(desktop, f"echo from the desktop >{_FILE}")
        desktop.type("systemctl poweroff\n")
        desktop.wait_until_off(two.SECONDS)
        server.wait_for(two.ENDED, two.SECONDS)
        server.press_ctrl_alt_delete()
        server.wait_until_off(two.SECONDS)
    two.verify(disk, _FILE, "from the desktop\n", partitions=[_ROOT])
    disk.unlink()
