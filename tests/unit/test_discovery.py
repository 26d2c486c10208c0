"""Discovery between a client, played by hand, and a responder: mutual, fresh, once only."""

from __future__ import annotations

import secrets
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem import keys
from stiefelsystem.challenges import LIFETIME, Challenges
from stiefelsystem.datagram import Peer
from stiefelsystem.discovery import Answer, Responder
from stiefelsystem.messages import (
    NONCE_SIZE,
    Accepted,
    Hello,
    Mismatch,
    Offer,
    Order,
    Role,
    proved,
)
from tests.unit.one_clock import Clock, clock

__all__ = ["clock"]  # the fixture


SHARED = b"\x5a" * 32
AUTOKEXEC = keys.subkey(SHARED, keys.AUTOKEXEC)
SERVER = keys.subkey(SHARED, keys.SERVER)
# An interface that no machine has, so that its name is its number.
PEER = Peer("fe80::1", 40000, 2**30)
NEIGHBOUR = Peer("fe80::2", 40000, 2**30)
OTHER_LINK = Peer("fe80::1", 40000, 2**30 + 1)
ANOTHER_KEY = f"a peer with another key on {2**30}\n"


@pytest.fixture
def autokexec() -> Responder:
    return Responder(Role.AUTOKEXEC, AUTOKEXEC, Challenges(), delay=7)


@pytest.fixture
def server() -> Responder:
    return Responder(Role.SERVER, SERVER, Challenges())


def ask(responder: Responder, peer: Peer = PEER) -> Offer:
    """Send a HELLO, and return the OFFER that comes back."""
    hello = Hello(secrets.token_bytes(NONCE_SIZE))
    answer = responder.answer(hello.pack(), peer)
    assert not answer.ordered
    offer = Offer.unpack(answer.data)
    assert offer.nonce == hello.nonce
    return offer


def order(offer: Offer, key: bytes = AUTOKEXEC) -> bytes:
    return Order(offer.nonce, offer.challenge).pack(key)


def obeys(responder: Responder, data: bytes, peer: Peer = PEER) -> bool:
    """Whether `data` is obeyed; what is not obeyed must have no answer either."""
    answer = responder.answer(data, peer)
    assert bool(answer.data) == answer.ordered
    return answer.ordered


def test_whole_exchange(autokexec: Responder) -> None:
    nonce = secrets.token_bytes(NONCE_SIZE)
    answer = autokexec.answer(Hello(nonce).pack(), PEER).data
    offer = Offer.unpack(answer)
    assert proved(AUTOKEXEC, answer)
    assert not proved(SERVER, answer)
    assert (offer.role, offer.nonce) == (Role.AUTOKEXEC, nonce)

    done = autokexec.answer(order(offer), PEER)
    assert done.ordered
    assert proved(AUTOKEXEC, done.data)
    assert Accepted.unpack(done.data) == Accepted(nonce, offer.challenge, 7)


def test_server_offers(server: Responder) -> None:
    nonce = secrets.token_bytes(NONCE_SIZE)
    answer = server.answer(Hello(nonce).pack(), PEER).data
    assert proved(SERVER, answer)
    assert Offer.unpack(answer).role is Role.SERVER


def test_answer_is_not_larger_than_the_question(autokexec: Responder) -> None:
    hello = Hello(bytes(NONCE_SIZE)).pack()
    assert len(autokexec.answer(hello, PEER).data) <= len(hello)


def test_order_is_obeyed_once(autokexec: Responder) -> None:
    data = order(ask(autokexec))
    assert obeys(autokexec, data)
    assert not obeys(autokexec, data)
    assert not obeys(autokexec, data)


def test_the_next_order_is_obeyed_too(autokexec: Responder) -> None:
    assert obeys(autokexec, order(ask(autokexec)))
    assert obeys(autokexec, order(ask(autokexec)))


def test_order_of_yesterday_is_refused_today() -> None:
    """What was recorded means nothing to a process that started later."""
    yesterday = Responder(Role.AUTOKEXEC, AUTOKEXEC, Challenges())
    recorded = order(ask(yesterday))
    assert not obeys(Responder(Role.AUTOKEXEC, AUTOKEXEC, Challenges()), recorded)


def test_order_replayed_with_its_hello_is_refused(autokexec: Responder) -> None:
    hello = Hello(secrets.token_bytes(NONCE_SIZE)).pack()
    data = order(Offer.unpack(autokexec.answer(hello, PEER).data))
    assert obeys(autokexec, data)
    autokexec.answer(hello, PEER)
    assert not obeys(autokexec, data)


@pytest.mark.parametrize("other", [NEIGHBOUR, OTHER_LINK])
def test_order_from_another_peer_is_refused(autokexec: Responder, other: Peer) -> None:
    data = order(ask(autokexec))
    assert not obeys(autokexec, data, other)
    assert obeys(autokexec, data)  # and has not used up the challenge


def test_order_from_another_port_of_the_peer_is_obeyed(autokexec: Responder) -> None:
    assert obeys(autokexec, order(ask(autokexec)), Peer(PEER.address, 4644, PEER.ifindex))


def test_order_with_another_nonce_is_refused(autokexec: Responder) -> None:
    offer, other = ask(autokexec), ask(autokexec)
    assert not obeys(autokexec, Order(other.nonce, offer.challenge).pack(AUTOKEXEC))
    assert not obeys(autokexec, Order(offer.nonce, other.challenge).pack(AUTOKEXEC))
    assert obeys(autokexec, order(offer))


def test_order_with_a_made_up_challenge_is_refused(autokexec: Responder) -> None:
    offer = ask(autokexec)
    for challenge in (bytes(NONCE_SIZE), b"\xff" * NONCE_SIZE, offer.nonce):
        assert not obeys(autokexec, Order(offer.nonce, challenge).pack(AUTOKEXEC))


def test_order_with_every_bit_changed_is_refused(autokexec: Responder) -> None:
    data = order(ask(autokexec))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert not obeys(autokexec, bytes(changed))
    assert obeys(autokexec, data)


def test_challenge_with_every_bit_changed_is_refused(autokexec: Responder) -> None:
    """Even from someone who has the key, so that it is the challenge that decides."""
    offer = ask(autokexec)
    for bit in range(8 * NONCE_SIZE):
        changed = bytearray(offer.challenge)
        changed[bit // 8] ^= 1 << bit % 8
        assert not obeys(autokexec, Order(offer.nonce, bytes(changed)).pack(AUTOKEXEC))


@pytest.mark.parametrize(
    "key", [SERVER, SHARED, keys.subkey(SHARED, keys.SESSION), keys.subkey(b"x" * 32, "")]
)
def test_order_proved_with_another_key_is_refused(
    autokexec: Responder, key: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    offer = ask(autokexec)
    assert not obeys(autokexec, order(offer, key))
    assert capsys.readouterr().err == ANOTHER_KEY
    assert obeys(autokexec, order(offer))  # and has not used up the challenge


def test_order_expires(autokexec: Responder, clock: Clock) -> None:
    early, late = order(ask(autokexec)), order(ask(autokexec))
    clock.now += LIFETIME - 0.01
    assert obeys(autokexec, early)
    clock.now += 0.01
    assert not obeys(autokexec, late)
    clock.now += 1e6
    assert not obeys(autokexec, late)


def test_used_challenge_stays_used_until_it_expires(autokexec: Responder, clock: Clock) -> None:
    data = order(ask(autokexec))
    assert obeys(autokexec, data)
    for _ in range(30):
        clock.now += LIFETIME / 20
        assert not obeys(autokexec, data)


@pytest.mark.parametrize("key", [SERVER, AUTOKEXEC])
def test_server_never_obeys(server: Responder, key: bytes) -> None:
    assert not obeys(server, order(ask(server), key))


@given(data=st.binary(max_size=200))
def test_garbage_has_no_answer(data: bytes) -> None:
    for role, key in ((Role.AUTOKEXEC, AUTOKEXEC), (Role.SERVER, SERVER)):
        answer = Responder(role, key, Challenges()).answer(data, PEER)
        assert (answer.data, answer.ordered) == (b"", False)


def test_messages_for_others_have_no_answer(autokexec: Responder) -> None:
    """An answer to an answer could go round for ever."""
    offer = ask(autokexec)
    for data in (
        offer.pack(AUTOKEXEC),
        Accepted(offer.nonce, offer.challenge, 1).pack(AUTOKEXEC),
        Mismatch(offer.nonce, offer.challenge).pack(),
        b"STFL\x01\x10" + bytes(161),
    ):
        assert not obeys(autokexec, data)


def test_other_version_is_reported_and_answered(
    autokexec: Responder, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the prefix alone, in which that other version finds ours."""
    data = bytearray(Hello(bytes(NONCE_SIZE)).pack())
    data[4] = 9
    assert autokexec.answer(bytes(data), PEER) == Answer(b"STFL\x01\x06")
    message = "the peer speaks version 9 of the protocol, this program speaks 1"
    said = capsys.readouterr().err
    assert said.startswith(f"{PEER.interface}: {message}; ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 5, 6, 16, 17, 255])
def test_other_messages_of_another_version_have_no_answer(autokexec: Responder, kind: int) -> None:
    assert autokexec.answer(b"STFL\x09" + bytes([kind]) + bytes(97), PEER) == Answer()


@pytest.mark.parametrize("data", [b"STFL\x09", b"stfl\x09\x01", b"STFL"])
def test_what_is_too_short_for_a_version_has_no_answer(autokexec: Responder, data: bytes) -> None:
    assert autokexec.answer(data, PEER) == Answer()


def test_mismatch_is_reported(autokexec: Responder, capsys: pytest.CaptureFixture[str]) -> None:
    offer = ask(autokexec)
    assert not obeys(autokexec, Mismatch(offer.nonce, offer.challenge).pack())
    assert capsys.readouterr().err == ANOTHER_KEY


def test_mismatch_out_of_the_blue_is_not_reported(
    autokexec: Responder, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    offer, other = ask(autokexec), ask(autokexec)
    genuine = Mismatch(offer.nonce, offer.challenge).pack()
    for data, peer in (
        (Mismatch(offer.nonce, bytes(NONCE_SIZE)).pack(), PEER),
        (Mismatch(offer.nonce, other.challenge).pack(), PEER),
        (genuine, NEIGHBOUR),
        (genuine, OTHER_LINK),
    ):
        autokexec.answer(data, peer)
    clock.now += LIFETIME
    autokexec.answer(genuine, PEER)
    assert capsys.readouterr().err == ""


def test_mismatch_does_not_use_up_the_challenge(autokexec: Responder) -> None:
    offer = ask(autokexec)
    autokexec.answer(Mismatch(offer.nonce, offer.challenge).pack(), PEER)
    assert obeys(autokexec, order(offer))


def test_flood_costs_no_memory(autokexec: Responder, clock: Clock) -> None:
    honest = order(ask(autokexec))
    hellos = [Hello(secrets.token_bytes(NONCE_SIZE)).pack() for _ in range(100)]

    def flood(rounds: int) -> None:
        for number in range(rounds):
            stranger = Peer(f"fe80::{number:x}", 1, PEER.ifindex)
            for hello in hellos:
                autokexec.answer(hello, stranger)

    flood(10)
    tracemalloc.start()
    try:
        flood(1)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        flood(20)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1 << 14
    assert peak - before < 1 << 16
    flood(970)
    clock.now += LIFETIME / 2
    assert obeys(autokexec, honest)


def test_flood_of_bad_messages_is_reported_a_few_times(
    autokexec: Responder, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """And does not keep it from being said that somebody has another key."""
    for version in range(2, 250):
        for _ in range(3):
            autokexec.answer(b"STFL" + bytes([version, 1]), PEER)
    assert len(capsys.readouterr().err.splitlines()) == 16
    for _ in range(100):
        autokexec.answer(order(ask(autokexec), SERVER), PEER)
    assert capsys.readouterr().err == ANOTHER_KEY
