"""What lies where on the stick.

An MBR with one active partition of type 0xEF and FAT32 on it: old BIOSes take it for a hard disk,
and UEFI firmware finds its boot loader by the name that is for removable media.
"""

from __future__ import annotations

SECTOR = 512
MIB = 1 << 20
LABEL = "STIEFEL"
# PC's master boot record: code, then a signature of the disk, then the partition table.
MBR_CODE = 440
# The first partition's entry: its first sector and its size, little endian.
MBR_FIRST_START = 0x1BE + 8

# The folder for what is ours; all else is its owner's, but for the boot loaders' own names.
FOLDER = "stiefelsystem"
GRUB = f"{FOLDER}/grub"
MENU = f"{GRUB}/grub.cfg"
# The names that are compiled into Debian's signed GRUBs: for disks, and for networks.
EFI_CONFIG = "EFI/debian/grub.cfg"
NET_CONFIG = "grub/grub.cfg"
README = f"{FOLDER}/README.txt"

# Two sets of kernel, initrd and secrets: while one is being replaced, the other boots.
SETS = ("a", "b")
KERNEL = "vmlinuz"
INITRD = "initrd.img"
SECRETS = "key.cpio"
# It makes a set valid, and comes last: its number, and the kernel's command line.
SET = "set.cfg"
UNNAMED = "set.new"  # until it is whole


def in_set(name: str, file: str) -> str:
    """Where a file of a set lies."""
    return f"{FOLDER}/{name}/{file}"
