"""Filesystems that were not unmounted, and whose journal is waiting to be replayed.

From the superblock alone, as cheap as that: so for ext3, ext4 and btrfs. That of XFS does not tell.
"""

from __future__ import annotations

import struct
from pathlib import Path

# Linux' Documentation/filesystems/ext4/super.rst: the superblock, its magic number, the field
# s_feature_incompat, and of that INCOMPAT_RECOVER.
_EXT_AT, _EXT_MAGIC, _EXT_FEATURES, _EXT_RECOVER = 1024, (56, 0xEF53), 96, 0x4
# linux/btrfs_tree.h, struct btrfs_super_block: magic, and log_root, which is not 0 if there is a
# log tree.
_BTRFS_AT, _BTRFS_MAGIC, _BTRFS_LOG = 64 << 10, (64, b"_BHRfS_M"), 96
_SIZE = 4096


def awaits_replay(device: Path) -> bool:
    """Whether what lies on `device` will replay its journal at its next mount.

    False for whatever is not known. Raises `OSError` where the device cannot be read.
    """
    with device.open("rb") as file:
        file.seek(_EXT_AT)
        if _ext_awaits(file.read(_SIZE)):
            return True
        file.seek(_BTRFS_AT)
        return _btrfs_awaits(file.read(_SIZE))


def _ext_awaits(block: bytes) -> bool:
    at, magic = _EXT_MAGIC
    if len(block) < _SIZE or struct.unpack_from("<H", block, at) != (magic,):
        return False
    (features,) = struct.unpack_from("<I", block, _EXT_FEATURES)
    return bool(features & _EXT_RECOVER)


def _btrfs_awaits(block: bytes) -> bool:
    at, magic = _BTRFS_MAGIC
    if len(block) < _SIZE or block[at : at + len(magic)] != magic:
        return False
    return struct.unpack_from("<Q", block, _BTRFS_LOG) != (0,)
