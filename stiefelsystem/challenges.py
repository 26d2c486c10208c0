"""Challenges that cost no memory to issue, expire, and can be answered once."""

from __future__ import annotations

import hmac
import os
import struct
import threading
import time

from stiefelsystem.messages import NONCE_SIZE

LIFETIME = 10.0
# So many may be answered in that time; who answers more has the key, and too much to do.
_MAX_USED = 1024
_TIME = struct.Struct(">Q")


def _now() -> float:
    """Seconds that go on while the machine is suspended, so that a challenge expires meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Challenges:
    """Issues challenges and recognises them again.

    A challenge is the time in milliseconds and a MAC, by a secret of this process, over that time,
    the peer and the peer's nonce. So however many are asked for, nothing is stored, and no flood
    can push out an honest peer's. Only what was answered is remembered until it expires, and who
    answers has proved the key first.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._used: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def issue(self, nonce: bytes, peer: str) -> bytes:
        """A fresh challenge for a peer that sent `nonce`."""
        return self._make(int(_now() * 1000), nonce, peer)

    def issued(self, challenge: bytes, nonce: bytes, peer: str) -> bool:
        """Whether this is a challenge for that nonce and peer that has not expired."""
        (then,) = _TIME.unpack_from(challenge)
        genuine = hmac.compare_digest(challenge, self._make(then, nonce, peer))
        return genuine and _now() - then / 1000 < LIFETIME

    def redeem(self, challenge: bytes, nonce: bytes, peer: str) -> bool:
        """The same, once: a second answer to the same challenge is refused.

        To be asked only when the answer's proof of the key has been verified.
        """
        if not self.issued(challenge, nonce, peer):
            return False
        now = _now()
        with self._lock:
            self._used = {used: end for used, end in self._used.items() if end > now}
            if challenge in self._used or len(self._used) >= _MAX_USED:
                return False
            self._used[challenge] = now + LIFETIME
        return True

    def _make(self, then: int, nonce: bytes, peer: str) -> bytes:
        stamp = _TIME.pack(then)
        mac = hmac.digest(self._secret, stamp + nonce + peer.encode(), "sha256")
        return stamp + mac[: NONCE_SIZE - _TIME.size]
