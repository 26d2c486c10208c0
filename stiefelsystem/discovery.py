"""The answering side of discovery, the same in the ramdisk's server and in stiefel-autokexec."""

from __future__ import annotations

from typing import NamedTuple

from stiefelsystem.challenges import Challenges
from stiefelsystem.console import RateLimited
from stiefelsystem.datagram import Peer
from stiefelsystem.messages import (
    Accepted,
    Hello,
    MessageError,
    Mismatch,
    Offer,
    Order,
    Role,
    Type,
    VersionError,
    is_hello_of_any_version,
    kind_of,
    prefix,
    proved,
)


class Answer(NamedTuple):
    """What to send back, if anything, and whether a proved order came in."""

    data: bytes = b""
    ordered: bool = False


class Responder:
    """Answers datagrams; knows the subkey of one role, and does nothing before a proof of it."""

    def __init__(self, role: Role, key: bytes, challenges: Challenges, *, delay: int = 0) -> None:
        self._role = role
        self._key = key
        self._challenges = challenges
        self._delay = delay
        self._report = RateLimited()
        # Apart, so that no flood of garbage can keep it from being said.
        self._report_key = RateLimited()

    def answer(self, data: bytes, peer: Peer) -> Answer:
        """The answer to one datagram, whatever it is; garbage has none."""
        try:
            match kind_of(data):
                case Type.HELLO:
                    return self._offer(Hello.unpack(data), peer)
                case Type.ORDER if self._role is Role.AUTOKEXEC:
                    return self._obey(Order.unpack(data), data, peer)
                case Type.MISMATCH:
                    self._mismatched(Mismatch.unpack(data), peer)
        except MessageError as error:
            self.complain(error, peer)
            if isinstance(error, VersionError) and is_hello_of_any_version(data):
                return Answer(prefix(Type.VERSION))
        return Answer()

    def complain(self, error: MessageError, peer: Peer) -> None:
        """Report a message that is none, or of another version."""
        self._report.say(f"{peer.interface}: {error}" + (f"; {error.hint}" if error.hint else ""))

    def wrong_key(self, peer: Peer) -> None:
        """Report a peer whose proof was made with another key."""
        self._report_key.say(f"a peer with another key on {peer.interface}")

    def _offer(self, hello: Hello, peer: Peer) -> Answer:
        challenge = self._challenges.issue(hello.nonce, peer.identity)
        return Answer(Offer(self._role, hello.nonce, challenge).pack(self._key))

    def _obey(self, order: Order, data: bytes, peer: Peer) -> Answer:
        if not proved(self._key, data):
            self.wrong_key(peer)
            return Answer()
        if not self._challenges.redeem(order.challenge, order.nonce, peer.identity):
            return Answer()
        accepted = Accepted(order.nonce, order.challenge, self._delay)
        return Answer(accepted.pack(self._key), ordered=True)

    def _mismatched(self, mismatch: Mismatch, peer: Peer) -> None:
        if self._challenges.issued(mismatch.challenge, mismatch.nonce, peer.identity):
            self.wrong_key(peer)
