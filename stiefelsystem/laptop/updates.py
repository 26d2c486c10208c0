"""Whether a package manager runs, or something that makes kernels, initrds or boot menus.

To stop the OS in the middle of that can leave a system that does not boot, here or there.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Locks by fcntl(2), whose holder can be asked for: dpkg, apt, rpm at its old and its new place.
_LOCKS = (
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/apt/lists/lock",
    "var/cache/apt/archives/lock",
    "var/lib/rpm/.rpm.lock",
    "usr/lib/sysimage/rpm/.rpm.lock",
)
# libalpm's, which is there as long as a transaction goes on: pacman(8).
_PACMAN = "var/lib/pacman/db.lck"
_NAMES = {
    # Package managers: some have no lock (emerge), or are at work before they take it.
    *("apt", "apt-get", "aptitude", "dpkg", "unattended-upgrade"),
    *("dnf", "dnf-3", "dnf-automatic", "dnf5", "microdnf", "yum", "rpm", "rpm-ostree"),
    *("pacman", "emerge", "ebuild", "ebuild.sh"),
    # What they run for a kernel, and people by hand.
    *("update-initramfs", "mkinitramfs", "mkinitcpio", "dracut", "kernel-install", "installkernel"),
    *("depmod", "dkms", "update-grub", "grub-mkconfig", "grub2-mkconfig", "grub-install", "ukify"),
    # Ours, which asks for a while, and then makes initrds.
    "setup-server-os",
}
_INTERPRETER = re.compile(r"(ba|da|k|z)?sh|python[0-9.]*|perl[0-9.]*")
_NESTED = re.compile(r"^NSpid:\s+\d+\s+\d", re.M)
# fcntl(2), struct flock, by the machine's own alignment: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi4x")


class Process(NamedTuple):
    """A process, as far as it matters here."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def running(root: Path = Path("/"), proc: Path = Path("/proc")) -> list[str]:
    """What is at work, in words: by the locks below `root`, and the processes in `proc`."""
    found = {str(process) for process in _processes(proc)}
    found.update(
        f"{holder} has the lock /{lock}"
        for lock in _LOCKS
        if (holder := _holder(root / lock, proc))
    )
    if _is_of_this_boot(root / _PACMAN):
        found.add(f"pacman (if none runs, its lock was left over: remove /{_PACMAN})")
    return sorted(found)


def _holder(lock: Path, proc: Path) -> str:
    """Who holds a lock by fcntl(2); empty if nobody does."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return ""
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    finally:
        os.close(handle)
    if kind == fcntl.F_UNLCK:
        return ""
    # The kernel does not always know who: locks of a descriptor, or of another PID namespace.
    return str(Process(pid, _read(proc / str(pid) / "comm"))) if pid > 0 else "some process"


def _is_of_this_boot(file: Path) -> bool:
    """Whether a file was made since this machine has booted: an older lock is nobody's."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        return file.stat().st_mtime >= booted
    except OSError:
        return False


def _processes(proc: Path) -> Iterator[Process]:
    """The processes of this system that must not be stopped; those of containers may be."""
    for folder in proc.iterdir():
        if not folder.name.isdigit() or folder.name == str(os.getpid()):
            continue
        if (name := _program(folder)) not in _NAMES:
            continue
        # A process of a container has a second number there: proc(5).
        if not _NESTED.search(_read(folder / "status")):
            yield Process(int(folder.name), name)


def _program(folder: Path) -> str:
    """The name of a process' program; of a script, the script's."""
    words = _read(folder / "cmdline").split("\0")
    name = Path(words[0]).name
    if not _INTERPRETER.fullmatch(name):
        return name
    script = next((word for word in words[1:] if word and not word.startswith("-")), "")
    return Path(script).name or name


def _read(path: Path) -> str:
    """A file of a process; empty once that is gone."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
