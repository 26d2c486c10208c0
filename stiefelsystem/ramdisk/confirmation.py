"""A question to whoever is at this machine: may another desktop take the disk from who has it?

One question at a time, and seldom: who has the key can cause it, and must not flood the console.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from stiefelsystem.console import say
from stiefelsystem.datagram import Peer

# Time to walk to the laptop and read; and after a yes, for the next request.
ANSWER_SECONDS = 120.0
_USE_SECONDS = 60.0
# From the end of a question that was not answered by yes to the next one.
_PAUSE_SECONDS = 60.0
# Opened anew for each question, so that what is set for it lasts as long: whoever else reads from
# this terminal, such as the shell that started us, gets it back as it was.
_STANDARD_INPUT = Path("/proc/self/fd/0")
# asm-generic/ioctls.h, asm-generic/termbits.h: discard what was typed and not yet read.
_TCFLSH, _TCIFLUSH = 0x540B, 0
_MAX_ANSWER = 256


class _Question(NamedTuple):
    """Whether `asking` may have the disk instead of `holder`; `console` is closed after a yes."""

    asking: str
    holder: object
    until: float
    console: int | None


class Confirmation:
    """Asks, hears the answer, and remembers a yes until it is used."""

    def __init__(self, source: Path = _STANDARD_INPUT) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._question: _Question | None = None
        self._quiet_until = 0.0
        self._heard = b""

    def ask(self, asking: Peer, holder: object, situation: list[str]) -> bool:
        """Ask whether `asking` may have the disk, which `holder` has; `situation` is what to know.

        Returns whether that is being asked: not while there is another question, or shortly after
        one, or where nobody can type an answer.
        """
        with self._lock:
            self._expire()
            if self._question:
                return self._question[:2] == (asking.identity, holder)
            if time.monotonic() < self._quiet_until or (console := self._open()) is None:
                return False
            until = time.monotonic() + ANSWER_SECONDS
            self._question = _Question(asking.identity, holder, until, console)
            self._heard = b""
        for line in situation:
            say(line)
        say(f"to give the disk to {asking}, type yes and Enter here, within {ANSWER_SECONDS:.0f} s")
        return True

    def listen(self) -> None:
        """Hear what has been typed; to be called now and then."""
        with self._lock:
            self._expire()
            if not self._question or self._question.console is None:
                return
            answer = self._read(self._question.console)
            if answer is None:
                return
            if answer != "yes":
                return self._end("that is not yes: the disk stays where it is")
            os.close(self._question.console)
            until = time.monotonic() + _USE_SECONDS
            self._question = self._question._replace(until=until, console=None)
        say("confirmed: it gets the disk when it asks again")

    def given(self, asking: Peer, holder: object) -> bool:
        """Whether `asking` may have the disk instead of this `holder`; only once."""
        with self._lock:
            self._expire()
            question = self._question
            if not question or question.console is not None:
                return False
            if question[:2] != (asking.identity, holder):
                return False
            self._question = None
            return True

    def close(self) -> None:
        """Ask no more; what was asked is not answered any more."""
        with self._lock:
            if self._question:
                self._end("")
            self._quiet_until = float("inf")

    def _expire(self) -> None:
        if self._question and time.monotonic() > self._question.until:
            unheard = self._question.console is None
            self._end("it has not asked again" if unheard else "nobody has said yes")

    def _end(self, why: str) -> None:
        assert self._question
        if self._question.console is not None:
            os.close(self._question.console)
        self._question = None
        self._quiet_until = time.monotonic() + _PAUSE_SECONDS
        if why:
            say(why)

    def _open(self) -> int | None:
        """Where an answer will be typed, without what was typed before; None if there is none."""
        try:
            console = os.open(self._source, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            fcntl.ioctl(console, _TCFLSH, _TCIFLUSH)
        except OSError as error:
            # No terminal: a pipe whose other end is open, or a file, which has an end.
            if error.errno != errno.ENOTTY or not _emptied(console):
                os.close(console)
                return None
        return console

    def _read(self, console: int) -> str | None:
        """A line, if one has come; an empty one where none will come."""
        try:
            data = os.read(console, _MAX_ANSWER)
        except BlockingIOError:
            return None
        except OSError:  # it was hung up
            data = b""
        self._heard += data
        line, enter, _ = self._heard.partition(b"\n")
        if enter:
            return line.decode(errors="replace").strip().lower()
        return None if data and len(self._heard) < _MAX_ANSWER else ""


def _emptied(pipe: int) -> bool:
    """Read what is in a pipe; False if nothing more will come."""
    try:
        while os.read(pipe, 1 << 16):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
