"""Who gets the boot archive and then the disk: one client at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stiefelsystem import boot_files
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.console import RateLimited, StiefelError, say
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Sealer
from stiefelsystem.ramdisk import archive, boot_images, disk
from stiefelsystem.ramdisk.confirmation import Confirmation
from stiefelsystem.ramdisk.disk import Disk
from stiefelsystem.ramdisk.grant import Grant
from stiefelsystem.ramdisk.holder import Holder
from stiefelsystem.ramdisk.session import Asked

# How long others wait while the disk changes hands.
_PATIENCE_SECONDS = 5.0
# How long a client waits for a disk that is not there, before it is told so.
_DISK_SECONDS = 2.0
# How often it is looked whether the disk is there while no client asks.
_LOOK_SECONDS = 0.1
# How often it is said that the same desktop is refused; it asks again and again.
_REFUSED_SECONDS = 60.0


class Refused(StiefelError):
    """The client does not get what it asks for; the message is told to it."""


class Unconfirmed(Refused):
    """It may get it, if whoever is at this machine says so."""


class Handover:
    """Gives kernel, initrd and disk to one client at a time; from one that is there to another one
    only by a confirmation."""

    def __init__(self, settings: ServerSettings, folder: Path, confirmation: Confirmation) -> None:
        self._settings = settings
        self._folder = folder
        self._confirmation = confirmation
        # Called when a client has said that it is done, and the disk is closed.
        self.ended: Callable[[], None] = lambda: None
        self._since = time.monotonic()
        # Held while the disk changes hands, which may take a while.
        self._handing_over = threading.Lock()
        self._current: Holder | None = None
        self._report, self._refused = RateLimited(), RateLimited(_REFUSED_SECONDS)
        # Why nobody gets the disk any more, once there is a reason.
        self._closed = ""

    def boot(
        self, out: Sealer, asked: Asked, own_address: str, hang_up: Callable[[], None]
    ) -> None:
        """Hand the boot archive to a client, and open the disk to it; `hang_up` ends the attempt.

        What goes wrong is told to the client, as long as the archive has not begun; after that it
        sees the stream cut short.
        """
        peer = asked.peer
        try:
            current = self._claim(asked, own_address, hang_up)
            try:
                self._hand_over(current, out, own_address)
            except BaseException:
                self._release(current)
                raise
        except StiefelError as error:
            if not out.untouched:
                raise
            self._say_why(peer, error)
            answer = {"status": _status(error), "reason": str(error), "hint": error.hint}
            archive.send(out, answer, {})

    def close(self) -> None:
        """End the session, if there is one: nothing is written to the disk after this."""
        with self._handing_over:
            self._closed = "the server is being stopped"
            if self._current:
                self._current.end()
                self._current = None

    def look_after(self) -> None:
        """Mend what has died of an open session; to be called now and then."""
        if not self._handing_over.acquire(blocking=False):
            return
        try:
            if self._current:
                self._current.look_after()
        except (StiefelError, OSError) as error:
            self._report.say(str(error))
        finally:
            self._handing_over.release()

    def in_use(self) -> bool:
        """Whether a client has the disk, or is getting it."""
        current = self._current
        return current is not None and not current.is_over()

    def inspect_early(self, ended: threading.Event) -> None:
        """Look whether the disk can be served, before a client asks, and as soon as it is there.

        Raises `StiefelError` with the reason if not. Returns early when `ended` is set.
        """
        while not ended.is_set():
            with suppress(disk.NotYet):
                self._wait_for_devices(0)
                break
            ended.wait(_LOOK_SECONDS)
        with self._handing_over:
            # A client that has come meanwhile is told the same, and has maybe got the disk.
            if self._current is None and not ended.is_set():
                self._check_disk()

    def _check_disk(self) -> Disk:
        checked = disk.check(self._settings.disk)
        for note in _notes(checked):
            self._report.say(note)
        return checked

    def _wait_for_devices(self, patience: float) -> None:
        disk.wait_for(self._settings.disk, patience, since=self._since)
        disk.wait_for(self._settings.part, patience, since=self._since)

    def _hand_over(self, current: Holder, out: Sealer, own_address: str) -> None:
        settings = self._settings
        try:
            self._wait_for_devices(_DISK_SECONDS)
            checked = self._check_disk()
            with disk.boot_folder(settings.part) as folder:
                files = boot_files.find(folder, settings.kernel, settings.initrds)
                names = [path.name for path in dict.fromkeys((files.kernel, *files.initrds))]
                say(f"{current.peer}: sending {' and '.join(names)}")
                images = boot_images.of(files, folder)
                grant = Grant(
                    current.asked, own_address, encrypted=settings.encryption == "wireguard"
                )
                current.grant = grant
                size = sum(archive.size(image) for image in images)
                answer = {"status": "ok", "size": size, **grant.answer()}
                answer |= {"server": own_address, "sector_size": checked.sector_size}
                # One, since only of one can it be told which writes are the last ones: one-writer.
                answer |= {"connections": 1, "swap": settings.swap, "notes": _notes(checked)}
                members = {**images._asdict(), "cmdline": settings.cmdline.encode()}
                archive.send(out, answer, members)
        finally:
            current.handed_over.set()
        with self._ownership():
            if self._current is not current:
                raise StiefelError("a newer request of the same client has taken over")
            grant.open(checked, self._folder, lambda: self._said_goodbye(current))
            current.open, current.since = True, time.monotonic()
        say(f"{current.peer}: the disk {checked.path} is open to it, and to nobody else")
        # Only now the last frame: a client that has a whole archive finds its disk open.
        out.close()

    def _said_goodbye(self, current: Holder) -> bool:
        """The client is done: close the disk; whether all that it wrote is on the medium."""
        # Not waited for: who has it may be waiting for the end of this thread. It is said again.
        if not self._handing_over.acquire(blocking=False):
            return False
        try:
            if self._current is not current or self._closed:
                return False
            current.finish()
        except StiefelError as error:
            self._closed = str(error)
            say(f"{current.peer}: {error} ({error.hint})")
            return False
        finally:
            self._handing_over.release()
        say(f"{current.peer}: is done; the disk is closed, and has everything")
        self.ended()
        return True

    def _claim(self, asked: Asked, own_address: str, hang_up: Callable[[], None]) -> Holder:
        """Give the disk to `peer`, fencing off a former client that has no use for it any more, or
        is to lose it.

        A desktop that asks again has rebooted: whatever held the disk there is gone.
        """
        peer = asked.peer
        with self._ownership():
            former = self._current
            if former and former.peer.identity != peer.identity and not former.is_over():
                self._have_confirmed(peer, former)
            if former:
                if not former.done:
                    say(f"{peer}: the former session of {former.peer.address} is ended")
                try:
                    former.end()
                except StiefelError as error:
                    self._closed = str(error)
                    raise
            self._current = Holder(asked, own_address, hang_up)
            return self._current

    def _have_confirmed(self, asking: Peer, former: Holder) -> None:
        """Raises `Refused` as long as nobody at this machine has said that it is to go over."""
        if self._confirmation.given(asking, former):
            return
        holder = former.peer.address
        situation = [
            f"{asking} asks for the disk",
            f"{holder} has it, and {former.situation()}",
            f"what {holder} has not written yet would be lost, and its OS would stop",
        ]
        reason = f"the disk is in use by {holder}"
        if self._confirmation.ask(asking, former, situation):
            raise Unconfirmed(
                reason, hint="the laptop asks whether this desktop may have it: type yes there"
            )
        raise Refused(
            reason, hint="if that machine is gone, press Ctrl-Alt-Del on the laptop and try again"
        )

    def _say_why(self, peer: Peer, error: StiefelError) -> None:
        """On this machine's console; but not what has been said, as often as a client asks."""
        text = f"{peer}: {error}" + (f" ({error.hint})" if error.hint else "")
        match error:
            case disk.NotYet() | Unconfirmed():
                pass
            case Refused():
                self._refused.say(text)
            case _:
                say(text)

    def _release(self, current: Holder) -> None:
        with self._handing_over:
            if self._current is current:
                if current.grant:
                    current.grant.close()
                self._current = None

    @contextmanager
    def _ownership(self) -> Iterator[None]:
        """Decide alone who has the disk. Raises `StiefelError` if that is not to be had soon."""
        if not self._handing_over.acquire(timeout=_PATIENCE_SECONDS):
            raise Refused("the disk is just changing hands")
        try:
            if self._closed:
                raise StiefelError(f"the disk is not served any more: {self._closed}")
            yield
        finally:
            self._handing_over.release()


def _notes(checked: Disk) -> list[str]:
    """What a person should know about the disk, on both machines."""
    return [
        f"{device}: was not unmounted; its journal awaits replay, which the laptop's OS will do"
        for device in checked.unclean
    ]


def _status(error: StiefelError) -> str:
    """What kind of answer an error makes; docs/protocol.md lists them."""
    match error:
        case Unconfirmed():
            return "confirm"
        case Refused():
            return "in use"
        case disk.NotYet():
            return "not yet"
        case _:
            return "error"
