"""A boot partition whose journal waits for its replay is read fresh, and not changed by a byte.

The machines have as little memory as is promised to be enough.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from stiefelsystem import cmdline
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.host import pack, vm
from stiefelsystem.host.laptop import PARTITIONS, PASSWORD, Laptop
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests import builds, capabilities

_SECONDS = 300.0
_CONSOLE = "console=ttyS0 quiet"
_MAC = "52:54:00:00:00:2"  # and a digit
# MiB: what is promised to be enough, for the ramdisk itself, and for receiving a large archive.
_SMALL, _RECEIVING = 512, 1024
_ARCHIVE_MIB = 160


def boot_partition(disk: Path) -> str:
    """A hash of all its bytes."""
    with disk.open("rb") as file:
        file.seek(PARTITIONS[0].offset)
        return hashlib.sha256(file.read(PARTITIONS[0].size)).hexdigest()


def debugfs(request: str, disk: Path) -> str:
    """What debugfs, which replays nothing, finds on the boot partition."""
    device = f"{disk}?offset={PARTITIONS[0].offset}"
    done = subprocess.run(
        ["debugfs", "-R", request, device], capture_output=True, text=True, check=True
    )
    return done.stdout


def leave_a_dirty_journal(laptop: Laptop, disk: Path, folder: Path) -> None:
    """The laptop's own OS gets a newer kernel, and loses its power before anything is unmounted."""
    hardware = Hardware(
        name="laptop",
        kernel=laptop.kernel,
        initrd=laptop.initrd,
        cmdline=laptop.cmdline,
        mac=f"{_MAC}1",
        cable=(folder / "unplugged", folder / "nobody"),
        disk=disk,
    )
    with VirtualMachine(hardware, folder) as machine:
        machine.wait_for("laptop login: ", _SECONDS)
        machine.type("root\n")
        machine.wait_for("Password: ", _SECONDS)
        machine.type(f"{PASSWORD}\n")
        machine.wait_for(r"root@laptop:.*# ", _SECONDS)
        # fsync: the names are in the journal then, and not yet in their place.
        machine.type("cd /boot && for f in vmlinuz initrd.img; do cp $f-6* $f-99.1; done\n")
        # The kernel skips the zeros behind an initrd.
        machine.type(f"truncate -s {_ARCHIVE_MIB - 12}M initrd.img-99.1\n")
        machine.type("sync vmlinuz-99.1 initrd.img-99.1 && ls | grep -c 99.1 | sed s/^/copies:/\n")
        machine.wait_for("copies:2", _SECONDS)


def test_the_ramdisk_needs_little_memory(tmp_path: Path) -> None:
    """As a client, too, which receives nothing yet."""
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn")
    image = builds.ramdisk()
    with vm.whole_ramdisk(image) as ramdisk:
        client = Hardware(
            name="client",
            kernel=pack.kernel_of(image),
            initrd=ramdisk,
            cmdline=f"{cmdline.CLIENT_UNIT} {_CONSOLE}",
            mac=f"{_MAC}4",
            cable=(tmp_path / "unplugged", tmp_path / "nobody"),
            memory=_SMALL,
        )
        with VirtualMachine(client, tmp_path) as machine:
            machine.wait_for("searching for the laptop on", _SECONDS)


def test_the_journal_is_replayed_on_a_snapshot(tmp_path: Path) -> None:
    capabilities.require_root()
    capabilities.require_tools("qemu-system-x86_64", "debootstrap", "systemd-nspawn", "dumpe2fs")
    settings, laptop = builds.virtual_laptop()
    disk = tmp_path / "disk.img"
    subprocess.run(["cp", "--sparse=always", laptop.image, disk], check=True)
    leave_a_dirty_journal(laptop, disk, tmp_path)
    assert "needs_recovery" in debugfs("features", disk)
    assert "99.1" not in debugfs("ls /", disk)
    before = boot_partition(disk)

    target = ServerSettings(
        disk=Path("/dev/vda"),
        part=Path("/dev/vda1"),
        kernel="vmlinuz-*",
        initrd="initrd.img-*",
        cmdline=_CONSOLE,
    )
    image = settings.paths.cpio
    sides = (
        ("server", f"{cmdline.SERVER_UNIT} {target.words()}", "2", disk, _SMALL),
        ("client", cmdline.CLIENT_UNIT, "3", None, _RECEIVING),
    )
    cable = vm.cable(tmp_path, "server", "client")
    with vm.whole_ramdisk(image) as ramdisk:
        server, client = (
            Hardware(
                name=name,
                kernel=pack.kernel_of(image),
                initrd=ramdisk,
                cmdline=f"{unit} {_CONSOLE}",
                mac=f"{_MAC}{digit}",
                cable=cable[name],
                disk=its_disk,
                memory=memory,
            )
            for name, unit, digit, its_disk, memory in sides
        )
        with VirtualMachine(server, tmp_path) as serving:
            with VirtualMachine(client, tmp_path) as receiving:
                # Only the journal knows of this kernel.
                serving.wait_for("sending vmlinuz-99.1 and initrd.img-99.1", _SECONDS)
                receiving.wait_for("starting the laptop's OS", _SECONDS)
                receiving.wait_for("connecting the laptop's disk", _SECONDS)
            serving.press_ctrl_alt_delete()
            serving.wait_until_off(_SECONDS)
    assert boot_partition(disk) == before
    shutil.rmtree(tmp_path)
