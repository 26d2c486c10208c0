"""Run the OS of a laptop that was found: get its kernel and initrd, and start them here."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from stiefelsystem import cmdline, interfaces, kexec
from stiefelsystem.console import say
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk.archive import ArchiveError, Received
from stiefelsystem.ramdisk.fetch import fetch
from stiefelsystem.ramdisk.search import Found
from stiefelsystem.run import run


def start(key: bytes, found: Found, own_cmdline: str | None, receive: Path | None) -> None:
    """Get what the server hands over, and start it; or put it into the folder `receive`.

    `own_cmdline` stands for this machine's kernel command line. Raises `fetch.NotYet` if the
    laptop's disk is still waited for, and `StiefelError` for all else that goes wrong.
    """
    extra = cmdline.inner(own_cmdline or cmdline.running())
    with tempfile.TemporaryDirectory(prefix="stiefel-", dir=receive or "/var/tmp") as name:
        started = time.monotonic()
        answer, received = fetch(key, found, Path(name))
        seconds = time.monotonic() - started
        say(f"received and verified kernel and initrd in {seconds:.1f} s")
        target = _cmdline(answer, received, found.peer, extra)
        if receive is None:
            _start(received, target)
        else:
            for file in (received.kernel, received.initrd):
                file.replace(receive / file.name)
            (receive / "cmdline").write_text(target)


def _cmdline(answer: dict[str, Any], received: Received, peer: Peer, extra: str) -> str:
    try:
        words = cmdline.Link(
            mac=interfaces.mac(peer.interface),
            address=answer["client"],
            server=answer["server"],
            port=answer["port"],
            export=answer["export"],
            sector_size=answer["sector_size"],
        ).words()
    except KeyError as error:
        raise ArchiveError(f"the laptop's answer lacks what the target needs: {error}") from error
    return " ".join(part for part in (received.cmdline, words, extra) if part)


def _start(received: Received, target: str) -> None:
    with received.initrd.open("rb") as initrd:
        kexec.load(received.kernel, initrd, target)
    say("starting the laptop's OS")
    # Nothing on this machine has to be stopped: there is only this ramdisk.
    run(["kexec", "--exec"])
