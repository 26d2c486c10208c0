"""A shell for looking around, at all consoles: nothing is searched for, and nothing is served."""

from __future__ import annotations

import os
from pathlib import Path

from stiefelsystem import interfaces
from stiefelsystem.console import run_main, say
from stiefelsystem.ramdisk import consoles, link

# util-linux's, which asks at all consoles by itself. --force: a root without a password is let in,
# who is kept out of every other login. Whoever chooses this in the boot menu has the stick in hand.
_LOGIN = ["sulogin", "--force"]


def main() -> int:
    consoles.take_over()
    link.usable()
    say("a shell for looking around: this machine searches for no laptop, and serves nothing")
    for name, _, _, carrier in interfaces.wired():
        signal = "has a signal" if carrier else "has no signal, or not yet"
        say(f"  wired network interface {name}, {interfaces.mac(name)}: {signal}")
    say("poweroff switches this machine off, reboot starts it anew; the keyboard is a US one")
    os.execv(Path("/usr/sbin", _LOGIN[0]), _LOGIN)


if __name__ == "__main__":
    run_main(main)
