"""One thing that was found out before the first question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stiefelsystem.console import StiefelError

# note: it works, but there is something to know. obstacle: this machine cannot be stiefeled so.
Level = Literal["ok", "note", "obstacle"]


@dataclass(frozen=True)
class Finding:
    """What was found about `topic`, a word or two; `hint` says what to do about it."""

    topic: str
    text: str
    level: Level = "ok"
    hint: str = ""


def ok(topic: str, text: str) -> Finding:
    """A finding that nothing has to be done about."""
    return Finding(topic, text)


def note(topic: str, text: str, hint: str = "") -> Finding:
    """A finding that its reader should know."""
    return Finding(topic, text, "note", hint)


def obstacle(topic: str, text: str, hint: str = "") -> Finding:
    """A finding because of which this machine cannot be stiefeled."""
    return Finding(topic, text, "obstacle", hint)


def failed(topic: str, error: StiefelError) -> Finding:
    """What could not be found out, or is not supported, as the obstacle that it is."""
    return obstacle(topic, str(error), error.hint)
