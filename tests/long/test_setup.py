"""setup-server-os, killed before each of its changes, with the plans that users get."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from tests.unit.one_system import FAMILIES, System, settings
from tests.unit.setup_tree import dying, living, snapshot

__all__ = ["settings"]  # the fixture


@pytest.mark.parametrize("generator", FAMILIES)
def test_killed_anywhere(generator: str, tmp_path: Path, settings: tuple[Config, str]) -> None:
    """Half of the times it is done again and whole then, half of the times all is taken back."""
    system = System(tmp_path / "tree", generator, settings)
    original = shutil.copytree(system.tree, tmp_path / "original", symlinks=True)
    before = snapshot(original, times=False)
    living(lambda tree: system.set_up(), system.tree)
    done = snapshot(system.tree, times=False)
    for at in count():
        shutil.rmtree(system.tree)
        shutil.copytree(original, system.tree, symlinks=True)
        if not dying(lambda tree: system.set_up(), system.tree, at):
            break
        if at % 2:
            living(lambda tree: system.set_up(), system.tree)
            assert snapshot(system.tree, times=False) == done, f"killed before change {at}"
        else:
            living(lambda tree: system.take_back(), system.tree)
            assert snapshot(system.tree, times=False) == before, f"killed before change {at}"
    assert at > 100
    print(f"{generator}: killed at {at} points")
