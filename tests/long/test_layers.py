"""Disks in layers, as real systems have them: LUKS, LVM, RAID, and what the scripts make of them.

Everything here is made in a virtual machine, since it is its kernel that holds the layers.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stiefelsystem.host import vm
from stiefelsystem.host.laptop import Kind, Laptop
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests.vm import checkout, shelf, two
from tests.vm.checkout import SECONDS, do
from tests.vm.console import ask, log_in

_PACKAGES = ("cryptsetup-initramfs", "dosfstools", "e2fsprogs", "fdisk", "lvm2", "mdadm", "mtools")
_KIND = Kind("laptop-layers", "initramfs-tools", packages=_PACKAGES)
_PASSPHRASE = "no sense in it"
_MEMBERS = {"raid1": "/dev/vdb", "raid2": "/dev/vdc", "lvm": "/dev/vdd", "luks": "/dev/vde"}
_ROOT = "/dev/mapper/vg-root"
_CMDLINE = f"root={_ROOT} ro console=ttyS0 quiet panic=1 oops=panic"
_FILE = "/root/written-on-the-desktop"


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Laptop]:
    """The ramdisk, and a laptop with our parts, the tools for layers, and a checkout."""
    image, made = two.parts(_KIND, updated=False)
    return image, checkout.on_disk(made, made.tree, image, tmp_path)


@contextmanager
def running(laptop: Laptop, disk: Path) -> Iterator[VirtualMachine]:
    """The laptop with its own OS, and nobody at the end of its cable."""
    hardware = Hardware(
        name="laptop",
        kernel=laptop.kernel,
        initrd=laptop.initrd,
        cmdline=laptop.cmdline,
        mac="52:54:00:00:00:61",
        cable=vm.cable(disk.parent, "laptop", "nobody")["laptop"],
        disk=disk,
    )
    with VirtualMachine(hardware, disk.parent) as machine:
        yield machine


def end(machine: VirtualMachine) -> None:
    # Debian's own starts before /run/lock is mounted, where its lock may be in then.
    others = "grep -v lvm2-monitor"
    failed = f"systemctl --failed --no-legend --plain | cut -d' ' -f1 | {others}"
    assert ask(machine, f"{failed} | xargs -r systemctl status --no-pager --lines 5") == ""
    machine.type("systemctl poweroff\n")
    machine.wait_until_off(SECONDS)


def refusal(machine: VirtualMachine, device: str, *options: str) -> str:
    """What setup-client-usbdrive says; no stick is made, since nobody types the device's name."""
    words = " ".join(("--force-fixed", *options, device))
    return do(machine, f"./setup-client-usbdrive {words} </dev/null", status=1)


def format_luks(machine: VirtualMachine, device: str, name: str) -> None:
    """A LUKS device, opened; with a cheap key derivation, since the machine is emulated."""
    cheap = "--batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000"
    do(machine, f"printf '{_PASSPHRASE}' | cryptsetup luksFormat {cheap} {device} -")
    do(machine, f"printf '{_PASSPHRASE}' | cryptsetup open --key-file - {device} {name}")


def make_layers(machine: VirtualMachine) -> None:
    """A RAID at /srv, LVM at /opt that reaches to another disk, LUKS at /mnt."""
    one, other, whole, encrypted = _MEMBERS.values()
    do(machine, f"mdadm --create /dev/md0 --run --level 1 --raid-devices 2 {one} {other}")
    do(machine, "mkfs.ext4 -q /dev/md0 && mount /dev/md0 /srv")
    do(machine, f"swapoff /dev/vda3; wipefs -a /dev/vda3; vgcreate data /dev/vda3 {whole}")
    do(machine, "lvcreate --wipesignatures n -l 100%FREE -n opt data")
    do(machine, "mkfs.ext4 -q /dev/data/opt && mount /dev/data/opt /opt")
    format_luks(machine, encrypted, "safe")
    do(machine, "mkfs.ext4 -q /dev/mapper/safe && mount /dev/mapper/safe /mnt")
    lines = r"/dev/md0 /srv ext4 defaults\n/dev/data/opt /opt ext4 nofail\n"
    do(machine, f"printf '{lines}' >>/etc/fstab")


def look_before(machine: VirtualMachine) -> None:
    """What setup-server-os finds: what the desktop would not have."""
    found = do(machine, "./setup-server-os --check", status=1)
    one, other, whole, encrypted = _MEMBERS.values()
    assert "/ is ext4 on the partition /dev/vda2, on /dev/vda, which is boot.disk" in found
    raid = f"{one} (member of a RAID) and {other} (member of a RAID) is not on boot.disk"
    assert f"/srv would be missing on the desktop: {raid}, and fstab has the boot wait" in found
    volumes = f"{whole} (physical volume of LVM) is not on boot.disk"
    assert f"/opt would be missing on the desktop: {volumes}" in found
    assert f"/mnt would be missing on the desktop: {encrypted} (LUKS) is not on" in found


def refuse_in_use(machine: VirtualMachine) -> None:
    """While they are mounted, and while they are open; whatever is below or above."""
    one, other, whole, encrypted = _MEMBERS.values()
    mounted = {
        one: "/dev/md0 is mounted at /srv",
        whole: "/dev/mapper/data-opt is mounted at /opt",
        encrypted: "/dev/mapper/safe is mounted at /mnt",
        "/dev/md0": "/dev/md0 is raid1, and no disk",
        "/dev/data/opt": "is LVM, and no disk",
        "/dev/dm-1": "is LUKS, and no disk",
    }
    for device, said in mounted.items():
        assert said in refusal(machine, device)
    do(machine, "umount /srv /opt /mnt")
    opened = {
        other: "is in use: /dev/md0 (raid1) lies on it",
        whole: "is in use: /dev/mapper/data-opt (LVM) lies on it",
        encrypted: "is in use: /dev/mapper/safe (LUKS) lies on it",
    }
    for device, said in opened.items():
        assert said in refusal(machine, device)


def refuse_others(machine: VirtualMachine) -> None:
    """The system's own disk; a mapping of no kind; swap in layers; a RAID that has not started."""
    one, other, _, encrypted = _MEMBERS.values()
    assert "is boot.disk (/dev/vda)" in refusal(machine, "/dev/vda")
    assert "/dev/vda2 is a partition" in refusal(machine, "/dev/vda2")
    do(machine, "sed s/vda/none/ config.yaml >other.yaml")
    own = refusal(machine, "/dev/vda", "--config other.yaml")
    assert "/dev/vda2 is mounted at /" in own
    assert "this machine runs from it" in own
    do(machine, "mkswap -q /dev/mapper/safe && swapon /dev/mapper/safe")
    assert "/dev/mapper/safe is in use as swap" in refusal(machine, encrypted)
    do(machine, "swapoff /dev/mapper/safe && cryptsetup close safe")
    do(machine, f"dmsetup create odd --table '0 2048 linear {encrypted} 0'")
    assert "is in use: /dev/mapper/odd (dm) lies on it" in refusal(machine, encrypted)
    do(machine, "dmsetup remove odd && mdadm --stop /dev/md0")
    do(machine, f"mdadm --incremental {one}")
    assert "is in use: /dev/md" in refusal(machine, one)
    do(machine, "mdadm --stop /dev/md?*")
    assert f"{other} is a member of a RAID" in refusal(machine, other)


def refuse_at_rest(machine: VirtualMachine) -> None:
    """Nothing has them now; but whoever wipes them has said that they are to go."""
    _, other, whole, encrypted = _MEMBERS.values()
    do(machine, "vgchange -an data")
    assert f"{whole} is a physical volume of LVM" in refusal(machine, whole)
    do(machine, f"wipefs --all {other}")
    for device, content in ((other, "no partitions, and no known filesystem"), (encrypted, "LUKS")):
        said = refusal(machine, device)
        assert content in said
        assert "nothing was typed" in said


def test_layers_beside_the_root(parts: tuple[Path, Laptop], tmp_path: Path) -> None:
    _, laptop = parts
    with running(laptop, laptop.image) as machine:
        log_in(machine)
        for name, device in _MEMBERS.items():
            shelf.plug_in(machine, shelf.blank(tmp_path / f"{name}.img", 96), device)
        make_layers(machine)
        look_before(machine)
        refuse_in_use(machine)
        refuse_others(machine)
        refuse_at_rest(machine)
    laptop.image.unlink()


# What a person does who moves a system: to a disk that has nothing in common with the first.
_MOVE = f"""\
set -e
pvcreate -q /dev/mapper/crypt
vgcreate -q vg /dev/mapper/crypt
lvcreate -q -l 100%FREE -n root vg
mkfs.ext4 -q {_ROOT}
mkfs.ext4 -q /dev/vdb1
mount {_ROOT} /mnt
mkdir /mnt/boot
mount /dev/vdb1 /mnt/boot
cp -ax /. /mnt/
cp -ax /boot/. /mnt/boot/
id() {{ blkid -s UUID -o value "$1"; }}
echo "crypt UUID=$(id /dev/vdb2) none luks" >/mnt/etc/crypttab
printf '%s / ext4 defaults 0 1\\nUUID=%s /boot ext4 defaults 0 2\\n' \\
 {_ROOT} "$(id /dev/vdb1)" >/mnt/etc/fstab
sed -i 's| root=[^ ]*| root={_ROOT}|; s| resume=[^ ]*||' /mnt/boot/extlinux/extlinux.conf
for place in dev proc sys run; do mount --rbind /$place /mnt/$place; done
chroot /mnt update-initramfs -u -k all
sync
"""


def move(laptop: Laptop, disk: Path) -> None:
    """Move the laptop's system to another disk, into LVM on LUKS."""
    with running(laptop, laptop.image) as machine:
        log_in(machine)
        shelf.plug_in(machine, disk, "/dev/vdb")
        format_luks(machine, "/dev/vdb2", "crypt")
        machine.type(f"cat >/run/move <<'END'\n{_MOVE}END\n")
        do(machine, "sh /run/move")
        end(machine)
    laptop.image.unlink()


def unlock(machine: VirtualMachine) -> None:
    machine.wait_for("Please unlock disk crypt", two.SECONDS)
    machine.type(f"{_PASSPHRASE}\n")
    log_in(machine)


def a_session(image: Path, laptop: Laptop, disk: Path) -> None:
    """The desktop is asked for the passphrase, which the laptop never sees."""
    served = replace(laptop, before=laptop.tree, cmdline=_CMDLINE)
    with two.both((image, served), disk) as (server, desktop):
        unlock(desktop)
        assert ask(desktop, "findmnt -n -o SOURCE /") == _ROOT
        below = ask(desktop, f"lsblk --noheadings --inverse --list --output NAME {_ROOT}")
        assert below == "vg-root crypt nbd0p2 nbd0"
        ask(desktop, f"echo written >{_FILE}")
        end(desktop)
        server.wait_for(two.ENDED, two.SECONDS)
        server.press_ctrl_alt_delete()
        server.wait_until_off(two.SECONDS)


def at_home(laptop: Laptop, disk: Path) -> None:
    """The laptop again, from its own disk."""
    with running(laptop, disk) as machine:
        unlock(machine)
        assert ask(machine, f"cat {_FILE}") == "written"
        found = do(machine, "./setup-server-os --check")
        layers = f"LVM {_ROOT}, on LUKS /dev/mapper/crypt, on the partition /dev/vda2, on /dev/vda"
        assert f"/ is ext4 on {layers}, which is boot.disk" in found
        end(machine)


def take_initrd(laptop: Laptop, disk: Path, first: int) -> Laptop:
    """What QEMU, as the laptop's loader, boots from the boot partition at MiB `first`."""
    initrd = disk.with_suffix(".initrd")
    place = f"{disk}?offset={first << 20}"
    listed = subprocess.run(
        ["debugfs", "-R", "ls -p /", place], capture_output=True, text=True, check=True
    ).stdout
    (name,) = (word for word in listed.split("/") if word.startswith("initrd.img-"))
    subprocess.run(["debugfs", "-R", f"dump /{name} {initrd}", place], check=True)
    return replace(laptop, initrd=initrd, cmdline=_CMDLINE)


def test_root_in_layers(parts: tuple[Path, Laptop], tmp_path: Path) -> None:
    """LVM on LUKS on a partition: the desktop runs it, and the laptop, afterwards."""
    image, laptop = parts
    disk = shelf.blank(tmp_path / "layered.img", 2600, "start=1MiB, size=511MiB", "start=512MiB")
    move(laptop, disk)
    a_session(image, laptop, disk)
    at_home(take_initrd(laptop, disk, 1), disk)
    disk.unlink()
