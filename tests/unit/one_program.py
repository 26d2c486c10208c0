"""setup-client-usbdrive in a process of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "setup-client-usbdrive"
SECONDS = 60.0
# Runs the program in a process in which something is altered before.
_ALTERED = """
import os, runpy, sys
del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
{}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_QUESTION = re.compile(r"(stick|again|go on): $")


def command(*words: str | Path, altered: str = "") -> list[str]:
    """The argv of the program; `altered` is what is run before, in the same process."""
    python = ["-c", _ALTERED.format(altered)] if altered else []
    return [sys.executable, *python, str(PROGRAM), *map(str, words)]


def call(*words: str | Path, altered: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words, altered=altered),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        start_new_session=True,  # else it would ask on the terminal of whoever runs the tests
    )


def on_terminal(
    argv: Sequence[str | Path], answers: Sequence[str], *, altered: str = "", kill_at: str = ""
) -> tuple[int, str]:
    """Run it on a terminal of its own, and answer each of its questions; what it shows.

    It is ended by SIGKILL where it shows `kill_at`.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, command(*argv, altered=altered))
    shown, left = "", list(answers)
    asked = 0
    deadline = time.monotonic() + SECONDS
    try:
        while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:  # EIO: it has ended
                break
            shown += data.decode(errors="replace")
            if left and _QUESTION.search(shown[asked:]):
                asked = len(shown)
                os.write(terminal, f"{left.pop(0)}\n".encode())
            if kill_at and kill_at in shown:
                os.kill(child, 9)
        else:
            os.kill(child, 9)
    finally:
        os.close(terminal)  # it hangs up
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown
