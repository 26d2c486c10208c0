"""Fuzz one target: `python -m tests.fuzz TARGET [libFuzzer's options] [FOLDER|FILE]...`

Files are inputs that are tried once: so a failure is seen again. Folders are corpora; what is new
goes into the first one. https://llvm.org/docs/LibFuzzer.html has the options.
"""

from __future__ import annotations

import importlib
import io
import sys
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import atheris

from tests.fuzz.targets import NAMES

# Ours, and what of Python's own library reads what a peer has sent.
INSTRUMENTED = ["stiefelsystem", "http", "tarfile"]
# Where temporary files cost least.
MEMORY = Path("/dev/shm")
OPTIONS = [
    # Bytes, seconds, MiB: an input that takes more time or memory is a failure.
    "-max_len=8192",
    "-timeout=20",
    "-rss_limit_mb=2048",
    # Many are the same to who sees Python alone, and not to what is written in C, such as json.
    "-keep_seed=1",
]


class Console(io.TextIOBase):
    """Where the code's messages go: no peer may control a terminal by what is said about it."""

    def write(self, text: str) -> int:
        assert text.removesuffix("\n").isprintable(), f"said on the console: {text!r}"
        return len(text)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"{__doc__}\ntargets: {' '.join(NAMES)}")
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = importlib.import_module(f"tests.fuzz.targets.{sys.argv[1]}")
    console = Console()
    if MEMORY.is_dir():
        tempfile.tempdir = str(MEMORY)

    def try_one(data: bytes) -> None:
        with redirect_stderr(console):
            target.fuzz(data)

    atheris.Setup([sys.argv[0], *OPTIONS, *sys.argv[2:]], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
