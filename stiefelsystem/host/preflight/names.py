"""Names of the laptop's disk that mean another one on the desktop.

There, the laptop's disk is /dev/nbd0. What is called /dev/sda or /dev/nvme0n1 is the desktop's own,
and would be mounted in its place, or, where crypttab has a swap with a key of chance, overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from stiefelsystem.bootloader import words
from stiefelsystem.config import Config
from stiefelsystem.host.preflight import storage, tree
from stiefelsystem.host.preflight.finding import Finding, note, obstacle
from stiefelsystem.host.setup.root import Root

_TOPIC = "names"
# By the driver and the order in which disks are found (the kernel's devices.txt), by the socket,
# and by the disk's own serial number, which a disk over the network has not (udev's
# 60-persistent-storage.rules). What device mapper and md have in by-id goes with their contents.
_ELSEWHERE = re.compile(
    r"/dev/(?:(?:sd|hd|vd|xvd)[a-z]|nvme\d|mmcblk\d"
    r"|disk/by-(?:path/|diskseq/|id/(?!dm-|lvm-|md-)))[^\s:,\"]*"
)
_HINT = "lsblk -o NAME,UUID tells its UUID; write UUID=… for it"


def in_cmdline(cmdline: str) -> list[Finding]:
    """What the kernel's command line names so."""
    return [
        _obstacle(f"the kernel's command line has {word}", found[0])
        for word in words.split(cmdline)
        if (found := _ELSEWHERE.search(word))
    ]


def look(root: Root, config: Config) -> Iterable[Finding]:
    """What fstab(5) and crypttab(5) name so, of all that is opened at each start."""
    for line in storage.fstab(root.place(root.resolve("/etc/fstab"))):
        unused = line.filesystem == "swap" and not config.boot.swap
        if unused or "noauto" in line.options or not (found := _ELSEWHERE.match(line.source)):
            continue
        text = f"/etc/fstab has {line.source} for {line.point}"
        if line.point == "/":  # it is there already, by the command line's name
            yield note(_TOPIC, f"{text}, which means another disk on the desktop", _HINT)
        else:
            yield _obstacle(text, found[0])
    for name, source, options in _crypttab(tree.text(root, "/etc/crypttab")):
        if "noauto" not in options and (found := _ELSEWHERE.match(source)):
            yield _obstacle(f"/etc/crypttab has {source} for {name}", found[0])


def _obstacle(text: str, name: str) -> Finding:
    return obstacle(_TOPIC, f"{text}: on the desktop, {name} is none or another disk", _HINT)


def _crypttab(text: str) -> Iterator[tuple[str, str, list[str]]]:
    for line in text.splitlines():
        name, source, *rest = [*line.split(), "", ""]
        if source and not name.startswith("#"):
            yield name, source, rest[1].split(",") if len(rest) > 1 else []
