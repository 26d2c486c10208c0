"""The keeper's parts as a program, called as the tests want."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import capabilities
from tests.keeper import programs

# Text on stdout, exit status; a sanitizer's find is a failure of the test.
Probe = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """Calls a part of the keeper, by words and stdin; returns its exit status and what it says."""
    program = programs.build("probe", tmp_path_factory.mktemp("keeper") / "probe")

    def call(*words: str, stdin: bytes = b"", prefix: tuple[str, ...] = ()) -> tuple[int, str]:
        done = subprocess.run(
            [*prefix, str(program), *words],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=30,
            env=programs.environment(),
        )
        assert done.returncode in (0, 1), done.stderr.decode(errors="replace")
        return done.returncode, done.stdout.decode()

    return call


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it is shipped: the sanitizers' memory is too large to be locked."""
    capabilities.require_root()
    capabilities.require_tools("make", "gcc", "unshare", "nsenter")
    folder = tmp_path_factory.mktemp("shipped")
    command = ["make", "--silent", "-C", str(programs.KEEPER), f"BUILD={folder}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "stiefel-link"
