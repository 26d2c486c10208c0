"""The machine's consoles, all at once: the screen, and serial lines.

What is said goes to each of them. None holds the program up, or ends it: a serial line whose other
end takes nothing gets what it missed when it takes something again, and one that is pulled out is
opened anew when it is back.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import time
from pathlib import Path
from typing import TextIO, cast

# The kernel's Documentation/ABI/testing/sysfs-tty: the consoles' names, /dev/console's last.
_ACTIVE = Path("/sys/class/tty/console/active")
_DEVICES = Path("/dev")
_STANDARD_INPUT = Path("/proc/self/fd/0")
# How long a console may take for what is said, once; then it is left alone until it has all.
_PATIENCE_SECONDS = 0.2
# What is kept for one that takes nothing: a few screens.
_MOST_UNSAID = 1 << 14


def paths() -> list[Path]:
    """The kernel's consoles that are there, the main one first; /dev/console where none is named,
    as in a container."""
    try:
        names = _ACTIVE.read_text().split()
    except OSError:
        names = []
    # tty0 stands for the screen that is in front, which may be another one later: Alt-F2.
    found = [_DEVICES / ("tty1" if name == "tty0" else name) for name in reversed(names)]
    return [path for path in found if path.is_char_device()] or [_DEVICES / "console"]


def take_over() -> None:
    """From now on, all that this program says on stderr goes to all consoles, and `inputs` are
    these."""
    sys.stderr = cast(TextIO, _Everywhere())


def inputs() -> list[Path]:
    """Where a person answers: at the consoles, if this program has taken them over, else at its
    standard input."""
    return paths() if isinstance(sys.stderr, _Everywhere) else [_STANDARD_INPUT]


class _Everywhere(io.TextIOBase):
    """A text stream to all consoles that are there when it is flushed."""

    def __init__(self) -> None:
        self._outputs: dict[Path, _Output] = {}
        self._text = ""
        self._lock = threading.Lock()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._text += text
        return len(text)

    def flush(self) -> None:
        with self._lock:
            data, self._text = self._text.encode(errors="replace"), ""
            there = paths()
            for gone in self._outputs.keys() - set(there):
                self._outputs.pop(gone).close()
            for path in there:
                self._outputs.setdefault(path, _Output(path)).send(data)


class _Output:
    """One console that is written to, and what it has not taken yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._left = b""
        self._slow = False

    def send(self, data: bytes) -> None:
        """Write what was left, and `data`, as far as it takes that soon."""
        self._left = (self._left + data)[-_MOST_UNSAID:]
        if not self._left:
            return
        try:
            if self._handle is None:
                self._handle = os.open(self._path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            self._slow = not self._written(self._handle)
        except OSError:  # it is gone, or was hung up
            self.close()

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _written(self, handle: int) -> bool:
        """Whether it has taken everything; one that was slow before is not waited for."""
        until = time.monotonic() + (0.0 if self._slow else _PATIENCE_SECONDS)
        poll = select.poll()
        poll.register(handle, select.POLLOUT)
        while self._left:
            try:
                self._left = self._left[os.write(handle, self._left) :]
            except BlockingIOError:
                left = until - time.monotonic()
                if left <= 0 or not poll.poll(left * 1000):
                    return False
        return True
