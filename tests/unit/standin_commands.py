"""Programs that are stood in for: scripts that come first where our programs look for others."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem import run

# A line in sh that ends once its parent sleeps: while it starts a program, it does not.
AWAITED = "until grep -q '^State:.S' /proc/$PPID/status; do :; done"


class Commands:
    """Stand-ins; each notes its arguments, and its input, before it does what it is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        monkeypatch.setattr(run, "_PATH", f"{folder}:{run._PATH}")

    def add(self, name: str, script: str = "", *, reads: bool = False) -> None:
        """A program that does this, in sh; `reads`: it takes its standard input."""
        log = self._folder / f"{name}.log"
        lines = [
            "#!/bin/sh",
            f"echo \"{name} $*\" >>'{log}'",
            f"cat >>'{log}'" if reads else "",
            script,
        ]
        # Whole at once: an earlier one may be running.
        new = self._folder / f".{name}"
        new.write_text("\n".join(lines) + "\n")
        new.chmod(0o755)
        new.rename(self._folder / name)

    def calls(self, name: str) -> list[str]:
        """What the program was called with, and has read."""
        log = self._folder / f"{name}.log"
        return log.read_text().splitlines() if log.exists() else []
