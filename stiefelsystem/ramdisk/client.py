"""The desktop's part: find the laptop, get its kernel and initrd, and start them.

Only what a search needs is imported at the start, the rest while the laptop is waited for: on a
slow machine, imports take seconds.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from stiefelsystem.console import StiefelError, keep_in_kernel_log, run_main, say
from stiefelsystem.ramdisk import consoles, unlock
from stiefelsystem.ramdisk.search import Search

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# How often a laptop is asked that may say something else soon.
_AGAIN_PAUSE = 1.0
# Exit status of a ramdisk that cannot do its work, however often it is tried (sysexits.h:
# EX_CONFIG); stiefel-client.service does not start us again then.
_NO_KEY = 78


class Hopeless(StiefelError):
    """An attempt that fails again if nobody changes something."""


class Options(NamedTuple):
    """What the command line can change."""

    cmdline: str | None = None
    key: Path = Path("/etc/stiefelsystem/aes-key")
    receive: Path | None = None


def main() -> int:
    options = _options()
    say("this machine will run the laptop's OS")
    try:
        key = unlock.key(options.key)
    except StiefelError as error:
        _tell(error)
        return _NO_KEY
    pause = _FIRST_PAUSE
    while True:
        try:
            _attempt(key, options)
            return 0
        except Hopeless as error:
            _tell(error)
            _wait_for_somebody()
            continue
        except StiefelError as error:
            _tell(error)
        except OSError as error:  # no room for the archive, or a NIC that is gone
            say(f"cannot go on: {error}")
        say(f"trying again in {pause:.0f} s")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _options() -> Options:
    if len(sys.argv) == 1:  # as systemd starts us: no need to wait for argparse
        consoles.take_over()
        keep_in_kernel_log("stiefel-client")
        return Options()
    import argparse

    parser = argparse.ArgumentParser(prog="stiefel-client", description=__doc__)
    parser.add_argument("--cmdline", help="use this instead of the kernel's command line")
    parser.add_argument("--key", type=Path, default=Options().key)
    parser.add_argument(
        "--receive", type=Path, metavar="DIR", help="put what is received there, and start nothing"
    )
    return Options(**vars(parser.parse_args()))


def _attempt(key: bytes, options: Options) -> None:
    """One way from the search to the start, or to the folder `receive`."""
    search = Search(key)
    found = search.run(idle=_prepare)
    say(f"the laptop serves on {found.peer.interface}")
    from stiefelsystem import kexec
    from stiefelsystem.ramdisk import target
    from stiefelsystem.ramdisk.fetch import AskAgain

    began, said = time.monotonic(), ""
    while True:
        try:
            return target.start(key, found, options.cmdline, options.receive)
        except kexec.Untrusted as error:
            raise Hopeless(str(error), hint=error.hint) from error
        except AskAgain as error:
            if time.monotonic() > began + error.seconds:
                raise
            if said != str(error):
                _tell(error, "; asking again")
            said = str(error)
        time.sleep(_AGAIN_PAUSE)
        found = search.run()


def _tell(error: StiefelError, what_next: str = "") -> None:
    say(f"{error}{what_next}")
    if error.hint:
        say(f"  {error.hint}")


def _wait_for_somebody() -> None:
    """A laptop that hears us would stop its OS again, for the same end: not without a person."""
    from stiefelsystem.ramdisk import keyboards

    with closing(keyboards.answers("press Enter to try again; until then, nothing is done")) as one:
        next(one)


def _prepare() -> None:
    from stiefelsystem import crypto
    from stiefelsystem.ramdisk import target  # noqa: F401

    crypto.prepare()


if __name__ == "__main__":
    run_main(main)
