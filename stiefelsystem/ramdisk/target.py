"""Run the OS of a laptop that was found: get its kernel and initrd, and start them here."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from stiefelsystem import cmdline, cpio, files, interfaces, kexec
from stiefelsystem.console import StiefelError, say
from stiefelsystem.ramdisk import goodbye, keeper, tunnel
from stiefelsystem.ramdisk.archive import Received
from stiefelsystem.ramdisk.fetch import Fetched, fetch
from stiefelsystem.ramdisk.search import Found
from stiefelsystem.run import run


class Target(NamedTuple):
    """What is started: the archive's files, the command line, and the keeper's settings."""

    received: Received
    cmdline: str
    session: str


def start(key: bytes, found: Found, own_cmdline: str | None, receive: Path | None) -> None:
    """Get what the server hands over, and start it; or put it into the folder `receive`.

    `own_cmdline` stands for this machine's kernel command line. Raises `fetch.AskAgain` if the
    laptop may give later what it refuses now, `kexec.Untrusted` if this machine does not start its
    kernel, and `StiefelError` for all else that goes wrong.
    """
    extra = cmdline.inner(own_cmdline or cmdline.running())
    private, public = _tunnel_keys()
    request = {"tunnel": public.hex()} if public else {}
    with tempfile.TemporaryDirectory(prefix="stiefel-", dir=receive or "/var/tmp") as name:
        started = time.monotonic()
        fetched = fetch(key, found, Path(name), request)
        seconds = time.monotonic() - started
        say(f"received and verified kernel and initrd in {seconds:.1f} s")
        target = _target(fetched, interfaces.mac(found.peer.interface), extra, private)
        if receive is None:
            _start(target, found.peer.ifindex)
        else:
            _keep(target, receive)


def _tunnel_keys() -> tuple[bytes | None, bytes | None]:
    """Private and public key for the target's end of the tunnel, if this machine can make any."""
    try:
        return tunnel.new_keys()
    except StiefelError as error:
        say(f"{error}: the disk's traffic cannot be encrypted")
        return None, None


def _target(fetched: Fetched, mac: str, extra: str, private: bytes | None) -> Target:
    answer, received, secrets = fetched
    session = keeper.session(answer, mac, secrets, private)
    if answer.get("tunnel") is None:
        say("the laptop does not encrypt: who is on this cable can read and change the disk")
    words = cmdline.target(mac, swap=answer.get("swap") is True)
    whole = " ".join(part for part in (received.cmdline, words, extra) if part)
    return Target(received, whole, session)


def _start(target: Target, ifindex: int) -> None:
    with target.received.initrd.open("r+b") as out:
        cpio.append(out, keeper.archive(target.session))
    # kexec_file_load(2) takes no file that is open for writing: ETXTBSY.
    with target.received.initrd.open("rb") as initrd:
        try:
            kexec.load(target.received.kernel, initrd, target.cmdline)
        except kexec.Untrusted as error:
            _give_back(target.session, ifindex)
            raise kexec.Untrusted(
                "the laptop's kernel cannot be started with Secure Boot on, since this PC does not "
                "trust its signature",
                hint="switch Secure Boot off in this PC's setup, or use a kernel on the laptop "
                "that this PC trusts; docs/stick.md tells which",
            ) from error
    say("starting the laptop's OS")
    # Nothing on this machine has to be stopped: there is only this ramdisk.
    run(["kexec", "--exec"])


def _give_back(session: str, ifindex: int) -> None:
    """Tell the laptop that nobody comes for its disk, which is open to us since we have all."""
    try:
        confirmed = goodbye.give_back(session, ifindex)
        why = "" if confirmed else ": it does not answer"
    except (StiefelError, OSError) as error:
        confirmed, why = False, f": {error}"
    if confirmed:
        say("the laptop has its disk back, unused")
    else:
        say(f"cannot tell the laptop that it may have its disk back{why}")
        say("  it goes back to its own OS after a while; or press Ctrl-Alt-Del there")


def _keep(target: Target, folder: Path) -> None:
    for file in (target.received.kernel, target.received.initrd):
        file.replace(folder / file.name)
    (folder / "cmdline").write_text(target.cmdline)
    files.write(folder / "session", target.session, mode=0o600)
