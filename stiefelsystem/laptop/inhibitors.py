"""Who has asked systemd-logind not to shut this machine down: systemd-inhibit(1).

logind honours these locks for root only since systemd 257, and `systemctl --check-inhibitors=yes`
(248) takes everyone who is logged in for an obstacle, too. So they are looked at here.
"""

from __future__ import annotations

import json
from pathlib import Path

from stiefelsystem.console import StiefelError, warn
from stiefelsystem.run import run

# sd_booted(3): there wherever systemd is the init.
SYSTEMD = Path("/run/systemd/system")
_TIMEOUT = 10.0  # seconds
# org.freedesktop.login1(5). Without starting logind: where it does not run, nobody holds a lock.
_LIST = (
    *("busctl", "--json=short", "--auto-start=no", "call"),
    *("org.freedesktop.login1", "/org/freedesktop/login1"),
    *("org.freedesktop.login1.Manager", "ListInhibitors"),
)


def blocking() -> list[StiefelError]:
    """Who inhibits a shutdown, and why. Nobody, where systemd is not the init.

    Locks of mode `delay` are not meant: logind waits for those by itself. Raises `StiefelError`
    if logind does not answer in time, or what it says is not understood.
    """
    if not SYSTEMD.exists():
        return []
    done = run(_LIST, check=False, timeout=_TIMEOUT)
    if done.returncode != 0:
        # Without logind or the bus, nobody can have taken a lock either.
        warn(f"cannot ask logind who inhibits a shutdown: {' '.join(done.stderr.split())}")
        return []
    try:
        (locks,) = json.loads(done.stdout)["data"]
        return [
            StiefelError(
                f"{who} (process {process}, user {user}) inhibits a shutdown: {reason}",
                hint="systemd-inhibit --list shows who does",
            )
            for what, who, reason, mode, user, process in locks
            # block-weak, since 257, is what block was before.
            if "shutdown" in what.split(":") and mode in ("block", "block-weak")
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StiefelError(
            f"cannot understand logind's list of inhibitors: {done.stdout.strip()!r}"
        ) from error
