"""What persons type at this machine: at any of its terminals, whichever has an answer first."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stiefelsystem.console import say
from stiefelsystem.ramdisk import consoles

# A line that a person types.
_MOST_TYPED = 1 << 10
# How often it is looked for other terminals while an answer is waited for.
_LOOK_SECONDS = 1.0


class Keyboards:
    """What is typed at some terminals (or comes from pipes) from now on, until `close`.

    Each is opened anew, so that what is set for it lasts as long: whoever else reads from there,
    such as the shell that started us, gets it back as it was.
    """

    def __init__(self, paths: list[Path], *, echo: bool = True) -> None:
        self._typed: dict[int, bytes] = {}
        self._settings: dict[int, list[Any]] = {}
        try:
            for path in paths:
                self._open(path, echo=echo)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def __bool__(self) -> bool:
        """Whether anything can still be typed."""
        return bool(self._typed)

    def close(self) -> None:
        for handle in list(self._typed):
            self._close(handle)

    def wait(self, seconds: float) -> None:
        """Until something is typed, but not longer."""
        if not self._typed:
            time.sleep(seconds)
            return
        poll = select.poll()
        for handle in self._typed:
            poll.register(handle, select.POLLIN)
        poll.poll(seconds * 1000)

    def line(self) -> str | None:
        """The first whole line, if one has come; an empty one where none will ever come."""
        for handle in list(self._typed):
            line = self._line(handle)
            if line is not None:
                return line
        return None if self._typed else ""

    def discard(self) -> None:
        """Forget what was typed before."""
        for handle in list(self._typed):
            self._discard(handle)

    def _line(self, handle: int) -> str | None:
        try:
            data = os.read(handle, _MOST_TYPED)
        except BlockingIOError:
            return None
        except OSError:  # it was hung up
            data = b""
        if not data:
            if os.isatty(handle):
                return ""  # Ctrl-D: more may come. What was hung up is no terminal any more.
            self._close(handle)
            return None
        line, enter, _ = (self._typed[handle] + data).partition(b"\n")
        self._typed[handle] = b"" if enter else line
        if enter:
            return line.decode(errors="replace")
        return "" if len(line) > _MOST_TYPED else None

    def _discard(self, handle: int) -> None:
        self._typed[handle] = b""
        if os.isatty(handle):
            with suppress(termios.error):  # hung up just now: nothing comes
                termios.tcflush(handle, termios.TCIFLUSH)
        # A pipe whose other end is open; or a file, which has an end.
        elif not _emptied(handle):
            self._close(handle)

    def _open(self, path: Path, *, echo: bool) -> None:
        """Open a terminal without what was typed before; leave out what nobody can type at."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return
        self._discard(handle)
        if not echo and os.isatty(handle):
            with suppress(termios.error):
                self._settings[handle] = termios.tcgetattr(handle)
                silent = termios.tcgetattr(handle)
                silent[3] &= ~termios.ECHO
                # At once: what is still to be written to it may take for ever.
                termios.tcsetattr(handle, termios.TCSANOW, silent)

    def _close(self, handle: int) -> None:
        del self._typed[handle]
        if settings := self._settings.pop(handle, None):
            with suppress(termios.error):
                termios.tcsetattr(handle, termios.TCSANOW, settings)
        os.close(handle)


def answers(
    question: str, where: Callable[[], list[Path]] = consoles.inputs
) -> Generator[str, None, None]:
    """Ask at all terminals, and yield each line that is typed as an answer; nothing of it is shown
    on any of them until the generator is closed, nor counts what was typed before the question.

    Waits for ever: terminals that come while it does are asked, too.
    """
    asked: list[Path] = []
    while True:
        # Before it is asked, or the first letters would be shown, and lost.
        with Keyboards(there := where(), echo=False) as keyboards:
            if there != asked:
                asked = there
                say(question)
            while keyboards and where() == asked:
                keyboards.wait(_LOOK_SECONDS)
                sys.stderr.flush()  # to consoles that could not take it before
                line = keyboards.line()
                if line is not None and keyboards:
                    yield line
                    keyboards.discard()
                    say(question)
        time.sleep(_LOOK_SECONDS if asked == where() else 0)


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
