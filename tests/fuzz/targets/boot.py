"""From the server's answer to the target's command line and the keeper's settings, or an error.

The answer is a good one, but for what the steps change. Bits: 0-3 which field, or the laptop's own
command line, or a field that is not known; 4 whether the step's bytes are what a JSON string says,
or else JSON, or none; 5 whether the field is left out; 6 whether the bytes are the whole answer; 7
whether this machine has no WireGuard.
"""

from __future__ import annotations

import io
import json
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self
from unittest import mock

from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Sealer
from stiefelsystem.messages import Offer, Role
from stiefelsystem.ramdisk import archive, fetch, target, tunnel
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
PRIVATE, PUBLIC = b"p" * 32, b"q" * 32
HEX = "[0-9a-f]{64}"
ADDRESS = "[0-9a-f:]+"
# What the keeper's file has, and the field of the answer that it is taken from.
LINES = {
    "mac": ("00:00:00:00:00:00", None),
    "end": (HEX, None),
    "ended": (HEX, None),
    "encryption": ("none|wireguard", None),
    "address": (ADDRESS, "client"),
    "server": (ADDRESS, "server"),
    "port": ("[0-9]+", "port"),
    "export": ("[a-z0-9-]+", "export"),
    "sector": ("[0-9]+", "sector_size"),
    "connections": ("[0-9]+", "connections"),
    "end-port": ("[0-9]+", "end-port"),
}
TUNNEL_LINES = {
    "private": (PRIVATE.hex(), None),
    "preshared": (HEX, None),
    "peer": (HEX, "tunnel"),
    "wg-port": ("[0-9]+", "tunnel-port"),
    "inner-address": (ADDRESS, "inner-client"),
    "inner-server": (ADDRESS, "inner-server"),
}
GOOD = {
    "status": b'"ok"',
    "size": b"2",
    "client": b'"fe80::1"',
    "server": b'"fe80::2"',
    "port": b"10809",
    "export": b'"disk"',
    "sector_size": b"512",
    "connections": b"4",
    "swap": b"false",
    "end-port": b"61571",
    "tunnel": b'"%s"' % (b"0f" * 32),
    "tunnel-port": b"51820",
    "inner-client": b'"fe80::2"',
    "inner-server": b'"fe80::1"',
}
# By the number in a step's choices.
NAMES = [*list(GOOD)[:7], "cmdline", *list(GOOD)[7:], "more"]


class Sent(NamedTuple):
    """What the server sends."""

    answer: bytes
    cmdline: bytes
    without_tunnel: bool


def _sent(data: bytes) -> Sent:
    fields, answer, cmdline = dict(GOOD), b"", b"root=/dev/sda2 ro quiet\n"
    without = False
    for step in steps(data):
        name, value = NAMES[step.bits(0, 4)], step.data
        without |= bool(step.bits(7))
        if step.bits(4):
            value = json.dumps(value.decode("utf-8", "surrogateescape")).encode()
        if name == "cmdline":
            cmdline = step.data
        elif step.bits(6):
            answer = step.data
        elif step.bits(5):
            fields.pop(name, None)
        else:
            fields[name] = value
    members = b", ".join(b'"%b": %b' % (name.encode(), value) for name, value in fields.items())
    return Sent(answer or b"{%b}" % members, cmdline, without)


class Response:
    """The server's response to the request for an archive."""

    def __init__(self, sent: Sent, request: bytes) -> None:
        self._stream = io.BytesIO()
        with Sealer(self._stream.write, SESSION.secrets(request).archive) as out:
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
    with (
        without_threads(),
        tempfile.TemporaryDirectory(prefix="stiefel-fuzz-") as name,
        mock.patch.object(fetch, "_open_session", lambda key, found: SESSION),
        mock.patch.object(fetch, "_Post", lambda _, path, body: Response(sent, body)),
        mock.patch.object(tunnel, "new_keys", _new_keys(sent)),
    ):
        folder = Path(name)
        try:
            target.start(SHARED, FOUND, OWN_CMDLINE, folder)
        except StiefelError as error:
            assert not list(folder.iterdir())
            waits = isinstance(error, fetch.NotYet)
            assert not waits or json.loads(sent.answer)["status"] == "not yet"
            return False
        assert {path.name for path in folder.iterdir()} == {
            *("kernel", "initrd", "cmdline", "session")
        }
        _is_fit((folder / "cmdline").read_text(), (folder / "session").read_text(), sent)
    return True


def _new_keys(sent: Sent) -> Callable[[], tuple[bytes, bytes]]:
    """As if the kernel made them, or could not."""
    if sent.without_tunnel:
        return mock.Mock(side_effect=StiefelError("no WireGuard"))
    return lambda: (PRIVATE, PUBLIC)


def _is_fit(cmdline: str, session: str, sent: Sent) -> None:
    """The target's command line is what was sent, our words, and what this machine adds; and the
    keeper's file has each line once, as the keeper takes it."""
    answer = json.loads(sent.answer)
    assert answer["status"] == "ok"
    assert "\0" not in cmdline, "no program can be given this"
    own = sent.cmdline.decode(errors="replace").split()
    ours = ["stiefel_link=00:00:00:00:00:00", "systemd.swap=0"]
    if answer.get("swap") is True:
        ours.pop()
    assert cmdline.split() == [*own, *ours, *EXTRA]
    encrypted = answer.get("tunnel") is not None
    assert not (encrypted and sent.without_tunnel)
    expected = LINES | TUNNEL_LINES if encrypted else LINES
    values = dict(line.split("=") for line in session.split("\n")[:-1])
    assert values.keys() == expected.keys()
    assert len(session.split("\n")) == len(expected) + 1
    assert len(session) < 4096
    for name, (characters, field) in expected.items():
        assert re.fullmatch(characters, values[name]), f"the keeper refuses {name}={values[name]}"
        assert field is None or values[name] == str(answer[field])
    assert (values["encryption"] == "wireguard") == encrypted
