"""The server's sessions: who may have the boot archive and then the disk. One client at a time."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stiefelsystem.challenges import Challenges
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.console import StiefelError, say
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.messages import MessageError
from stiefelsystem.ramdisk import archive, disk, exchange
from stiefelsystem.ramdisk.export import NAME, PORT, Export

# An opened session must be used within this time; so many may be open at once. Who opens one has
# proved the key.
_OPEN_SECONDS = 30.0
_MAX_OPEN = 8
_MAX_REQUEST = 1 << 16
# How long a desktop may take from its kexec to its first NBD connection.
_BOOT_SECONDS = 300.0


@dataclass
class _Open:
    keys: exchange.Keys
    peer: Peer
    until: float


@dataclass
class _Current:
    """The client that has the disk, or is just getting what it needs for it."""

    peer: Peer
    since: float = field(default_factory=time.monotonic)
    export: Export | None = None

    def is_over(self) -> bool:
        """Whether it has ended, or never came: it has no connection, and had time for one."""
        if self.export is None:
            return False  # still receiving; the connection's own deadlines end that
        return self.export.connections() == 0 and time.monotonic() - self.since > _BOOT_SECONDS


class Refused(StiefelError):
    """The client does not get what it asks for; the message is told to it."""


class Sessions:
    """Opens sessions for clients that prove the key, and gives the disk to one of them."""

    def __init__(self, key: bytes, settings: ServerSettings, folder: Path) -> None:
        self._key = key
        self._settings = settings
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[bytes, _Open] = {}
        self._current: _Current | None = None
        self.challenges = Challenges()

    def open(self, request: bytes, peer: Peer) -> bytes:
        """Answer a request for a session. Raises `MessageError` unless it proves the key, fresh."""
        nonce, challenge = exchange.read_request(self._key, request)
        if not self.challenges.redeem(challenge, nonce, peer.identity):
            raise MessageError("the challenge has expired, or was answered before")
        answer, keys = exchange.answer_request(self._key, request)
        now = time.monotonic()
        with self._lock:
            self._open = {i: entry for i, entry in self._open.items() if entry.until > now}
            if len(self._open) >= _MAX_OPEN:
                raise MessageError("too many sessions are being opened")
            self._open[keys.id] = _Open(keys, peer, now + _OPEN_SECONDS)
        return answer

    def take(self, identity: bytes, peer: Peer) -> exchange.Keys | None:
        """The keys of an opened session, once, for the peer that opened it."""
        with self._lock:
            entry = self._open.pop(identity, None)
        if entry is None or entry.peer.identity != peer.identity or entry.until < time.monotonic():
            return None
        return entry.keys

    def boot(self, request: Opener, out: Sealer, peer: Peer, own_address: str) -> None:
        """Hand the boot archive to a client, and open the disk to it."""
        _read_request(request)
        try:
            current = self._claim(peer)
        except Refused as refusal:
            say(f"{peer}: {refusal}")
            archive.send(out, {"status": "in use", "reason": str(refusal)}, {})
            return
        try:
            checked = self._hand_over(out, peer, own_address)
            out.close()
            self._serve(current, checked, own_address)
        except BaseException:
            self._release(current)
            raise

    def close(self) -> None:
        """End the session, if there is one: nothing is written to the disk after this."""
        with self._lock:
            current, self._current = self._current, None
        if current and current.export:
            current.export.close()

    def inspect(self) -> disk.Disk:
        """Look whether the disk can be served. Raises `StiefelError` with the reason if not."""
        disk.wait_for(self._settings.disk, 30.0)
        disk.wait_for(self._settings.part, 10.0)
        return disk.check(self._settings.disk)

    def _hand_over(self, out: Sealer, peer: Peer, own_address: str) -> disk.Disk:
        settings = self._settings
        try:
            checked = self.inspect()
            with disk.boot_folder(settings.part) as folder:
                kernel, initrd = disk.find_boot_files(folder, settings.kernel, settings.initrd)
                say(f"{peer}: sending {kernel.name} and {initrd.name}")
                answer = _answer(checked, peer, own_address, kernel, initrd)
                members: dict[str, Path | bytes]
                members = {"kernel": kernel, "initrd": initrd, "cmdline": settings.cmdline.encode()}
                archive.send(out, answer, members)
        except StiefelError as error:
            say(f"cannot serve: {error}" + (f" ({error.hint})" if error.hint else ""))
            # Before the archive has begun, the client is told; after that, it sees it cut short.
            if out.untouched:
                archive.send(out, {"status": "error", "reason": str(error)}, {})
                out.close()
            raise
        return checked

    def _claim(self, peer: Peer) -> _Current:
        """Give the disk to `peer`, fencing off a former client that has no use for it any more.

        A desktop that asks again has rebooted: whatever held the disk there is gone.
        """
        with self._lock:
            former = self._current
            if former and former.peer.identity != peer.identity and not former.is_over():
                raise Refused(f"the disk is in use by {former.peer.address}")
            if former and former.export:
                say(f"{peer}: the former session of {former.peer.address} is ended")
                former.export.close()
            self._current = _Current(peer)
            return self._current

    def _serve(self, current: _Current, checked: disk.Disk, own_address: str) -> None:
        with self._lock:
            if self._current is not current:
                raise Refused("a newer request of the same client has taken over")
            current.export = Export(checked, current.peer, own_address, self._folder)
            current.since = time.monotonic()
        say(f"{current.peer}: the disk {checked.path} is open to it, and to nobody else")

    def _release(self, current: _Current) -> None:
        with self._lock:
            if self._current is current:
                self._current = None
        if current.export:
            current.export.close()


def _read_request(request: Opener) -> dict[str, Any]:
    """What the client wants; nothing yet, but it must be whole and end."""
    text = request.read(_MAX_REQUEST)
    request.finish()
    try:
        wanted = json.loads(text)
    except ValueError as error:
        raise MessageError("the boot request is not JSON") from error
    if not isinstance(wanted, dict):
        raise MessageError("the boot request is not a JSON object")
    return wanted


def _answer(
    checked: disk.Disk, peer: Peer, own_address: str, kernel: Path, initrd: Path
) -> dict[str, Any]:
    return {
        "status": "ok",
        "size": kernel.stat().st_size + initrd.stat().st_size,
        "client": peer.address,
        "server": own_address,
        "port": PORT,
        "export": NAME,
        "sector_size": checked.sector_size,
    }
