"""The machine on which a ramdisk is booted alone, to be measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stiefelsystem.host import pack, vm
from stiefelsystem.host.vm import Hardware

_DISK_SIZE = 64 << 20


@contextmanager
def machine(image: Path, words: str, folder: Path, *, name: str = "measured") -> Iterator[Hardware]:
    """What boots the ramdisk `image` with `words` on its command line, beside an empty disk and a
    cable that leads nowhere; its files lie in `folder`, as long as the block runs."""
    disk = folder / "disk"
    disk.write_bytes(bytes(_DISK_SIZE))
    with vm.whole_ramdisk(image) as ramdisk:
        yield Hardware(
            name=name,
            kernel=pack.kernel_of(image),
            initrd=ramdisk,
            cmdline=words,
            mac="52:54:00:00:00:31",
            cable=(folder / "cable", folder / "nobody"),
            disk=disk,
        )
