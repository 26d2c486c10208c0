"""What the programs say, and how they end: on stderr, in one or two lines, without a traceback.

A traceback means a bug. Everything that can go wrong on a healthy program raises `StiefelError`,
which says what was attempted, what is wrong with which value, and what to do next.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_open_steps: list[str] = []


class StiefelError(Exception):
    """A failure that a person can do something about: `message` says what, `hint` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def say(text: str, *, mark: str = "") -> None:
    """One line for the person at the terminal, indented below the step that it belongs to.

    What cannot be printed, such as a peer's escape sequences, is replaced.
    """
    printable = "".join(c if c.isprintable() else "?" for c in text)
    print("  " * len(_open_steps) + mark + printable, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One line about something that is wrong, but does not end the program."""
    say(text, mark=_coloured("33", "warning: "))


@contextmanager
def step(name: str) -> Iterator[None]:
    """Long work with a name: printed when it starts, and with its seconds when it has ended."""
    say(f"{name} …")
    started = time.monotonic()
    _open_steps.append(name)
    try:
        yield
    finally:
        _open_steps.pop()
    say(f"{name}: {time.monotonic() - started:.1f} s")


def run_main(main: Callable[[], int]) -> NoReturn:
    """Run a program's `main` and end with its status: 1 after an error, 130 after Ctrl-C.

    SIGTERM and SIGHUP unwind like Ctrl-C does, so that context managers give back what they hold.
    """
    # What is built for other systems has their usual modes; what is secret has its own anyway.
    os.umask(0o022)
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    try:
        status = main()
    except StiefelError as error:
        _complain(str(error), error.hint)
        status = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # Who read our output went away (`| head`); Python would complain again at exit.
        sys.stderr.close()
        status = 1
    except OSError as error:
        # No room, no permission, a medium that fails: the system's own words say what.
        _complain(str(error))
        status = 1
    sys.exit(status)


def _complain(text: str, hint: str = "") -> None:
    _open_steps.clear()
    say(text, mark=_coloured("31", "error: "))
    if hint:
        say(hint, mark="       ")


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    # Once is enough: what is being given back is not to be left half-way.
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _coloured(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if sys.stderr.isatty() else text
