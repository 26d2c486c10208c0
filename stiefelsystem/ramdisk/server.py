"""The laptop's part: wait for the desktop that has the key, and give it kernel, initrd and disk.

Only what brings up the link is imported at the start, the rest while a NIC looks for its other end.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stiefelsystem import crypto, keys
from stiefelsystem.console import StiefelError, keep_in_kernel_log, run_main, say
from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket
from stiefelsystem.ramdisk import consoles, link

if TYPE_CHECKING:
    from stiefelsystem.discovery import Responder
    from stiefelsystem.ramdisk.confirmation import Confirmation
    from stiefelsystem.ramdisk.handover import Handover
    from stiefelsystem.ramdisk.life import Life

# How often new interfaces are looked for.
_LOOK_SECONDS = 0.5
# A desktop that waits already comes first: what it asks for makes us look at the disk anyway.
_UNASKED_SECONDS = 3.0


class Options(NamedTuple):
    """What the command line can change."""

    cmdline: str | None = None
    key: Path = Path("/etc/stiefelsystem/aes-key")
    folder: Path = Path("/run/stiefelsystem")
    alone: bool = False  # this machine does nothing else, and is left with the server


class _Parts(NamedTuple):
    """What answers datagrams, what has the disk, what asks at this machine, and what tells when all
    of that is over."""

    responder: Responder
    handover: Handover
    confirmation: Confirmation
    life: Life


def main() -> int:
    options = _options()
    say("this machine serves its disk")
    key = keys.load(options.key)
    link.usable()
    # What arrives at the socket before it is answered waits there.
    with LinkSocket(DISCOVERY_PORT) as socket, _serving(key, options) as parts:
        say("serving, waiting for the desktop")
        look_at, how = 0.0, ""
        while not how:
            # Not for each datagram: whoever sends many would have us do nothing else.
            if (now := time.monotonic()) >= look_at:
                link.usable()
                parts.confirmation.listen()
                parts.handover.look_after()
                how = parts.life.over()
                look_at = now + _LOOK_SECONDS
            _answer_next(socket, parts.responder, look_at - now)
    if options.alone:
        from stiefelsystem.ramdisk.life import leave

        leave(how)
    return 0


def _options() -> Options:
    if len(sys.argv) == 1:  # as systemd starts us: no need to wait for argparse
        consoles.take_over()
        keep_in_kernel_log("stiefel-server")
        return Options(alone=True)
    import argparse

    default = Options()
    parser = argparse.ArgumentParser(prog="stiefel-server", description=__doc__)
    parser.add_argument("--cmdline", help="use this instead of the kernel's command line")
    parser.add_argument("--key", type=Path, default=default.key)
    parser.add_argument("--folder", type=Path, default=default.folder)
    return Options(**vars(parser.parse_args()))


@contextmanager
def _serving(key: bytes, options: Options) -> Iterator[_Parts]:
    """Serve sessions and the disk, as long as the block runs; it gets what needs the main loop."""
    from stiefelsystem import cmdline
    from stiefelsystem.discovery import Responder
    from stiefelsystem.messages import Role
    from stiefelsystem.ramdisk import disk, http
    from stiefelsystem.ramdisk.confirmation import Confirmation
    from stiefelsystem.ramdisk.handover import Handover
    from stiefelsystem.ramdisk.life import Life
    from stiefelsystem.ramdisk.session import Sessions

    settings = cmdline.ServerSettings.parse(options.cmdline or cmdline.running())
    sessions = Sessions(keys.subkey(key, keys.SESSION))
    confirmation = Confirmation()
    handover = Handover(settings, options.folder, confirmation)
    life = Life(after=settings.after, wait=settings.wait, in_use=handover.in_use)
    handover.ended = life.session_ended
    responder = Responder(Role.SERVER, keys.subkey(key, keys.SERVER), sessions.challenges)
    with ExitStack() as stack:
        stack.callback(handover.close)
        stack.callback(confirmation.close)
        disk.remove_left_over()
        stack.enter_context(http.serving(sessions, handover, responder))
        stack.enter_context(_preparing(handover))
        yield _Parts(responder, handover, confirmation, life)


@contextmanager
def _preparing(handover: Handover) -> Iterator[None]:
    """Have ready what a client will ask for, and say as soon as it is known if something is wrong
    with the disk; the client is told when it asks."""
    ended = threading.Event()

    def prepare() -> None:
        crypto.prepare()
        ended.wait(_UNASKED_SECONDS)
        try:
            handover.inspect_early(ended)
        except StiefelError as error:
            say(f"cannot serve: {error}")
            say(f"  {error.hint}")
        except OSError as error:
            say(f"cannot serve: {error}")

    thread = threading.Thread(target=prepare)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _answer_next(socket: LinkSocket, responder: Responder, seconds: float) -> None:
    received = socket.receive(seconds)
    if received is None:
        return
    data, peer = received
    answer = responder.answer(data, peer)
    if answer.data:
        socket.send(answer.data, peer)


if __name__ == "__main__":
    run_main(main)
