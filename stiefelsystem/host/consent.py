"""Questions before something on the user's machine is changed."""

from __future__ import annotations

import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

from stiefelsystem.console import say


def can_ask() -> bool:
    """Whether there is a terminal to ask on."""
    return sys.stdin.isatty()


def choose(question: str, choices: Sequence[str]) -> str:
    """One of `choices`, whose first letters differ; asks until there is an answer.

    What was typed before a question is no answer to it. The last one is the answer of who types
    Ctrl-C or ends the input.
    """
    shown = ", ".join(f"[{choice[0]}]{choice[1:]}" for choice in choices)
    while True:
        try:
            _forget_typed()
            print(f"{question} {shown}: ", end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline()
        except KeyboardInterrupt:
            answer = ""
        if not answer:
            print(file=sys.stderr)
            return choices[-1]
        for choice in choices:
            if answer.strip().lower() in (choice, choice[0]):
                return choice


def _forget_typed() -> None:
    if can_ask():
        with suppress(termios.error):  # hung up just now
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def ask(what: str, *, assume_yes: bool) -> bool:
    """Show what would be done and ask; without a terminal to ask on, the answer is no."""
    if assume_yes:
        say(what)
        return True
    if not can_ask():
        say(f"{what} -- not done: no terminal to ask on (--yes answers for scripts)")
        return False
    say(what)
    return choose("  do it?", ("yes", "no")) == "yes"
