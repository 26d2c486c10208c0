"""Load a kernel to be started by kexec."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import IO

from stiefelsystem.console import StiefelError
from stiefelsystem.run import run

# Loading copies the images into memory; two minutes are ample for gigabytes, even emulated.
_TIMEOUT = 120.0
# x86's COMMAND_LINE_SIZE, with its end; what is longer would be cut.
_MAX_CMDLINE = 2047


def load(kernel: Path, initrd: IO[bytes], cmdline: str) -> None:
    """Load a kernel, its initrd and its command line, to be started at the next kexec.

    First by kexec_file_load(2), which Secure Boot allows for signed kernels, then by the older
    call, for kernels that were built without the first. Raises `StiefelError` if both refuse.
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
    for system_call in ("--kexec-file-syscall", "--kexec-syscall"):
        done = run(
            ["kexec", system_call, "--load", *images],
            check=False,
            timeout=_TIMEOUT,
            pass_fds=[handle],
        )
        if done.returncode == 0:
            return
        refusals.append(" ".join(done.stderr.split()) or f"status {done.returncode}")
    raise StiefelError(
        f"the running kernel refuses to load {kernel}: {'; then '.join(refusals)}",
        hint="with Secure Boot on, only kernels signed by a trusted key can be started",
    )


def unload() -> None:
    """Forget what was loaded, as far as there is something and it can be done."""
    with suppress(StiefelError):
        run(["kexec", "--unload"], timeout=_TIMEOUT)
