"""docs/test-vectors.json, and our programs with all of their randomness and time given."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stiefelsystem import challenges
from stiefelsystem.challenges import Challenges
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.messages import Offer, Role
from stiefelsystem.ramdisk import archive, exchange

PATH = Path(__file__).parents[2] / "docs/test-vectors.json"
FILE = json.loads(PATH.read_text())
VECTORS, REFUSED = FILE["vectors"], FILE["refused"]
ANY_KEY = b"k" * 32


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


def client(key: bytes, nonce: bytes, challenge: bytes, private: bytes) -> exchange.Client:
    with randomness(private=private):
        return exchange.Client(key, Offer(Role.SERVER, nonce, challenge))


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
