"""What all unit tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from stiefelsystem.ramdisk import export
from tests import capabilities

# A busy machine is no failure, and the tests leave nothing behind.
settings.register_profile("unit", deadline=None, database=None, max_examples=40)
settings.load_profile("unit")


@pytest.fixture
def nbd_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that serves disks, instead of nbd-server (nbd_server.py)."""
    capabilities.require_tools("ip")
    program = tmp_path / "bin/nbd-server"
    program.parent.mkdir()
    script = Path(__file__).with_name("nbd_server.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    monkeypatch.setattr(export, "environment", lambda: path)
