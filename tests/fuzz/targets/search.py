"""The desktop's side of discovery: nothing unproved is found, or makes it send an ORDER.

Each step is a datagram from a laptop. Bits: 0-1 the sender; 2-3 whose key proves it, if any; 4-5
whether its nonce is the newest that was asked with, the one before, or one that is too old; 6
whether the desktop asks again before.
"""

from __future__ import annotations

from unittest import mock

from stiefelsystem.datagram import Peer
from stiefelsystem.interfaces import Interface
from stiefelsystem.messages import Offer, Role
from stiefelsystem.ramdisk import link
from stiefelsystem.ramdisk.search import Found, Search
from tests.fuzz.by_hand import AUTOKEXEC, OTHER_KEY, PEERS, SERVER, SHARED, is_signed, proof, signed
from tests.fuzz.steps import Step, steps

CABLE = Interface("eth9", 2**30, up=True, carrier=True)
KEYS = {b"\x01": SERVER, b"\x02": AUTOKEXEC}
SIGNERS = (None, SERVER, AUTOKEXEC, OTHER_KEY)


class Wire:
    """A socket with nobody behind it."""

    def __init__(self) -> None:
        self.nonces: list[bytes] = []
        self.sent: list[tuple[bytes, Peer]] = []

    def ask_all(self, data: bytes, ifindex: int) -> bool:
        assert ifindex == CABLE.index
        assert data == b"STFL\x01\x01" + data[6:38] + bytes(65), "not a HELLO"
        self.nonces.append(data[6:38])
        return True

    def send(self, data: bytes, peer: Peer) -> bool:
        self.sent.append((data, peer))
        return True


class Desktop:
    """A search, and what is known about it."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.search = Search(SHARED)
        self.rebooting: set[str] = set()

    def ask(self) -> None:
        with mock.patch.object(link, "usable", lambda: [CABLE]):
            self.search._ask(self.wire)  # type: ignore[arg-type]

    def hear(self, data: bytes, peer: Peer) -> Found | None:
        """Have a datagram handled, and compare what comes of it with what should."""
        found = self.search._handle(self.wire, data, peer)  # type: ignore[arg-type]
        may_be_found, message = self._expected(data, peer)
        assert found == may_be_found, "found what is no proved answer, or not what is"
        expected = [(message, peer)] if message else []
        assert self.wire.sent == expected, "says what it should not, or not what it should"
        assert len(message) <= len(data)
        self.wire.sent.clear()
        return found

    def _expected(self, data: bytes, peer: Peer) -> tuple[Found | None, bytes]:
        """What a datagram lets the desktop find, and say."""
        live = self.wire.nonces[-2:]
        if len(data) == 104 and data[:6] == b"STFL\x01\x04":
            soon = int.from_bytes(data[70:72], "big") <= 3600
            if data[6:38] in live and soon and is_signed(AUTOKEXEC, data):
                self.rebooting.add(peer.identity)
            return None, b""
        role, nonces = data[6:7], data[7:71]
        is_offer = len(data) == 103 and data[:6] == b"STFL\x01\x02" and role in KEYS
        if not is_offer or nonces[:32] not in live:
            return None, b""
        if not is_signed(KEYS[role], data):
            return None, b"STFL\x01\x05" + nonces
        if role == b"\x01":
            return Found(Offer(Role.SERVER, nonces[:32], nonces[32:]), peer), b""
        order = b"STFL\x01\x03" + nonces
        return None, b"" if peer.identity in self.rebooting else order + proof(AUTOKEXEC, order)


def _datagram(step: Step, nonces: list[bytes]) -> bytes:
    data = step.data
    if age := step.bits(4, 2):
        at = 7 if data[5:6] == b"\x02" else 6
        data = data[:at] + nonces[-age] + data[at + 32 :]
    key = SIGNERS[step.bits(2, 2)]
    return signed(key, data) if key else data


def fuzz(data: bytes) -> bool:
    """Returns whether a server was found."""
    desktop = Desktop()
    for _ in range(3):
        desktop.ask()
    found = False
    for step in steps(data):
        if step.bits(6):
            desktop.ask()
        datagram = _datagram(step, desktop.wire.nonces)
        found |= desktop.hear(datagram, PEERS[step.bits(0, 2)]) is not None
    return found
