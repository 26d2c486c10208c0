"""From the server's answer to the target's command line: words that the hook takes, or an error.

The answer is a good one, but for what the steps change. Bits: 0-2 which field, or the laptop's own
command line; 3 whether the step's bytes are what a JSON string says, or else JSON, or none; 4
whether the field is left out; 5 whether the bytes are the whole answer.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Self
from unittest import mock

from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Sealer
from stiefelsystem.messages import Offer, Role
from stiefelsystem.ramdisk import archive, fetch, target
from stiefelsystem.ramdisk.exchange import Keys
from stiefelsystem.ramdisk.search import Found
from tests.fuzz.by_hand import SHARED
from tests.fuzz.inline import without_threads
from tests.fuzz.steps import steps

SESSION = Keys(b"i" * 16, b"s" * 32, b"c" * 32)
# The target is told the MAC of the interface, so it must be one that every machine has.
FOUND = Found(
    Offer(Role.SERVER, bytes(32), bytes(32)), Peer("fe80::1", 4644, socket.if_nametoindex("lo"))
)
OWN_CMDLINE = "quiet stiefel_innercmdline=ZXh0cmEgd29yZHM="
EXTRA = ["extra", "words"]
# The characters that nbd-hook/lib takes.
WORDS = [
    ("stiefel_link", "[0-9a-f:]+", None),
    ("stiefel_address", "[0-9a-f:]+", "client"),
    ("stiefel_server", "[0-9a-f:]+", "server"),
    ("stiefel_port", "[0-9]+", "port"),
    ("stiefel_export", "[a-z0-9-]+", "export"),
    ("stiefel_sector", "[0-9]+", "sector_size"),
]
GOOD = {
    "status": b'"ok"',
    "size": b"2",
    "client": b'"fe80::1"',
    "server": b'"fe80::2"',
    "port": b"10809",
    "export": b'"disk"',
    "sector_size": b"512",
}


class Sent(NamedTuple):
    """What the server sends."""

    answer: bytes
    cmdline: bytes


def _sent(data: bytes) -> Sent:
    fields, answer, cmdline = dict(GOOD), b"", b"root=/dev/sda2 ro quiet\n"
    for step in steps(data):
        name, value = [*GOOD, "cmdline"][step.bits(0, 3)], step.data
        if step.bits(3):
            value = json.dumps(value.decode("utf-8", "surrogateescape")).encode()
        if name == "cmdline":
            cmdline = step.data
        elif step.bits(5):
            answer = step.data
        elif step.bits(4):
            fields.pop(name, None)
        else:
            fields[name] = value
    members = b", ".join(b'"%b": %b' % (name.encode(), value) for name, value in fields.items())
    return Sent(answer or b"{%b}" % members, cmdline)


class Response:
    """The server's response to the request for an archive."""

    def __init__(self, sent: Sent, request: bytes) -> None:
        self._stream = io.BytesIO()
        with Sealer(self._stream.write, SESSION.archive(request)) as out:
            members = {"kernel": b"MZ", "initrd": b"", "cmdline": sent.cmdline}
            for name, content in {"answer": sent.answer, **members}.items():
                archive._add(out, name, content)
        self._stream.seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        return self._stream.read(size)

    def lift_limit(self) -> None:
        pass


def fuzz(data: bytes) -> bool:
    """Returns whether the target would be started."""
    sent = _sent(data)
    seconds = itertools.count()
    passing = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    with (
        without_threads(),
        tempfile.TemporaryDirectory(prefix="stiefel-fuzz-") as name,
        mock.patch.object(fetch, "time", passing),
        mock.patch.object(fetch, "_open_session", lambda key, found: SESSION),
        mock.patch.object(fetch, "_Post", lambda _, path, body: Response(sent, body)),
    ):
        folder = Path(name)
        try:
            target.start(SHARED, FOUND, OWN_CMDLINE, folder)
        except StiefelError as error:
            assert not list(folder.iterdir())
            waits = isinstance(error, fetch.NotYet)
            assert not waits or json.loads(sent.answer)["status"] == "not yet"
            return False
        assert {path.name for path in folder.iterdir()} == {"kernel", "initrd", "cmdline"}
        _is_fit((folder / "cmdline").read_text(), sent)
    return True


def _is_fit(cmdline: str, sent: Sent) -> None:
    """The target's command line is what was sent, six words, and what this machine adds."""
    answer = json.loads(sent.answer)
    assert answer["status"] == "ok"
    assert "\0" not in cmdline, "no program can be given this"
    own = sent.cmdline.decode(errors="replace").split()
    words = cmdline.split()
    assert words[: len(own)] == own
    assert words[len(own) + len(WORDS) :] == EXTRA
    for word, (name, characters, field) in zip(words[len(own) :], WORDS, strict=False):
        value = word.removeprefix(f"{name}=")
        assert value != word, f"{word} stands where {name} belongs"
        assert re.fullmatch(characters, value), f"the hook refuses {word}"
        assert field is None or value == str(answer[field])
