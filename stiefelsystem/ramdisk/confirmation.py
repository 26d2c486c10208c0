"""A question to whoever is at this machine: may another desktop take the disk from who has it?

One question at a time, and seldom: who has the key can cause it, and must not flood the console.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

from stiefelsystem.console import say
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk import consoles
from stiefelsystem.ramdisk.keyboards import Keyboards

# Time to walk to the laptop and read; and after a yes, for the next request.
ANSWER_SECONDS = 120.0
_USE_SECONDS = 60.0
# From the end of a question that was not answered by yes to the next one.
_PAUSE_SECONDS = 60.0


class _Question(NamedTuple):
    """Whether `asking` may have the disk instead of `holder`; `keyboards` is closed after a yes."""

    asking: str
    holder: object
    until: float
    keyboards: Keyboards | None


class Confirmation:
    """Asks, hears the answer, and remembers a yes until it is used.

    `sources` are the terminals at which it is typed; without any, those of `consoles.inputs`.
    """

    def __init__(self, *sources: Path) -> None:
        self._sources = list(sources)
        self._lock = threading.Lock()
        self._question: _Question | None = None
        self._quiet_until = 0.0

    def ask(self, asking: Peer, holder: object, situation: list[str]) -> bool:
        """Ask whether `asking` may have the disk, which `holder` has; `situation` is what to know.

        Returns whether that is being asked: not while there is another question, or shortly after
        one, or where nobody can type an answer.
        """
        with self._lock:
            self._expire()
            if self._question:
                return self._question[:2] == (asking.identity, holder)
            if time.monotonic() < self._quiet_until:
                return False
            if not (keyboards := Keyboards(self._sources or consoles.inputs())):
                return False
            until = time.monotonic() + ANSWER_SECONDS
            self._question = _Question(asking.identity, holder, until, keyboards)
        for line in situation:
            say(line)
        say(f"to give the disk to {asking}, type yes and Enter here, within {ANSWER_SECONDS:.0f} s")
        return True

    def listen(self) -> None:
        """Hear what has been typed; to be called now and then."""
        with self._lock:
            self._expire()
            if not self._question or self._question.keyboards is None:
                return
            answer = self._question.keyboards.line()
            if answer is None:
                return
            if answer.strip().lower() != "yes":
                return self._end("that is not yes: the disk stays where it is")
            self._question.keyboards.close()
            until = time.monotonic() + _USE_SECONDS
            self._question = self._question._replace(until=until, keyboards=None)
        say("confirmed: it gets the disk when it asks again")

    def given(self, asking: Peer, holder: object) -> bool:
        """Whether `asking` may have the disk instead of this `holder`; only once."""
        with self._lock:
            self._expire()
            question = self._question
            if not question or question.keyboards is not None:
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
            unheard = self._question.keyboards is None
            self._end("it has not asked again" if unheard else "nobody has said yes")

    def _end(self, why: str) -> None:
        assert self._question
        if self._question.keyboards is not None:
            self._question.keyboards.close()
        self._question = None
        self._quiet_until = time.monotonic() + _PAUSE_SECONDS
        if why:
            say(why)
