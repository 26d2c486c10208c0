"""Find the laptop: ask on all links at once, believe only who proves the key."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from stiefelsystem import keys
from stiefelsystem.console import RateLimited, say
from stiefelsystem.datagram import LinkSocket, Peer
from stiefelsystem.interfaces import Interface, wired
from stiefelsystem.messages import (
    NONCE_SIZE,
    Accepted,
    Hello,
    MessageError,
    Mismatch,
    Offer,
    Order,
    Role,
    Type,
    kind_of,
    proved,
)
from stiefelsystem.ramdisk import link

_ASK_SECONDS = 0.5
# How often it is said again that nothing has changed.
_REMIND_SECONDS = 30.0
_REMIND_OF_REBOOT_SECONDS = 10.0
# How long two NICs may take to agree on how they speak, before we say that there is no cable.
_AGREE_SECONDS = 5.0
# How long a laptop may take to stop its OS after the countdown, before it is asked again.
_STOP_SECONDS = 90.0


class Found(NamedTuple):
    """A server that has proved the key, and whose challenge is to be answered."""

    offer: Offer
    peer: Peer


class Search:
    """A search for a laptop, from the first question to a server's offer."""

    def __init__(self, key: bytes) -> None:
        self._keys = {
            Role.SERVER: keys.subkey(key, keys.SERVER),
            Role.AUTOKEXEC: keys.subkey(key, keys.AUTOKEXEC),
        }
        # Answers may cross with the next question; older ones are replays.
        self._nonces: deque[bytes] = deque(maxlen=2)
        self._rebooting: dict[str, float] = {}
        self._report, self._report_key = RateLimited(), RateLimited()
        self._state, self._said_at = "", 0.0
        # Since when a laptop is waited for that was told to reboot.
        self._reboot_at: float | None = None
        self._signal_at = time.monotonic()

    def run(self, idle: Callable[[], object] = lambda: None) -> Found:
        """Ask until a server has proved the key. Laptops that still run their OS are told to
        reboot; all that happens meanwhile is said on the console.

        `idle` is called after each round in which no server was found; what comes in while it
        works is read in the next one.
        """
        with LinkSocket() as socket:
            while not (found := self._round(socket)):
                idle()
        return found

    def _round(self, socket: LinkSocket) -> Found | None:
        """Ask once, and hear the answers."""
        self._ask(socket)
        deadline = time.monotonic() + _ASK_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            received = socket.receive(left)
            if received and (found := self._handle(socket, *received)):
                return found
        return None

    def _ask(self, socket: LinkSocket) -> None:
        usable = link.usable()
        self._nonces.append(os.urandom(NONCE_SIZE))
        for interface in usable:
            socket.ask_all(Hello(self._nonces[-1]).pack(), interface.index)
        # Its NIC loses the signal on the way, which is no reason to worry about the cable.
        if self._reboot_at is None or not self._waits_for_reboot(self._reboot_at):
            self._show_links(usable)

    def _show_links(self, usable: list[Interface]) -> None:
        now = time.monotonic()
        if usable:
            self._signal_at = now
            names = ", ".join(interface.name for interface in usable)
            self._show(
                f"searching for the laptop on {names}",
                reminder="; is it switched on, and has it been set up?",
            )
        elif all_names := ", ".join(interface.name for interface in wired()):
            if now - self._signal_at > _AGREE_SECONDS:
                self._show(
                    f"no cable is plugged in: {all_names}; "
                    "plug it in here and at the laptop, and switch the laptop on"
                )
        else:
            self._signal_at = now
            self._show(
                "waiting for a wired network interface: there is none",
                reminder=" that the ramdisk knows; is there an adapter to be plugged in?",
            )

    def _waits_for_reboot(self, since: float) -> bool:
        """Say how long it has taken; False when it is too long."""
        now = time.monotonic()
        if now < max(self._rebooting.values()):
            if now - self._said_at >= _REMIND_OF_REBOOT_SECONDS:
                self._said_at = now
                say(f"waiting for the laptop to stop its OS and reboot, for {now - since:.0f} s")
            return True
        self._reboot_at = None
        say("the laptop has not come back: look at its screen; maybe somebody there has said no")
        return False

    def _show(self, state: str, *, reminder: str = "") -> None:
        """Say what is waited for: at once when it is new, with `reminder` now and then after."""
        now = time.monotonic()
        if state != self._state or now - self._said_at >= _REMIND_SECONDS:
            say(state + (reminder if state == self._state else ""))
            self._state, self._said_at = state, now

    def _handle(self, socket: LinkSocket, data: bytes, peer: Peer) -> Found | None:
        try:
            match kind_of(data):
                case Type.OFFER:
                    return self._offered(socket, data, peer)
                case Type.ACCEPTED:
                    self._accepted(data, peer)
        except MessageError as error:
            hint = f"; {error.hint}" if error.hint else ""
            self._report.say(f"{peer.interface}: {error}{hint}")
        return None

    def _offered(self, socket: LinkSocket, data: bytes, peer: Peer) -> Found | None:
        offer = Offer.unpack(data)
        if offer.nonce not in self._nonces:
            return None
        key = self._keys[offer.role]
        if not proved(key, data):
            self._report_key.say(f"a peer with another key on {peer.interface}")
            socket.send(Mismatch(offer.nonce, offer.challenge).pack(), peer)
            return None
        if offer.role is Role.SERVER:
            self._reboot_at = None
            return Found(offer, peer)
        if self._rebooting.get(peer.identity, 0.0) < time.monotonic():
            socket.send(Order(offer.nonce, offer.challenge).pack(key), peer)
        return None

    def _accepted(self, data: bytes, peer: Peer) -> None:
        accepted = Accepted.unpack(data)
        if accepted.nonce in self._nonces and proved(self._keys[Role.AUTOKEXEC], data):
            now = time.monotonic()
            self._rebooting[peer.identity] = now + accepted.delay + _STOP_SECONDS
            # What is shown next is new then.
            self._reboot_at, self._state, self._said_at = now, "", now
            say(
                f"found the laptop on {peer.interface}; "
                f"its OS stops in {accepted.delay} s, then it comes back with its disk"
            )
