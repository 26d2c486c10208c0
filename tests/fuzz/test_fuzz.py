"""A short hunt on every target, and what its seeds are worth.

An input that has found a bug becomes a seed: a file in corpus/TARGET, named for what is wrong with
it. `tests/run long` hunts for new ones.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.fuzz.hunt import SEEDS, hunt
from tests.fuzz.targets import NAMES

SECONDS = 2


@pytest.mark.parametrize("target", NAMES)
def test_seeds(target: str) -> None:
    """Those called `good` get all the way through, so that what lies behind a proof is fuzzed."""
    fuzz = importlib.import_module(f"tests.fuzz.targets.{target}").fuzz
    seeds = sorted((SEEDS / target).iterdir())
    assert any(seed.name.startswith("good") for seed in seeds)
    for seed in seeds:
        accepted = fuzz(seed.read_bytes())
        assert accepted or not seed.name.startswith("good"), seed


@pytest.mark.parametrize("target", NAMES)
def test_short_hunt(target: str, tmp_path: Path) -> None:
    hunt(target, SECONDS, tmp_path, seed=1)
