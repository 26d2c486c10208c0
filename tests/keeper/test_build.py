"""gcc's static analysis of the keeper, and a build with all warnings as errors."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import capabilities
from tests.keeper import programs


def test_make_check(tmp_path: Path) -> None:
    capabilities.require_tools("make", "gcc")
    command = ["make", "--silent", "-C", str(programs.KEEPER), f"BUILD={tmp_path}", "check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "check/stiefel-link").exists()
