"""What a trigger makes of what it hears: an order to stop this OS and serve its disk."""

from __future__ import annotations

import select
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from stiefelsystem.console import say


@dataclass(frozen=True)
class Order:
    """Somebody wants this machine's disk to be served; `why` says who, and how, in words.

    `desktop` is the peer that has asked, or empty where a person did, who is here to be told.
    """

    why: str
    desktop: str = ""


class Trigger(AbstractContextManager[Any], Protocol):
    """Something that is listened to as long as its context is open."""

    def fileno(self) -> int:
        """What becomes readable when there may be an order."""
        ...

    def read(self) -> Order | None:
        """The order, if what has come in is one. Does not wait."""
        ...


def wait(triggers: Sequence[Trigger]) -> Order:
    """Listen to all triggers at once, until one has an order; without triggers, for ever.

    Nothing is listened to in between two calls, so what happens then triggers nothing.
    """
    if not triggers:
        say("no trigger is left: this program waits to be ended; --now works")
    poll = select.poll()
    by_handle = {}
    with ExitStack() as stack:
        for trigger in triggers:
            stack.enter_context(trigger)
            by_handle[trigger.fileno()] = trigger
            poll.register(trigger, select.POLLIN)
        while True:
            for handle, _ in poll.poll():
                if order := by_handle[handle].read():
                    return order
