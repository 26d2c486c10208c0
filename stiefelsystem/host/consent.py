"""Questions before something on the user's machine is changed."""

from __future__ import annotations

import sys

from stiefelsystem.console import say


def ask(what: str, *, assume_yes: bool) -> bool:
    """Show what would be done and ask; without a terminal to ask on, the answer is no."""
    if assume_yes:
        say(what)
        return True
    if not sys.stdin.isatty():
        say(f"{what} -- not done: no terminal to ask on (--yes answers for scripts)")
        return False
    return input(f"{what}\n  do it? [y/N] ").strip().lower() in ("y", "yes")
