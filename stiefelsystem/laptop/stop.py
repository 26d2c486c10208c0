"""Stop this OS as its init does it, and start the kernel that is loaded.

`kexec --exec` would stop nothing first. `systemctl kexec` goes by logind since systemd 249, which
waits for locks of mode `delay`, and since 257 refuses while there are any of mode `block`; before,
it starts kexec.target itself. What of the OS's own jobs hangs then is ended by systemd's timeouts.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

from stiefelsystem.console import StiefelError, say
from stiefelsystem.run import run

# What the end of an OS looks like to a service, and to a program in a terminal.
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_TIMEOUT = 60.0
# From the order until services are stopped: logind first waits for what delays a shutdown, 5 s by
# default, 30 s with Debian's unattended-upgrades, or what InhibitDelayMaxSec= says.
_PATIENCE = 300
# inittab(5), as Gentoo has it: the last thing in runlevel 6; -k: by kexec, if a kernel is loaded.
_REBOOT_BY_KEXEC = re.compile(r"^[^#:\n]*:[0-9]*6[0-9]*:wait:\S*reboot[ \t](.*[ \t])?-\w*k", re.M)


def command(root: Path = Path("/")) -> list[str]:
    """The command that stops this OS. Raises `StiefelError` for an init that is not known."""
    if (root / "run/systemd/system").is_dir():
        return ["systemctl", "kexec"]
    # openrc-init's, where OpenRC is the init, too: openrc-shutdown(8).
    if (root / "run/openrc/init.ctl").is_fifo():
        return ["openrc-shutdown", "--kexec", "now"]
    inittab = root / "etc/inittab"
    if inittab.exists() and _REBOOT_BY_KEXEC.search(inittab.read_text(errors="replace")):
        return ["shutdown", "-r", "now"]
    raise StiefelError(
        "cannot tell how this OS is stopped for a kexec: its init is neither systemd nor "
        "openrc-init, nor one whose inittab ends runlevel 6 by `reboot -k`",
        hint="docs/autokexec.md tells what is known of OpenRC",
    )


def stop() -> None:
    """Order the stop, and wait for it: it takes this program, too.

    From the order on, the signals that end all programs are what was asked for, and must not
    unwind into forgetting the ramdisk. Raises `StiefelError` if the order is refused, or if nothing
    has come of it after five minutes.
    """
    order = command()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        say("stopping this OS; then this machine serves its disk")
        run(order, timeout=_TIMEOUT)
        if signal.sigtimedwait(_ENDING, _PATIENCE) is None:
            raise StiefelError(
                f"{' '.join(order)} was accepted, but this OS still runs after {_PATIENCE} s",
                hint="systemctl list-jobs, and systemd-inhibit --list, show what it waits for",
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
