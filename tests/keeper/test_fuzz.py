"""What reads bytes of others, fed with anything: a short hunt, and what former ones began with.

A hunt that goes on for longer, by hand, with clang:

    python -m tests.keeper.test_fuzz FOLDER SECONDS
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import capabilities
from tests.keeper import programs

CORPUS = programs.HERE / "corpus"
SECONDS = 10


def test_corpus(tmp_path: Path) -> None:
    """With gcc's sanitizers, which every machine has."""
    program = programs.build("fuzz", tmp_path / "replay", "-DREPLAY")
    names = sorted(map(str, CORPUS.iterdir()))
    assert names
    command = [str(program), *names]
    done = subprocess.run(
        command, env=programs.environment(), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def hunt(folder: Path, seconds: int) -> str:
    """Let libFuzzer look for a crash; returns what it says, and fails with that if it finds one."""
    sanitizers = "fuzzer,address,undefined"
    program = programs.build("fuzz", folder / "fuzz", compiler="clang", sanitizers=sanitizers)
    found = folder / "found"
    found.mkdir(exist_ok=True)
    command = [str(program), f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10"]
    command += [f"-artifact_prefix={folder}/", str(found), str(CORPUS)]
    done = subprocess.run(
        command,
        env=programs.environment(),
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
        timeout=seconds + 120,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    return done.stderr


def has_fuzzer(folder: Path) -> bool:
    """Whether there is a clang with libFuzzer, which some distributions package apart."""
    trial = folder / "trial.c"
    trial.write_text("int LLVMFuzzerTestOneInput(char *d, long n) { return d && n ? 0 : 0; }\n")
    command = ["clang", "-fsanitize=fuzzer,address", "-o", str(folder / "trial"), str(trial)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_short_hunt(tmp_path: Path) -> None:
    capabilities.require_tools("clang")
    capabilities.require(has_fuzzer(tmp_path), "clang lacks libFuzzer: libclang-rt-*-dev")
    assert "DONE" in hunt(tmp_path, SECONDS)


if __name__ == "__main__":
    print(hunt(Path(sys.argv[1]), int(sys.argv[2])))
