"""A real Debian on the desktop whose initrd was made by dracut: with systemd in it, and without.

The first comes from a boot partition with FAT, as one EFI program with microcode, kernel and
initrd; `test_autokexec` has the same laptop with kernel and initrd as files of their own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stiefelsystem.host.laptop import MIB, PARTITIONS, Laptop
from stiefelsystem.host.vm import VirtualMachine
from tests import builds, capabilities, images
from tests.vm import composed, two
from tests.vm.console import ask, log_in

_FILE = "/root/written"
_BOOT, _ROOT = PARTITIONS
_IMAGE = "EFI/Linux/debian.efi"
_VOLUME = "5741-4C4B"
_INITRD = "without-systemd.img"
# dracut's modules that bring systemd into the initrd; and that with drivers for any machine, which
# only take time: ours has those that it needs.
_OMITTED = (
    *("systemd", "systemd-battery-check", "systemd-initrd", "systemd-pcrphase", "systemd-udevd"),
    *("dracut-systemd", "kernel-modules"),
)
# When systemd came up in the initrd; 0 if it did not.
_IN_INITRD = "systemctl show --property=InitRDTimestampMonotonic --value"


def unify(laptop: Laptop, folder: Path) -> Path:
    """Join the laptop's newest kernel and initrd, by systemd's own program."""
    (folder / "ucode").write_bytes(images.microcode())
    version = builds.new_kernel(laptop)
    command = ["ukify", "build", f"--linux=/boot/vmlinuz-{version}", "--output=/mnt/image.efi"]
    command += [f"--initrd=/boot/initrd.img-{version}", "--microcode=/mnt/ucode"]
    command += [f"--uname={version}", "--cmdline=of its own"]
    builds.run_in(laptop.tree, command, binds={folder: "/mnt"})
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


def without_systemd(laptop: Laptop, folder: Path) -> Path:
    """Make an initrd of the laptop's newest kernel, by its own dracut; the tree stays as it is."""
    command = ["dracut", "--kver", builds.new_kernel(laptop), "--omit", " ".join(_OMITTED)]
    command += ["--add-drivers", "ext4", "--tmpdir", "/mnt", f"/mnt/{_INITRD}"]
    builds.run_in(laptop.tree, command, binds={folder: "/mnt"})
    return folder / _INITRD


@contextmanager
def session(
    parts: tuple[Path, Laptop], disk: Path, *, kernel: str = "", initrd: str = ""
) -> Iterator[VirtualMachine]:
    """The laptop's OS on a desktop, logged in; behind the block, it is shut down by its user."""
    with two.both(parts, disk, kernel=kernel, initrd=initrd) as (server, desktop):
        desktop.wait_for("the laptop's disk is /dev/nbd0", two.SECONDS)
        log_in(desktop)
        assert ask(desktop, "uname -r") == builds.new_kernel(parts[1])
        keeper = two.look_at_keeper(desktop)
        # It has outlived what started it, and dracut has no last program of its own.
        assert ask(desktop, f"cat /proc/{keeper}/cgroup") == "0::/init.scope"
        assert ask(desktop, "systemctl is-enabled dracut-shutdown.service") == "masked-runtime"
        yield desktop
        ask(desktop, f"echo from the desktop >{_FILE}")
        desktop.type("systemctl poweroff\n")
        desktop.wait_until_off(two.SECONDS)
        server.wait_for(two.ENDED, two.SECONDS)
        server.press_ctrl_alt_delete()
        server.wait_until_off(two.SECONDS)


def test_a_session(tmp_path: Path) -> None:
    capabilities.require_tools("mkfs.vfat", "mcopy", "debugfs")
    disk = tmp_path / "disk.img"
    parts = two.parts(builds.DRACUT)
    two.copy_disk(parts[1], disk)
    make_boot_partition(disk, unify(parts[1], tmp_path))
    with session(parts, disk, kernel=_IMAGE, initrd=_IMAGE) as desktop:
        assert ask(desktop, "findmnt -n -o FSTYPE /boot") == "vfat"
        assert ask(desktop, f"test -s /boot/{_IMAGE} && echo it is there") == "it is there"
        assert int(ask(desktop, _IN_INITRD)) > 0
    two.verify(disk, _FILE, "from the desktop\n", partitions=[_ROOT])
    disk.unlink()


def test_a_session_without_systemd_in_the_initrd(tmp_path: Path) -> None:
    capabilities.require_tools("debugfs")
    disk = tmp_path / "disk.img"
    parts = two.parts(builds.DRACUT)
    two.copy_disk(parts[1], disk)
    composed.put_into_boot(disk, {_INITRD: without_systemd(parts[1], tmp_path)})
    with session(parts, disk, initrd=_INITRD) as desktop:
        assert int(ask(desktop, _IN_INITRD)) == 0
    two.verify(disk, _FILE, "from the desktop\n")
    disk.unlink()
