"""stiefel-autokexec: from an order to the end of this OS, or to the reason why it goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import files, kexec, keys
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError, say, warn
from stiefelsystem.laptop import countdown, obstacles, orders, ramdisk
from stiefelsystem.laptop import stop as stopping
from stiefelsystem.laptop.asked import Desktops
from stiefelsystem.laptop.cancel import Cancelled
from stiefelsystem.laptop.plugged import Adapters
from stiefelsystem.laptop.wall import tell_everyone

_KEY = "autokexec-key"
# With the shared key in it: read to be loaded for kexec, and for nothing else.
_SECRETS = "ramdisk.key.cpio"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the program finds its keys, and where it leaves what holds until the next boot."""

    etc: Path
    run: Path


def serve_when_asked(settings: Config, places: Places) -> None:
    """Wait for an order, and obey; returns when this OS ends. Goes on after whatever fails."""
    obstacles.require_own_disk()
    with suppress(StiefelError), _alone(places):
        ramdisk.forget(places.run)
    desktops = _desktops(settings, places)
    adapters = _adapters(settings)
    while True:
        order = orders.wait([one for one in (desktops, adapters) if one])
        say(order.why)
        try:
            with _ready(settings, places), countdown.alarmed():
                countdown.run(
                    settings.autokexec.delay,
                    why=order.why,
                    folder=places.run,
                    look=lambda: obstacles.refuse(obstacles.look()),
                )
                ramdisk.require_loaded()
                stopping.stop()
            return
        except countdown.GoesOn as told:
            if desktops and order.desktop and isinstance(told.__cause__, Cancelled):
                desktops.refuse(order.desktop)
        except StiefelError as error:
            _complain(error, by_hand=not order.desktop)


def serve_now(settings: Config, places: Places) -> None:
    """Obey who calls this, at once; raises `StiefelError` for whatever is in the way."""
    _require_root("--now")
    with _ready(settings, places), countdown.alarmed():
        tell_everyone("This OS stops now, to run on another machine: root has asked for it")
        stopping.stop()


def check(settings: Config, places: Places) -> None:
    """Raise `StiefelError` if this machine could not serve now. What is loaded is unloaded."""
    _require_root("--check")
    if settings.autokexec.broadcast:
        keys.load_subkey(places.etc / _KEY)
    if settings.autokexec.mac_detection and settings.autokexec.macs:
        Adapters(settings.autokexec.macs)
    with suppress(_Enough), _ready(settings, places):
        raise _Enough
    say("this machine could serve now")


class _Enough(Exception):
    """What is loaded is to be unloaded again."""


@contextmanager
def _ready(settings: Config, places: Places) -> Iterator[None]:
    """With the ramdisk loaded. Whatever can refuse does so here, before anyone is alarmed.

    Raises one `StiefelError` for all that is in the way.
    """
    secrets, setup = places.etc / _SECRETS, settings.server_setup
    with _alone(places):
        ramdisk.forget(places.run)
        found = obstacles.look()
        words = ""
        for require in (
            obstacles.require_own_disk,
            stopping.command,
            kexec.require_possible,
            lambda: ramdisk.require_files(setup, secrets),
        ):
            try:
                require()
            except StiefelError as error:
                found.append(error)
        try:
            words = ramdisk.words(settings)
        except StiefelError as error:
            found.append(error)
        obstacles.refuse(found)
        with ramdisk.loaded(setup, secrets, words, folder=places.run):
            yield


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    """Two programs of ours, the service and one by hand, do not do this at the same time."""
    # Others may call the socket in it, and not open it: who can, can lock it.
    places.run.mkdir(mode=0o711, parents=True, exist_ok=True)
    with files.locked(places.run):
        yield


def _desktops(settings: Config, places: Places) -> Desktops | None:
    if not settings.autokexec.broadcast:
        say("autokexec.broadcast is off: no desktop is heard")
        return None
    return Desktops(keys.load_subkey(places.etc / _KEY), delay=settings.autokexec.delay)


def _adapters(settings: Config) -> Adapters | None:
    if not settings.autokexec.mac_detection:
        say("autokexec.mac_detection is off: no adapter is waited for")
        return None
    if not settings.autokexec.macs:
        return None
    try:
        return Adapters(settings.autokexec.macs)
    except StiefelError as error:
        warn(f"{error}: no adapter is waited for ({error.hint})")
        return None


def _complain(error: StiefelError, *, by_hand: bool) -> None:
    """The running OS goes on as if nothing had been asked; who has plugged something in is told."""
    text = f"cannot serve: {error}" + (f" ({error.hint})" if error.hint else "")
    if by_hand:
        tell_everyone(text)
    else:
        say(text)


def _require_root(option: str) -> None:
    if os.geteuid() != 0:
        raise StiefelError(
            f"{option} needs root", hint=f"run it again: sudo {countdown.command()} {option}"
        )
