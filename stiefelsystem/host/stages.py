"""A build in named stages, each of which knows whether it has anything to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import say

# Beside the cache's contents: how long each stage took last time it had something to do.
_SECONDS = "stage-seconds.json"
# What takes less was not really done, and says nothing about the next time.
_SHORTEST = 1.0


@dataclass(frozen=True)
class Stage:
    """`work` does the stage, or finds that it is done; `forget` makes it be done again.

    `seconds` is a guess for the first time, on an ordinary machine.
    """

    name: str
    what: str
    seconds: float
    work: Callable[[], None]
    forget: Callable[[], None]


def run_stages(
    stages: Sequence[Stage], *, skip: Collection[str], force: Collection[str], cache: Path
) -> None:
    """Do all stages that are not skipped, in order, saying which one, and how long it may take."""
    wanted = [stage for stage in stages if stage.name not in skip]
    known = _read(cache / _SECONDS)
    for number, stage in enumerate(wanted, 1):
        left = sum(known.get(later.name, later.seconds) for later in wanted[number - 1 :])
        say(f"[{number}/{len(wanted)}] {stage.name}: {stage.what} (at most {left:.0f} s left)")
        if stage.name in force:
            stage.forget()
        started = time.monotonic()
        stage.work()
        seconds = time.monotonic() - started
        if seconds > _SHORTEST:
            known[stage.name] = max(seconds, known.get(stage.name, 0) / 2)
            files.make_folder(cache)
            files.write(cache / _SECONDS, json.dumps(known))


def _read(path: Path) -> dict[str, float]:
    with suppress(OSError, TypeError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return {str(name): float(seconds) for name, seconds in found.items()}
    return {}
