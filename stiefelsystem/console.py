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
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

_REPORT_EVERY = 10.0
_KERNEL_LOG = "/dev/kmsg"
# printk's level of what is for debugging: kept in the log, and not shown on the console again.
_DEBUG = "<7>"
_open_steps: list[str] = []
_logs: list[Callable[[str], None]] = []
_erasers: list[Callable[[], None]] = []


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
    for erase in _erasers:
        erase()
    for log in _logs:
        log(printable)
    print(indentation() + mark + printable, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One line about something that is wrong, but does not end the program."""
    say(text, mark=_coloured("33", "warning: "))


class RateLimited:
    """Says a thing at most every few seconds, so that a peer cannot flood the console."""

    def __init__(self, seconds: float = _REPORT_EVERY) -> None:
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def say(self, text: str) -> None:
        now = time.monotonic()
        self._said = {old: then for old, then in self._said.items() if now - then < self._seconds}
        if text not in self._said and len(self._said) < 16:
            self._said[text] = now
            say(text)


def indentation() -> str:
    """What stands before a line that is said now, below the steps that it belongs to."""
    return "  " * len(_open_steps)


def before_lines(erase: Callable[[], None]) -> Callable[[], None]:
    """From now on, `erase` is called before each line that is said: what is drawn on the terminal
    is not to be mixed with it. Returns what ends that."""
    _erasers.append(erase)
    return lambda: _erasers.remove(erase)


def keep_in_kernel_log(name: str) -> None:
    """From now on, what is said goes into the kernel's log, too, in order with what drivers say:
    in the ramdisk, there is no other."""
    handle = os.open(_KERNEL_LOG, os.O_WRONLY)

    def log(text: str) -> None:
        with suppress(OSError):  # a log that is full is no reason to end
            os.write(handle, f"{_DEBUG}{name}: {text}\n".encode())

    _logs.append(log)


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
