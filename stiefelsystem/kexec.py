"""Load a kernel to be started by kexec."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from stiefelsystem.console import StiefelError
from stiefelsystem.run import run

# Loading copies the images into memory; two minutes are ample for gigabytes, even emulated.
_TIMEOUT = 120.0
# x86's COMMAND_LINE_SIZE, with its end; what is longer would be cut.
_MAX_CMDLINE = 2047
# The kernel's Documentation/ABI/testing/sysfs-kernel-kexec-kdump: 1 if a kernel is loaded.
_LOADED = Path("/sys/kernel/kexec_loaded")
# Its admin-guide/sysctl/kernel.rst: once it is 1, no kernel can be loaded until the next boot.
_DISABLED = Path("/proc/sys/kernel/kexec_load_disabled")
# kernel_lockdown(7): all modes, the one that holds in brackets.
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
# kexec_file_load(2), and the older kexec_load(2), which is forbidden under lockdown.
_CALLS = ("--kexec-file-syscall", "--kexec-syscall")
# What kexec_file_load(2) says of a kernel without a signature that is trusted: the first where
# lockdown forbids it, the second where IMA's policy does, the others where signatures are forced.
_NOT_TRUSTED = (
    errno.EPERM,
    errno.EACCES,
    errno.ENOKEY,
    errno.EKEYREJECTED,
    errno.ENODATA,
    errno.ELIBBAD,
)


class Untrusted(StiefelError):
    """The running kernel is locked down, and does not trust the one that it was to load."""


def is_loaded() -> bool:
    """Whether a kernel is loaded, whoever did that."""
    return _read(_LOADED) == "1"


def require_possible() -> None:
    """Raise `StiefelError` if it is known already that no kernel can be loaded, or should be."""
    if not _LOADED.exists():
        raise StiefelError(
            f"the running kernel has no kexec: there is no {_LOADED}",
            hint="boot a kernel with CONFIG_KEXEC_FILE; those of distributions have it",
        )
    if _read(_DISABLED) == "1":
        raise StiefelError(
            "kernel.kexec_load_disabled is 1: until the next boot, no kernel can be loaded",
            hint="grep -r kexec_load_disabled /etc/sysctl* /usr/lib/sysctl.d shows who set it",
        )
    if is_loaded():
        raise StiefelError(
            "somebody else has loaded a kernel for kexec, which would be replaced",
            hint="reboot into it; or, if nobody wants it, forget it: kexec --unload",
        )


def load(kernel: Path, initrd: IO[bytes], cmdline: str) -> None:
    """Load a kernel, its initrd and its command line, to be started at the next kexec.

    First by kexec_file_load(2), which Secure Boot allows for signed kernels, then by the older
    call, for kernels that were built without the first. Raises `StiefelError` if the running
    kernel refuses; `Untrusted` where no further attempt with the same one can succeed.
    """
    if (size := len(cmdline.encode())) > _MAX_CMDLINE:
        raise StiefelError(
            f"the kernel command line has {size} bytes, more than {_MAX_CMDLINE}",
            hint="shorten boot.cmdline, boot.load.cmdline or server-setup.cmdline",
        )
    # By its descriptor, since the initrd may be a file that has no name.
    handle = initrd.fileno()
    images = [f"--initrd=/proc/self/fd/{handle}", f"--command-line={cmdline}", str(kernel)]
    refusals = []
    lockdown = _lockdown()
    for system_call in _CALLS[:1] if lockdown else _CALLS:
        done = run(
            ["kexec", system_call, "--load", *images],
            check=False,
            timeout=_TIMEOUT,
            pass_fds=[handle],
        )
        if done.returncode == 0:
            break
        refusals.append(" ".join(done.stderr.split()) or f"status {done.returncode}")
    else:
        raise _refused(kernel, refusals, lockdown)
    # The program's word is not enough: who stops an OS for it wants to know.
    if _LOADED.exists() and not is_loaded():
        raise StiefelError(
            f"kexec says that {kernel} is loaded, but {_LOADED} says that nothing is",
            hint="try kexec --load by hand; is kexec-tools as new as the kernel?",
        )


def unload() -> None:
    """Forget what was loaded, as far as there is something and it can be done."""
    with suppress(StiefelError):
        run(["kexec", "--unload"], timeout=_TIMEOUT)


def _lockdown() -> str:
    """The mode of the kernel's lockdown; nothing where it is not locked down."""
    mode = _read(_LOCKDOWN).partition("[")[2].partition("]")[0]
    return "" if mode == "none" else mode


def _refused(kernel: Path, refusals: list[str], lockdown: str) -> StiefelError:
    message = f"the running kernel refuses to load {kernel}: {'; then '.join(refusals)}"
    if not lockdown:
        hint = "with Secure Boot on, only kernels signed by a trusted key can be started"
        return StiefelError(message, hint=hint)
    hint = (
        f"the kernel is locked down ({lockdown}), as Secure Boot does it: it loads only kernels "
        "that are signed by a key which it trusts; switch Secure Boot off, or use such a kernel"
    )
    untrusted = any(os.strerror(number) in refusals[0] for number in _NOT_TRUSTED)
    return (Untrusted if untrusted else StiefelError)(message, hint=hint)


def _read(path: Path) -> str:
    """What the kernel says there; nothing where it has no such file."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
