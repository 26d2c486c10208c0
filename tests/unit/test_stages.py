"""The build's stages: which are done, which are left, and what is said about the time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stages import Stage, run_stages


class Build:
    """Three stages that note what is done, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.done: list[str] = []
        self.stages = [self._stage(name) for name in ("base", "files", "pack")]

    def _stage(self, name: str) -> Stage:
        return Stage(
            name,
            f"what {name} is",
            30.0,
            lambda: self.done.append(name),
            lambda: self.done.append(f"forget {name}"),
        )

    def run(self, *, skip: tuple[str, ...] = (), force: tuple[str, ...] = ()) -> list[str]:
        run_stages(self.stages, skip=skip, force=force, cache=self.cache)
        return self.done


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def test_all_stages_are_done_in_order(build: Build) -> None:
    assert build.run() == ["base", "files", "pack"]


def test_skipped_stages_are_not_touched(build: Build) -> None:
    assert build.run(skip=("base", "pack"), force=("base",)) == ["files"]


def test_a_forced_stage_forgets_before_it_works(build: Build) -> None:
    assert build.run(force=("files",)) == ["base", "forget files", "files", "pack"]


def test_a_failing_stage_ends_the_build(build: Build) -> None:
    def fail() -> None:
        raise StiefelError("no room")

    build.stages[1] = Stage("files", "", 1.0, fail, fail)
    with pytest.raises(StiefelError, match="no room"):
        build.run()
    assert build.done == ["base"]


def test_the_time_that_is_left(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    build.cache.mkdir()
    (build.cache / "stage-seconds.json").write_text(json.dumps({"base": 100, "pack": 7}))
    build.run()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "[1/3] base: what base is (at most 137 s left)"
    assert said[1].endswith("(at most 37 s left)")
    assert said[2].endswith("(at most 7 s left)")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"base": "x"}', '{"base": null}'])
def test_damaged_times_are_forgotten(build: Build, text: str) -> None:
    build.cache.mkdir()
    (build.cache / "stage-seconds.json").write_text(text)
    assert build.run() == ["base", "files", "pack"]


def test_stages_that_had_nothing_to_do_say_nothing_about_the_time(build: Build) -> None:
    build.run()
    assert not (build.cache / "stage-seconds.json").exists()
