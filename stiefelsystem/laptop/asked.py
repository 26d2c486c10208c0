"""The trigger by a message: a desktop that proves the key asks for this machine's disk."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from stiefelsystem.challenges import Challenges
from stiefelsystem.console import say
from stiefelsystem.datagram import DISCOVERY_PORT, LinkSocket, Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.interfaces import is_wired
from stiefelsystem.laptop.orders import Order
from stiefelsystem.messages import Role

# A searching desktop asks every 0.5 s, without end. One that was silent for so long was restarted,
# or its cable was pulled: somebody has asked anew.
_SILENCE = 10.0


class Desktops:
    """Answers desktops on wired links, until one proves the key with an order to reboot."""

    def __init__(self, subkey: bytes, *, delay: int) -> None:
        self._responder = Responder(Role.AUTOKEXEC, subkey, Challenges(), delay=delay)
        # Who was refused, by a cancelled countdown: when they were last heard.
        self._refused: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._socket = LinkSocket(DISCOVERY_PORT)
        say("listening for a desktop")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._socket.__exit__(kind, error, _)

    def fileno(self) -> int:
        return self._socket.fileno()

    def refuse(self, desktop: str) -> None:
        """Do not answer this desktop any more, as long as it goes on asking: it would order again,
        and again, what was cancelled."""
        self._refused[desktop] = time.monotonic()
        say(f"the desktop {desktop} is not answered until it has been silent for {_SILENCE:g} s")

    def read(self) -> Order | None:
        received = self._socket.receive(0)
        if received is None:
            return None
        data, peer = received
        if not is_wired(peer.ifindex) or self._is_refused(peer):
            return None
        answer = self._responder.answer(data, peer)
        if answer.data:
            self._socket.send(answer.data, peer)
        if not answer.ordered:
            return None
        return Order(f"a desktop on {peer.interface} asks for this machine's disk", peer.identity)

    def _is_refused(self, peer: Peer) -> bool:
        last, now = self._refused.get(peer.identity), time.monotonic()
        if last is None:
            return False
        if now - last > _SILENCE:
            del self._refused[peer.identity]
            return False
        self._refused[peer.identity] = now
        return True
