"""Whether this system hibernates: the image of one that sleeps must not be served."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from stiefelsystem.bootloader import words
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import storage, tree
from stiefelsystem.host.preflight.finding import Finding, note, obstacle, ok
from stiefelsystem.host.setup.root import Root

_TOPIC = "hibernation"
# What the kernel writes to swap as it hibernates, as blkid knows it.
_IMAGE = "swsuspend"
# systemd's own note of where the image is: systemd-hibernate-resume-generator(8).
_LOCATION = "/sys/firmware/efi/efivars/HibernateLocation-8cf2644b-4b0b-428f-9387-6d876050dc67"
_INITRAMFS_TOOLS = "/etc/initramfs-tools/conf.d/resume"
_REFUSED = "while it is hibernated, its disk is refused: a desktop would corrupt the image"


def look(root: Root, config: Config) -> list[Finding]:
    """What tells that this system hibernates, or that a hibernated one lies on a disk.

    Raises `StiefelError` if lsblk does not tell what is on the disks.
    """
    running = root.path == Path("/")
    findings = images(storage.devices(), os.path.realpath(config.boot.disk)) if running else []
    places = list(_places(root, running=running))
    if places:
        text = f"set up by {', '.join(places)}; {_REFUSED}"
        hint = "shut the laptop down, or leave it running, instead; a desktop never resumes"
        findings.append(note(_TOPIC, text, hint))
    return findings or [ok(_TOPIC, "not set up, as far as can be seen")]


def images(devices: storage.Devices, disk: str) -> list[Finding]:
    """The images of hibernated systems: those on the disk that is to be served, and others."""
    served = devices.at(disk)
    findings = []
    for device in devices.all():
        if device.filesystem != _IMAGE:
            continue
        text = f"{device.name} holds the image of a hibernated system"
        if served and not any(path[-1] == served for path in devices.paths(device, served)):
            findings.append(note(_TOPIC, f"{text}, but is not on boot.disk"))
        else:
            hint = "start that system and shut it down; if the image is stale, mkswap removes it"
            findings.append(obstacle(_TOPIC, f"{text}: the disk is not served like that", hint))
    return findings


def _places(root: Root, *, running: bool) -> Iterator[str]:
    if running:
        resume = words.value(_text(root, "/proc/cmdline"), "resume")
        if resume:
            yield f"resume={resume} on the kernel's command line"
        if Path(_LOCATION).exists():
            yield "HibernateLocation, an EFI variable"
    settings = re.findall(r"^\s*RESUME=(\S*)", _text(root, _INITRAMFS_TOOLS), re.MULTILINE)
    if settings and settings[-1].strip("\"'") not in ("", "none"):
        yield f"RESUME={settings[-1]} in {_INITRAMFS_TOOLS}"


def _text(root: Root, path: str) -> str:
    try:
        return tree.text(root, path)
    except StiefelError:  # as good as not there, for who may not read it
        return ""
