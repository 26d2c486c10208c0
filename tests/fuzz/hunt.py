"""Runs the fuzzer on a target, in a process of its own, as a test."""

from __future__ import annotations

import base64
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import capabilities

REPO = Path(__file__).resolve().parents[2]
SEEDS = REPO / "tests/fuzz/corpus"
# What is found is kept outside of the repository.
WORK = REPO / "cache/fuzz"
# Seconds, for reading the corpus.
_PATIENCE = 300
_SHOWN = 4000


def hunt(target: str, seconds: int, corpus: Path, *, seed: int = 0) -> str:
    """Fuzz for some seconds, from the seeds and what is in `corpus`, which grows.

    With another `seed` than 0, each time with about the same inputs. Returns the fuzzer's output;
    fails the test if an input fails, and tells how to see it again.
    """
    installed = importlib.util.find_spec("atheris") is not None
    capabilities.require(installed, "atheris is not installed; pyproject.toml says where it can be")
    failures = WORK / "failures"
    for folder in (failures, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", target]
    options = ["-print_final_stats=1", f"-max_total_time={seconds}", f"-seed={seed}"]
    done = subprocess.run(
        [*command, *options, f"-artifact_prefix={failures}/{target}-", corpus, SEEDS / target],
        cwd=REPO,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds + _PATIENCE,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{target}: {_failure(command, done.stdout)}", pytrace=False)
    return done.stdout


def _failure(command: list[str], said: str) -> str:
    """What has failed, the input that it failed on, and how to see that again."""
    written = re.search(r"Test unit written to (\S+)", said)
    reason = said[max(said.find("=== Uncaught"), 0) :][:_SHOWN] if written else said[-_SHOWN:]
    if not written:
        return f"the fuzzer fails\n{reason}"
    path = Path(written[1])
    content = base64.b64encode(path.read_bytes()).decode()
    return f"""an input fails. Again, in the repository:
  {shlex.join([*command, str(path)])}
Where that file is not, make it, or a seed of it:
  echo {content} | base64 -d >FILE

{reason}"""
