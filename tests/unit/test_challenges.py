"""Challenges: each one differs, is good once, for a while, and costs nothing that lasts."""

from __future__ import annotations

import tracemalloc

from stiefelsystem.challenges import LIFETIME, Challenges
from stiefelsystem.messages import NONCE_SIZE
from tests.unit.one_clock import Clock, clock

__all__ = ["clock"]  # the fixture


def test_used_challenges_are_forgotten(clock: Clock) -> None:
    """Who has the key could otherwise fill the memory, a challenge at a time."""
    some = Challenges()
    nonce = bytes(NONCE_SIZE)
    tracemalloc.start()
    try:
        for number in range(3000):
            clock.now += LIFETIME / 20
            assert some.redeem(some.issue(nonce, "peer"), nonce, "peer")
            if number == 100:
                before, _ = tracemalloc.get_traced_memory()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1 << 14


def test_used_challenges_are_bounded(clock: Clock) -> None:
    """Within their lifetime, too; and later all goes on."""
    some = Challenges()
    nonce = bytes(NONCE_SIZE)

    def redeemed() -> bool:
        clock.now += 0.001
        return some.redeem(some.issue(nonce, "peer"), nonce, "peer")

    assert [redeemed() for _ in range(1030)].count(True) == 1024
    clock.now += LIFETIME
    assert redeemed()


def test_challenges_differ(clock: Clock) -> None:
    """By nonce, peer and process, within one millisecond."""
    some = Challenges()
    nonces = (bytes(NONCE_SIZE), b"\1" * NONCE_SIZE)
    both = (some, Challenges())
    made = {one.issue(nonce, peer) for one in both for nonce in nonces for peer in "ab"}
    assert len(made) == 8
    assert {len(challenge) for challenge in made} == {NONCE_SIZE}


def test_issued_is_not_redeemed() -> None:
    some = Challenges()
    nonce = bytes(NONCE_SIZE)
    challenge = some.issue(nonce, "peer")
    assert some.issued(challenge, nonce, "peer")
    assert some.issued(challenge, nonce, "peer")
    assert some.redeem(challenge, nonce, "peer")
    assert not some.redeem(challenge, nonce, "peer")
