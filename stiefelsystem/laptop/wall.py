"""What everyone who is logged in should know."""

from __future__ import annotations

import os
from contextlib import suppress

from stiefelsystem.console import StiefelError, say
from stiefelsystem.run import run

_TIMEOUT = 10.0  # seconds


def tell_everyone(text: str) -> None:
    """Say it to the journal, and on the terminals of all who are logged in."""
    say(text)
    # A courtesy: not every system has wall. Its output goes nowhere, since a child of its that
    # waits for a stopped terminal would keep a pipe open.
    with suppress(StiefelError), open(os.devnull, "w", encoding="utf-8") as nowhere:
        run(["wall"], text=f"{text}\n", timeout=_TIMEOUT, log=nowhere)
