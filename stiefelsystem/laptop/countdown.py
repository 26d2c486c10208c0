"""The time in which those who are logged in can say no."""

from __future__ import annotations

import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.laptop.cancel import Listener
from stiefelsystem.laptop.wall import tell_everyone
from stiefelsystem.run import environment

PROGRAM = "stiefel-autokexec"
# How often it is looked whether something has come in the way.
_LOOK_SECONDS = 5.0
# Who has been given long enough to forget it is told again so many seconds before the end.
_REMINDER, _LONG = 60.0, 120.0


class GoesOn(StiefelError):
    """The stop that was announced does not happen, and everyone knows why."""


def run(seconds: int, *, why: str, folder: Path, look: Callable[[], None]) -> None:
    """Announce the stop, then wait; returns when nobody has said no, and nothing is in the way.

    `look` raises `StiefelError` for what is in the way. Raises that, or `Cancelled`; in `folder`
    lies the socket for that.
    """
    with Listener(folder) as listener:
        tell_everyone(_announcement(seconds, why))
        _wait(seconds, listener, look, why)
        look()
        listener.raise_if_asked()


@contextmanager
def alarmed() -> Iterator[None]:
    """Whatever ends the block early, everyone is told, since they know that this OS is to stop.

    A `StiefelError` is raised as `GoesOn`.
    """
    try:
        yield
    except StiefelError as error:
        tell_everyone(f"This OS goes on: {error}")
        raise GoesOn(str(error), hint=error.hint) from error
    except BaseException:  # SIGTERM, most likely
        tell_everyone("Cancelled: stiefel-autokexec was ended")
        raise


def _wait(seconds: int, listener: Listener, look: Callable[[], None], why: str) -> None:
    end = time.monotonic() + seconds
    reminder = end - _REMINDER if seconds >= _LONG else None
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while (left := end - time.monotonic()) > 0:
        poll.poll(min(left, _LOOK_SECONDS) * 1000)
        listener.raise_if_asked()
        if end - time.monotonic() > 0:
            look()
        if reminder is not None and time.monotonic() >= reminder:
            reminder = None
            tell_everyone(_announcement(round(max(end - time.monotonic(), 0)), why))


def _announcement(seconds: int, why: str) -> str:
    return (
        f"This OS stops in {seconds} s, to run on another machine: {why}. "
        f"To cancel: {command()} --cancel"
    )


def command() -> str:
    """This program, as a person has to call it."""
    found = shutil.which(PROGRAM, path=environment()["PATH"])
    return PROGRAM if found else str(Path(sys.argv[0]).absolute())
