"""The laptop's side of discovery: whatever comes, it obeys nothing but a proved, fresh ORDER.

Each step is a datagram to a server or an autokexec. Bits: 0-1 time that passes before; 2-3 the
sender; 4 the receiver; 5 whether nonce and challenge are those of the last OFFER; 6-7 whose key
proves it, if any.
"""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

from stiefelsystem import challenges
from stiefelsystem.challenges import Challenges
from stiefelsystem.datagram import Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.messages import Role
from tests.fuzz.by_hand import AUTOKEXEC, OTHER_KEY, PEERS, SERVER, is_signed, proof, signed
from tests.fuzz.steps import steps

SECONDS = (0, 1, 9, 10)
KEYS = {Role.SERVER: SERVER, Role.AUTOKEXEC: AUTOKEXEC}
SIGNERS = (None, AUTOKEXEC, SERVER, OTHER_KEY)
DELAY = 7
LIFETIME = 10


class Laptop:
    """A responder, and what is known about the challenges that it has issued."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.responder = Responder(role, KEYS[role], Challenges(), delay=DELAY)
        # By nonce and challenge, as they stand in an ORDER.
        self.issued: dict[bytes, tuple[str, float]] = {}
        self.obeyed: set[bytes] = set()

    def hear(self, data: bytes, peer: Peer, now: float) -> bytes:
        """Have a datagram answered, and compare the answer with what it should be."""
        answer, ordered = self.responder.answer(data, peer)
        may_order = self.may_order(data, peer, now)
        expected = b""
        if data == (b"STFL\x01\x01" + data[6:38]).ljust(103, b"\0"):
            offer = b"STFL\x01\x02" + bytes([self.role]) + data[6:38] + answer[39:71]
            self.issued[offer[7:]] = peer.identity, now
            expected = offer + proof(KEYS[self.role], offer)
        elif head_of_any_version(data) and data[4] != 1:
            expected = b"STFL\x01\x06"
        elif may_order:
            self.obeyed.add(data[6:70])
            accepted = b"STFL\x01\x04" + data[6:70] + DELAY.to_bytes(2, "big")
            expected = accepted + proof(AUTOKEXEC, accepted)
        assert ordered == may_order, "obeys what is no proved, fresh order, or not what is one"
        assert answer == expected, "another answer than it should be"
        # What nobody has proved gets nothing that is longer than itself.
        assert ordered or len(answer) <= len(data)
        return answer

    def may_order(self, data: bytes, peer: Peer, now: float) -> bool:
        nonces = data[6:70]
        identity, then = self.issued.get(nonces, ("", 0.0))
        fresh = identity == peer.identity and now - then < LIFETIME and nonces not in self.obeyed
        whole = self.role is Role.AUTOKEXEC and len(data) == 102 and data[:6] == b"STFL\x01\x03"
        return whole and fresh and is_signed(AUTOKEXEC, data)


def head_of_any_version(data: bytes) -> bool:
    return len(data) >= 6 and data[:4] == b"STFL" and data[5] == 1


def fuzz(data: bytes) -> bool:
    """Returns whether an order was obeyed."""
    clock = SimpleNamespace(now=1000.0)
    with mock.patch.object(challenges, "_now", lambda: clock.now):
        laptops = [Laptop(role) for role in Role]
        offered = bytes(64)
        for step in steps(data):
            clock.now += SECONDS[step.bits(0, 2)]
            datagram = step.data
            if step.bits(5):
                datagram = datagram[:6] + offered + datagram[70:]
            if key := SIGNERS[step.bits(6, 2)]:
                datagram = signed(key, datagram)
            answer = laptops[step.bits(4)].hear(datagram, PEERS[step.bits(2, 2)], clock.now)
            if answer[5:6] == b"\x02":
                offered = answer[7:71]
    return any(laptop.obeyed for laptop in laptops)
