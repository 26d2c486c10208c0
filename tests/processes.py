"""Programs under test: started, watched line by line, and ended by pid."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Program:
    """A running program; its output, stdout and stderr together, can be waited for."""

    def __init__(self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
        self.argv = [str(word) for word in argv]
        self.process = subprocess.Popen(
            self.argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            print(f"--- output of {' '.join(self.argv[-6:])}\n{self.output}")

    def wait_for(self, pattern: str, seconds: float = 20.0, *, count: int = 1) -> re.Match[str]:
        """Wait until the output matches `pattern`, `count` times; fails the test if it does not."""
        deadline = time.monotonic() + seconds
        with self._news:
            while len(found := list(re.finditer(pattern, self.output))) < count:
                left = deadline - time.monotonic()
                ended = not self._reader.is_alive()
                assert left > 0 and not ended, f"no {pattern!r} in:\n{self.output}"
                self._news.wait(min(left, 0.5))
            return found[count - 1]

    def wait(self, seconds: float = 20.0) -> int:
        """Wait until it has ended by itself; returns its status."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        return status

    def memory(self, field: str) -> int:
        """A field of /proc/PID/status such as VmRSS or VmHWM, in bytes; 0 once it has ended."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        return int(found.group(1)) * 1024 if found else 0

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> None:
        """End it, if it still runs, and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(seconds)

    def _read(self) -> None:
        assert self.process.stdout is not None
        # Not by lines: a prompt has no end of line.
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            with self._news:
                self.output += data.decode(errors="replace")
                self._news.notify_all()
        with self._news:
            self._news.notify_all()
