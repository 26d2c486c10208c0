"""The desktop's part: find the laptop, get its kernel and initrd, and start them."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from stiefelsystem import cmdline, interfaces, kexec, keys
from stiefelsystem.console import StiefelError, run_main, say
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk.archive import ArchiveError, Received
from stiefelsystem.ramdisk.fetch import fetch
from stiefelsystem.ramdisk.search import Search
from stiefelsystem.run import run

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="stiefel-client", description=__doc__)
    parser.add_argument("--cmdline", help="use this instead of the kernel's command line")
    parser.add_argument("--key", type=Path, default=Path("/etc/stiefelsystem/aes-key"))
    parser.add_argument(
        "--receive", type=Path, metavar="DIR", help="put what is received there, and start nothing"
    )
    args = parser.parse_args()

    say("this machine will run the laptop's OS")
    key = keys.load(args.key)
    extra = cmdline.inner(args.cmdline or cmdline.running())
    pause = _FIRST_PAUSE
    while True:
        try:
            _attempt(key, extra, args.receive)
            return 0
        except StiefelError as error:
            say(str(error))
            if error.hint:
                say(f"  {error.hint}")
        except OSError as error:  # no room for the archive, or a NIC that is gone
            say(f"cannot go on: {error}")
        say(f"trying again in {pause:.0f} s")
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _attempt(key: bytes, extra: str, receive: Path | None) -> None:
    """One way from the search to the start, or to the folder `receive`."""
    found = Search(key).run()
    say(f"the laptop serves on {found.peer.interface}")
    with tempfile.TemporaryDirectory(prefix="stiefel-", dir=receive or "/var/tmp") as name:
        started = time.monotonic()
        answer, received = fetch(key, found, Path(name))
        seconds = time.monotonic() - started
        say(f"received and verified kernel and initrd in {seconds:.1f} s")
        target = _target_cmdline(answer, received, found.peer, extra)
        if receive is None:
            _start(received, target)
        else:
            for file in (received.kernel, received.initrd):
                file.replace(receive / file.name)
            (receive / "cmdline").write_text(target)


def _target_cmdline(answer: dict[str, Any], received: Received, peer: Peer, extra: str) -> str:
    try:
        words = cmdline.Link(
            mac=interfaces.mac(peer.interface),
            address=str(answer["client"]),
            server=str(answer["server"]),
            port=int(answer["port"]),
            export=str(answer["export"]),
            sector_size=int(answer["sector_size"]),
        ).words()
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"the laptop's answer lacks what the target needs: {error}") from error
    return " ".join(part for part in (received.cmdline, words, extra) if part)


def _start(received: Received, target: str) -> None:
    with received.initrd.open("rb") as initrd:
        kexec.load(received.kernel, initrd, target)
    say("starting the laptop's OS")
    # Nothing on this machine has to be stopped: there is only this ramdisk.
    run(["kexec", "--exec"])


if __name__ == "__main__":
    run_main(main)
