"""An update of a stick that fails or is killed, at any call: a set that is whole stays."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem import run as running
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import fat, make, update
from stiefelsystem.host.stick.contents import contents
from stiefelsystem.host.stick.layout import MIB
from tests import capabilities
from tests.unit import one_stick
from tests.unit.stick_sets import (
    booted,
    config,
    image,
    in_image,
    kernel_and_image,
    numbers,
    valid_sets,
)

__all__ = ["config", "image"]  # the fixtures


def calls(monkeypatch: pytest.MonkeyPatch, before_call: Any) -> None:
    """Have `before_call` called with each command of mtools', before it runs."""

    def run(command: list[str], **options: Any) -> Any:
        before_call(command)
        return running.run(command, **options)

    monkeypatch.setattr(fat, "run", run)


def test_tool_that_fails(image: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, at each of its calls that write, in turn."""
    make.image(image, config, update=True)
    at = 0
    while True:
        before, name = valid_sets(image), booted(image)
        count = iter(range(100))

        def fail(command: list[str], at: int = at, count: Iterator[int] = count) -> None:
            if command[0] in ("mcopy", "mdel", "mmd", "mren") and next(count) == at:
                raise StiefelError("it fails")

        one_stick.new_ramdisk(config.paths.cpio)
        with monkeypatch.context() as patch:
            calls(patch, fail)
            try:
                make.image(image, config, update=True)
                break
            except StiefelError as error:
                assert "keeps what it had: it fails" in str(error)
                assert not error.hint
        assert booted(image) == name
        assert valid_sets(image).items() <= before.items()
        at += 1
    assert at >= 4
    assert in_image(image, booted(image)) == kernel_and_image(config)


def _update_and_die(image: Path, config: Config, at: int, later: float) -> None:
    """In a process of its own: end by SIGKILL at the call number `at`, or while it runs."""
    left = iter(range(at))

    def run(command: list[str], **options: Any) -> Any:
        if next(left, None) is None:
            if later:
                running.subprocess.Popen(
                    ["timeout", "-s", "KILL", f"{later}", *command],
                    env=running.environment(fat._ENV),
                    stdin=running.subprocess.DEVNULL,
                    stderr=running.subprocess.DEVNULL,
                    stdout=running.subprocess.DEVNULL,
                ).wait()
            os.kill(os.getpid(), signal.SIGKILL)
        return running.run(command, **options)

    fat.run = run
    with contents(config) as parts:
        update.update(image, parts)


@pytest.mark.parametrize("mode", ["between", "within"])
def test_killed(image: Path, config: Config, tmp_path: Path, mode: str) -> None:
    """Whenever it is, the set that was booted before boots, or the new one does."""
    capabilities.require_tools("fsck.vfat")
    make.image(image, config, update=True)
    chance = random.Random(mode)
    context = multiprocessing.get_context("fork")
    at = 0
    one_stick.new_ramdisk(config.paths.cpio, size=2 * MIB)
    while True:
        before, newest = valid_sets(image), max(numbers(image).values())
        later = 0 if mode == "between" else chance.choice([0.002, 0.004, 0.008])
        process = context.Process(target=_update_and_die, args=(image, config, at, later))
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        after = valid_sets(image)
        if newest + 1 in after:
            assert after.pop(newest + 1) == kernel_and_image(config)
        assert newest in after
        assert after.items() <= before.items()
        if process.exitcode == 0:
            break
        at += 1
    assert at >= 7
    make.image(image, config, update=True)
    assert in_image(image, booted(image)) == kernel_and_image(config)
    # At worst, room is lost; nothing has two owners.
    done = one_stick.fsck(image, tmp_path)
    assert "share" not in done.stdout
