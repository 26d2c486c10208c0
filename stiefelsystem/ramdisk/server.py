"""The laptop's part: wait for the desktop that has the key, and give it kernel, initrd and disk."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from stiefelsystem import cmdline, keys
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.console import StiefelError, run_main, say
from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket
from stiefelsystem.discovery import Responder
from stiefelsystem.messages import Role
from stiefelsystem.ramdisk import disk, http, link
from stiefelsystem.ramdisk.session import Sessions

# How often new interfaces are looked for.
_LOOK_SECONDS = 0.5
# How long the disk's driver may take to find it.
_DRIVER_SECONDS = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="stiefel-server", description=__doc__)
    parser.add_argument("--cmdline", help="use this instead of the kernel's command line")
    parser.add_argument("--key", type=Path, default=Path("/etc/stiefelsystem/aes-key"))
    parser.add_argument("--folder", type=Path, default=Path("/run/stiefelsystem"))
    args = parser.parse_args()

    say("this machine serves its disk")
    key = keys.load(args.key)
    settings = ServerSettings.parse(args.cmdline or cmdline.running())
    sessions = Sessions(keys.subkey(key, keys.SESSION), settings, args.folder)
    responder = Responder(Role.SERVER, keys.subkey(key, keys.SERVER), sessions.challenges)
    with ExitStack() as stack:
        stack.callback(sessions.close)
        disk.remove_left_over()
        link.usable()
        _inspect(sessions)
        socket = stack.enter_context(LinkSocket(DISCOVERY_PORT))
        stack.enter_context(http.serving(sessions, responder))
        say("serving, waiting for the desktop")
        while True:
            _answer_next(socket, responder)


def _inspect(sessions: Sessions) -> None:
    """Say at once what is wrong with the disk; the client is told when it asks."""
    try:
        sessions.inspect(_DRIVER_SECONDS)
    except StiefelError as error:
        say(f"cannot serve: {error}")
        say(f"  {error.hint}")


def _answer_next(socket: LinkSocket, responder: Responder) -> None:
    link.usable()
    received = socket.receive(_LOOK_SECONDS)
    if received is None:
        return
    data, peer = received
    answer = responder.answer(data, peer)
    if answer.data:
        socket.send(answer.data, peer)


if __name__ == "__main__":
    run_main(main)
