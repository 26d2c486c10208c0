"""kill -9 before, between and after all that changes the system; then continue, or undo."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit import setup_tree as system


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, if there is such a folder: here are thousands of files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def before(folder: Path) -> Path:
    return system.make(folder / "before")


@pytest.fixture
def after(folder: Path, before: Path) -> Path:
    """The system when nothing has interrupted the installation."""
    tree = copy(before, folder / "after")
    system.living(system.install, tree)
    return tree


def upgrade(tree: Path) -> bool:
    return system.install(tree, version="2")


def copy(tree: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(tree, to, symlinks=True))


def test_the_plan_changes_something_everywhere(before: Path, after: Path) -> None:
    """So that the tests below compare something."""
    old, new = system.snapshot(before), system.snapshot(after)
    assert old.keys() - new.keys() == {"etc/obsolete", "etc/old-link"}
    assert new.keys() - old.keys() == {
        *("etc/hooks/stiefel", "etc/wanted/service", "var/packages/nbd", "var/packages/kexec"),
        *("etc/stiefel", "etc/stiefel/private", "etc/stiefel/private/key", system.RECORD),
        *("usr/local", "usr/local/lib", "usr/local/lib/stiefel"),
        *("usr/local/lib/stiefel/program", "usr/local/lib/stiefel/other"),
    }
    changed = {name for name in old.keys() & new.keys() if old[name][3] != new[name][3]}
    texts = {"etc/init/init.conf", "etc/ours.conf", "usr/share/linked.conf"}
    assert changed == {*texts, system.INITRD}


def test_installation_killed(before: Path, after: Path, folder: Path) -> None:
    """Continued, it is as if nothing had been; and undone, too."""
    installed, original = system.snapshot(after, times=False), system.snapshot(before)
    for at in itertools.count():
        tree = copy(before, folder / "tree")
        if not system.dying(system.install, tree, at):
            break
        other = copy(tree, folder / "other")
        system.living(system.uninstall, other)
        assert system.snapshot(other) == original, at
        system.living(system.install, tree)
        assert system.snapshot(tree, times=False) == installed, at
    assert at > 100


def test_undo_killed(before: Path, after: Path, folder: Path) -> None:
    original = system.snapshot(before)
    for at in itertools.count():
        tree = copy(after, folder / "tree")
        if not system.dying(system.uninstall, tree, at):
            break
        system.living(system.uninstall, tree)
        assert system.snapshot(tree) == original, at
    assert at > 50


def test_new_version_killed(before: Path, after: Path, folder: Path) -> None:
    """The first original is the one that comes back."""
    original = system.snapshot(before)
    for at in itertools.count():
        tree = copy(after, folder / "tree")
        if not system.dying(upgrade, tree, at):
            break
        system.living(system.uninstall, tree)
        assert system.snapshot(tree) == original, at
    assert at > 30


@pytest.mark.parametrize("seed", range(20))
def test_killed_again_and_again(before: Path, after: Path, folder: Path, seed: int) -> None:
    """Whatever was interrupted before, by whichever version."""
    dice = random.Random(seed)
    tree = copy(before, folder / "tree")
    works = [system.install, upgrade, system.uninstall]
    for _ in range(dice.randrange(2, 8)):
        system.dying(dice.choice(works), tree, dice.randrange(120))
    if seed % 2:
        system.living(system.install, tree)
        assert system.snapshot(tree, times=False) == system.snapshot(after, times=False)
    system.living(system.uninstall, tree)
    assert system.snapshot(tree) == system.snapshot(before)


def test_on_the_medium_before_what_follows(before: Path, folder: Path) -> None:
    """What a power cut must not find: a change that the record does not announce yet, or a new
    name for a file whose content is not there yet."""
    tree = copy(before, folder / "tree")
    record = str(tree / system.RECORD)
    for work in (system.install, upgrade, system.uninstall):
        unsafe: set[str] = set()
        checked = 0
        for event, path in system.traced(work, tree, folder / "trace"):
            if event == "fsync":
                unsafe.discard(path)
                continue
            if not path.startswith(record):
                assert not [name for name in unsafe if name.startswith(record)], (event, path)
                assert event != "os.rename" or path not in unsafe, path
                checked += 1
            if event == "write":
                unsafe.add(path)
        assert checked >= 10
        assert not unsafe
