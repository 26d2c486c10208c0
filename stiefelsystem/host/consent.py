"""Questions before something on the user's machine is changed."""

from __future__ import annotations

import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

from stiefelsystem.console import say


def can_ask() -> bool:
    """Whether there is a terminal to ask on."""
    return sys.stdin is not None and sys.stdin.isatty()  # None: it was closed


def answer(question: str) -> str:
    """What is typed after a question; nothing at the end of the input.

    What was typed before is no answer to it.
    """
    if can_ask():
        with suppress(termios.error):  # hung up just now
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
    print(question, end="", file=sys.stderr, flush=True)
    try:
        typed = sys.stdin.readline() if sys.stdin else ""
    except UnicodeDecodeError:  # from a terminal with another encoding: no answer to anything
        return "\ufffd\n"
    if not typed:
        print(file=sys.stderr)
    return typed


def choose(question: str, choices: Sequence[str]) -> str:
    """One of `choices`, whose first letters differ; asks until there is an answer.

    The last one is the answer of who types Ctrl-C or ends the input.
    """
    shown = ", ".join(f"[{choice[0]}]{choice[1:]}" for choice in choices)
    while True:
        try:
            typed = answer(f"{question} {shown}: ")
        except KeyboardInterrupt:
            print(file=sys.stderr)
            typed = ""
        if not typed:
            return choices[-1]
        for choice in choices:
            if typed.strip().lower() in (choice, choice[0]):
                return choice


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
