"""docs/test-vectors.json: what our programs make and read, and the page says, is what it has.

Each field is a keyword argument of what computes or reads it, here and in `reference`; so one that
nobody uses is an error.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stiefelsystem import framing, keys, messages, wrapped
from stiefelsystem.challenges import Challenges
from stiefelsystem.datagram import Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.framing import Sealer
from stiefelsystem.messages import Accepted, Hello, Mismatch, Offer, Order, Role
from stiefelsystem.ramdisk import archive, exchange, session
from tests.unit import reference
from tests.unit.one_vector import (
    ANY_KEY,
    FILE,
    PATH,
    VECTORS,
    client,
    clock,
    issuer,
    opened,
    randomness,
    received,
    unhexed,
)

ANY_PEER = Peer("fe80::1", 40000, 2)

# What our programs make of what is given, by kind. Each is read again, too.


def subkeys(*, key: bytes) -> dict[str, Any]:
    return {label: keys.subkey(key, label) for label in (keys.SERVER, keys.AUTOKEXEC, keys.SESSION)}


def hello(**given: Any) -> dict[str, Any]:
    made = Hello(**given)
    assert Hello.unpack(made.pack()) == made
    return {"message": made.pack()}


def mismatch(**given: Any) -> dict[str, Any]:
    made = Mismatch(**given)
    assert Mismatch.unpack(made.pack()) == made
    return {"message": made.pack()}


def proved(made: Offer | Order | Accepted, key: bytes) -> dict[str, Any]:
    message = made.pack(key)
    assert type(made).unpack(message) == made
    assert messages.proved(key, message)
    return {"message": message}


def offer(*, key: bytes, role: int, **given: Any) -> dict[str, Any]:
    return proved(Offer(Role(role), **given), key)


def order(*, key: bytes, **given: Any) -> dict[str, Any]:
    return proved(Order(**given), key)


def accepted(*, key: bytes, countdown: int, **given: Any) -> dict[str, Any]:
    return proved(Accepted(delay=countdown, **given), key)


def version(*, hello: bytes) -> dict[str, Any]:
    return {"message": Responder(Role.SERVER, ANY_KEY, Challenges()).answer(hello, ANY_PEER).data}


def challenge(*, secret: bytes, time: int, nonce: bytes, peer: bytes) -> dict[str, Any]:
    one, identity = issuer(secret), peer.decode()
    with clock(time):
        made = one.issue(nonce, identity)
    with clock(time + 9_999):
        assert one.issued(made, nonce, identity)
    return {"challenge": made}


def session_request(
    *, key: bytes, nonce: bytes, challenge: bytes, private: bytes
) -> dict[str, Any]:
    request = client(key, nonce, challenge, private).request
    assert exchange.read_request(key, request) == (nonce, challenge)
    return {"message": request}


def session_answer(*, key: bytes, session: bytes, id: bytes, private: bytes) -> dict[str, Any]:
    with randomness(private=private, id=id):
        return {"message": exchange.answer_request(key, session)[0]}


def session_keys(
    *, key: bytes, session: bytes, answer: bytes, client_private: bytes, server_private: bytes
) -> dict[str, Any]:
    """Of both sides; neither shows the steps on the way, z and salt."""
    theirs = client(key, *exchange.read_request(key, session), client_private).finish(answer)
    with randomness(private=server_private, id=theirs.id):
        assert exchange.answer_request(key, session) == (answer, theirs)
    return {"to server": theirs.to_server, "to client": theirs.to_client}


def boot_secrets(*, to_client: bytes, boot_request: bytes) -> dict[str, Any]:
    made = exchange.Keys(b"", b"", to_client).secrets(boot_request)._asdict()
    return {"boot archive": made.pop("archive"), **made}


def stream(*, key: bytes, frames: list[bytes]) -> dict[str, Any]:
    last = len(frames) - 1
    made = b"".join(
        framing._seal(key, place, plain, place == last) for place, plain in enumerate(frames)
    )
    assert opened(key=key, stream=made) == b"".join(frames)
    return {"stream": made}


def boot_archive(*, tar: bytes) -> dict[str, Any]:
    members = received(tar=tar)
    out = io.BytesIO()
    archive.send(out, json.loads(members["answer"]), dict(members))
    # Our own ends in two blocks of zeros, as others may.
    assert out.getvalue() == tar + bytes(len(out.getvalue()) - len(tar))
    return members


def wrapped_key(
    *, key: bytes, passphrase: bytes, salt: bytes, log_n: int, r: int, p: int
) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wrapped, "os", SimpleNamespace(urandom=lambda size: salt[:size]))
        for name, value in {"_LOG_N": log_n, "_R": r, "_P": p}.items():
            patch.setattr(wrapped, name, value)
        made = wrapped.wrap(key, passphrase.decode())
    assert wrapped.unwrap(made, passphrase.decode()) == key
    return {"file": made}


MAKERS: dict[str, Callable[..., dict[str, Any]]] = {
    "subkeys": subkeys,
    "HELLO": hello,
    "OFFER": offer,
    "ORDER": order,
    "ACCEPTED": accepted,
    "MISMATCH": mismatch,
    "VERSION": version,
    "challenge": challenge,
    "SESSION": session_request,
    "SESSION_ANSWER": session_answer,
    "session keys": session_keys,
    "secrets": boot_secrets,
    "stream": stream,
    "archive": boot_archive,
    "wrapped key": wrapped_key,
}


def test_form() -> None:
    """One field in a line; none twice, none that the tests below don't look at."""
    assert PATH.read_text() == json.dumps(FILE, indent=2) + "\n"
    assert list(FILE) == ["about", "vectors", "refused"]
    assert {tuple(one) for one in VECTORS.values()} == {("kind", "given", "expected")}
    assert {one["kind"] for one in VECTORS.values()} == set(MAKERS)


@pytest.mark.parametrize("name", VECTORS)
def test_the_page(name: str) -> None:
    vector = VECTORS[name]
    compute = getattr(reference, vector["kind"].lower().replace(" ", "_"))
    assert compute(**unhexed(vector["given"])) == unhexed(vector["expected"])


@pytest.mark.parametrize("name", VECTORS)
def test_our_programs(name: str) -> None:
    vector = VECTORS[name]
    expected = unhexed(vector["expected"])
    made = MAKERS[vector["kind"]](**unhexed(vector["given"]))
    assert made
    assert {**expected, **made} == expected


def of_boot(name: str) -> dict[str, Any]:
    """A step of the boot: what is given and what is expected."""
    vector = VECTORS[f"boot: {name}"]
    return unhexed(vector["given"] | vector["expected"])


def peer_of(step: dict[str, Any]) -> Peer:
    address, _, ifindex = step["peer"].decode().partition("%")
    return Peer(address, 40000, int(ifindex))


def test_boot_of_autokexec() -> None:
    """From a HELLO to ACCEPTED: each message is the answer to the one before."""
    issued, offered, ordered = map(
        of_boot, ("challenge by autokexec", "OFFER by autokexec", "ORDER")
    )
    accepted, peer = of_boot("ACCEPTED"), peer_of(issued)
    laptop = Responder(
        Role.AUTOKEXEC, offered["key"], issuer(issued["secret"]), delay=accepted["countdown"]
    )
    with clock(issued["time"]):
        offer = laptop.answer(of_boot("HELLO of the search")["message"], peer).data
        assert offer == offered["message"]
        _, nonce, challenge = Offer.unpack(offer)
        order = Order(nonce, challenge).pack(offered["key"])
        assert order == ordered["message"]
        assert laptop.answer(order, peer) == (accepted["message"], True)


def test_boot_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a HELLO to the last frame of the archive."""
    issued, offered, answered = map(
        of_boot, ("challenge by the server", "OFFER by the server", "SESSION_ANSWER")
    )
    peer = peer_of(issued)
    sessions = session.Sessions(answered["key"])
    sessions.challenges._secret = issued["secret"]
    laptop = Responder(Role.SERVER, offered["key"], sessions.challenges)
    with clock(issued["time"]), randomness(private=answered["private"], id=answered["id"]):
        offer = laptop.answer(of_boot("HELLO after the reboot")["message"], peer).data
        assert offer == offered["message"]
        assert sessions.open(of_boot("SESSION")["message"], peer) == answered["message"]
    asked = sessions.take(answered["id"], of_boot("boot request")["stream"], peer)
    made = of_boot("secrets of the boot request")
    assert asked is not None
    assert asked.secrets == tuple(
        made[label] for label in ("boot archive", "preshared", "end", "ended")
    )
    assert asked.tunnel is not None
    assert {"tunnel": asked.tunnel.hex()} == json.loads(of_boot("boot request")["frames"][0])

    members, sealed = of_boot("boot archive"), of_boot("boot archive, sealed")
    monkeypatch.setattr(framing, "FRAME_SIZE", len(sealed["frames"][0]))
    out = io.BytesIO()
    with Sealer(out.write, asked.secrets.archive) as sealer:
        archive.send(sealer, json.loads(members["answer"]), members)
    assert out.getvalue() == sealed["stream"]
