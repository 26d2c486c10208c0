"""Test programs made of the keeper's own files, with the sanitizers in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import capabilities

KEEPER = Path(__file__).resolve().parents[2] / "nbd-hook/keeper"
HERE = Path(__file__).resolve().parent
# What a sanitizer ends a program with; 0 and 1 are the programs' own.
FOUND = 99

_FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1"]
_SANITIZERS = "address,undefined"


def build(
    program: str, target: Path, *words: str, compiler: str = "gcc", sanitizers: str = _SANITIZERS
) -> Path:
    """Compile `program`.c of this folder with all of the keeper but its main()."""
    capabilities.require_tools(compiler)
    sources = [path for path in sorted(KEEPER.glob("*.c")) if path.name != "main.c"]
    command = [compiler, *_FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", *words]
    command += ["-I", str(KEEPER), "-o", str(target)]
    command += [str(HERE / f"{program}.c"), *map(str, sources)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return target


def environment() -> dict[str, str]:
    """The environment for such a program."""
    options = f"exitcode={FOUND}:abort_on_error=0"
    return {"PATH": os.environ["PATH"], "ASAN_OPTIONS": options, "UBSAN_OPTIONS": options}
