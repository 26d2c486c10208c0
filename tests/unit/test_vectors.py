"""docs/test-vectors.json: what our programs make and read, and the page says, is what it has.

Each field is a keyword argument of what computes or reads it, here and in `reference`; so one that
nobody uses is an error.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stiefelsystem import challenges, framing, keys, messages, wrapped
from stiefelsystem.challenges import Challenges
from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.discovery import Responder
from stiefelsystem.framing import FramingError, Opener, Sealer
from stiefelsystem.messages import (
    Accepted,
    Hello,
    MessageError,
    Mismatch,
    Offer,
    Order,
    Role,
    VersionError,
)
from stiefelsystem.ramdisk import archive, exchange, session
from stiefelsystem.ramdisk.archive import ArchiveError
from stiefelsystem.ramdisk.exchange import WrongKeyError
from tests.unit import reference

PATH = Path(__file__).parents[2] / "docs/test-vectors.json"
FILE = json.loads(PATH.read_text())
VECTORS, REFUSED = FILE["vectors"], FILE["refused"]
ANY_KEY = b"k" * 32
ANY_PEER = Peer("fe80::1", 40000, 2)


def unhexed(value: Any) -> Any:
    match value:
        case str():
            return bytes.fromhex(value)
        case list():
            return [unhexed(one) for one in value]
        case dict():
            return {name: unhexed(one) for name, one in value.items()}
    return value


@contextmanager
def randomness(*, private: bytes = b"", id: bytes = b"") -> Iterator[None]:
    """What an exchange takes from the system's random numbers is fixed."""
    scalar = int.from_bytes(private, "big")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            exchange.ECC, "generate", lambda curve: exchange.ECC.construct(curve=curve, d=scalar)
        )
        patch.setattr(exchange, "os", SimpleNamespace(urandom=lambda size: id[:size]))
        yield


@contextmanager
def clock(milliseconds: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(challenges, "_now", lambda: milliseconds / 1000)
        yield


def issuer(secret: bytes) -> Challenges:
    made = Challenges()
    made._secret = secret
    return made


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


def client(key: bytes, nonce: bytes, challenge: bytes, private: bytes) -> exchange.Client:
    with randomness(private=private):
        return exchange.Client(key, Offer(Role.SERVER, nonce, challenge))


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


# How our programs read what comes from a peer, by kind.


class Refused(Exception):
    """For what is refused by returning False."""


def unless(good: bool) -> None:
    if not good:
        raise Refused


def read(reader: Callable[[bytes], object], key: bytes, message: bytes) -> None:
    reader(message)
    unless(messages.proved(key, message))


def read_challenge(*, secret: bytes, now: int, nonce: bytes, peer: bytes, challenge: bytes) -> None:
    with clock(now):
        unless(issuer(secret).issued(challenge, nonce, peer.decode()))


def read_session(*, key: bytes, message: bytes) -> None:
    exchange.read_request(key, message)
    exchange.answer_request(key, message)


def read_session_answer(*, key: bytes, session: bytes, private: bytes, message: bytes) -> None:
    client(key, *exchange.read_request(key, session), private).finish(message)


def read_boot_request(*, key: bytes, stream: bytes) -> None:
    session._tunnel_key(session._parse(session._unsealed(stream, key)))


def read_wrapped_key(*, passphrase: bytes, file: bytes) -> None:
    wrapped.unwrap(file, passphrase.decode())


def opened(*, key: bytes, stream: bytes) -> bytes:
    with Opener(io.BytesIO(stream).read, key) as opener:
        plain = opener.read(1 << 20)
        opener.finish()
    return plain


def received(*, tar: bytes) -> dict[str, bytes]:
    """The members of a boot archive, as a client takes them from its stream."""
    out = io.BytesIO()
    with Sealer(out.write, ANY_KEY) as sealer:
        sealer.write(tar)
    with (
        tempfile.TemporaryDirectory() as name,
        Opener(io.BytesIO(out.getvalue()).read, ANY_KEY) as opener,
    ):
        folder = Path(name)
        receiver = archive.Receiver(opener)
        answer = receiver.answer()
        if answer["status"] == "ok":
            receiver.files(folder, lambda _: None)
        else:
            receiver.finish()
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {"answer": json.dumps(answer).encode(), **files}


READERS: dict[str, Callable[..., object]] = {
    "HELLO": lambda *, message: Hello.unpack(message),
    "OFFER": lambda *, key, message: read(Offer.unpack, key, message),
    "ORDER": lambda *, key, message: read(Order.unpack, key, message),
    "ACCEPTED": lambda *, key, message: read(Accepted.unpack, key, message),
    "MISMATCH": lambda *, message: Mismatch.unpack(message),
    "challenge": read_challenge,
    "SESSION": read_session,
    "SESSION_ANSWER": read_session_answer,
    "stream": opened,
    "boot request": read_boot_request,
    "archive": received,
    "wrapped key": read_wrapped_key,
}
REASONS: dict[str, tuple[type[Exception] | tuple[type[Exception], ...], str | None]] = {
    "magic": (MessageError, "not a message of stiefelsystem"),
    "version": (VersionError, "the peer speaks version [23] of the protocol"),
    "type": (MessageError, "unknown message type"),
    "size": (MessageError, "not a whole"),
    "zeros": (MessageError, "not a whole HELLO message"),
    "role": (MessageError, "an OFFER from an unknown role"),
    "proof": ((WrongKeyError, Refused), None),
    "challenge": (Refused, None),
    "share": (MessageError, "not a point of P-256"),
    "frame": (FramingError, "of the stream was altered"),
    "frame header": (FramingError, "an impossible header"),
    "empty frame": (FramingError, "an empty frame stands inside the stream"),
    "cut short": (FramingError, "the stream ended before its last frame"),
    "behind the end": (FramingError, "something behind the end of the stream"),
    "boot request": (MessageError, "the boot request is not its session's"),
    "JSON": ((MessageError, ArchiveError), "is not (a )?JSON"),
    "tunnel": (MessageError, "a malformed key for the tunnel"),
    "member": (ArchiveError, "where kernel belongs"),
    "member missing": (ArchiveError, "the archive ends before"),
    "member size": (ArchiveError, "has an impossible size"),
    "member header": (ArchiveError, "the archive is malformed"),
    "more members": (ArchiveError, "more members than it should"),
    "passphrase": (wrapped.WrongPassphrase, "not the passphrase, or the stick was altered"),
    "no passphrase": (wrapped.WrongPassphrase, "an empty passphrase|cannot be printed"),
    "wrapped size or magic": (StiefelError, "not a wrapped key"),
    "wrapped version": (StiefelError, "in version 2 of the format"),
    "parameters": (StiefelError, "asks for scrypt with N = 2\\^"),
}


def test_form() -> None:
    """One field in a line; none twice, none that the tests below don't look at."""
    assert PATH.read_text() == json.dumps(FILE, indent=2) + "\n"
    assert list(FILE) == ["about", "vectors", "refused"]
    assert {tuple(one) for one in VECTORS.values()} == {("kind", "given", "expected")}
    assert {tuple(one) for one in REFUSED.values()} == {("kind", "given", "because")}
    assert {one["kind"] for one in VECTORS.values()} == set(MAKERS)
    assert {one["kind"] for one in REFUSED.values()} == set(READERS)
    assert {one["because"] for one in REFUSED.values()} == set(REASONS)


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


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    vector = REFUSED[name]
    error, message = REASONS[vector["because"]]
    with pytest.raises(error, match=message):
        READERS[vector["kind"]](**unhexed(vector["given"]))


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
