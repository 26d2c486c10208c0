"""A long hunt on every target, from what former ones have found out; FUZZ_SECONDS for each."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.hunt import WORK, hunt
from tests.fuzz.targets import NAMES

SECONDS = int(os.environ.get("FUZZ_SECONDS", "600"))


@pytest.mark.parametrize("target", NAMES)
def test_long_hunt(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = hunt(target, SECONDS, WORK / "corpus" / target)
    with capsys.disabled():
        print(f"\n{target}: {said[said.rindex('DONE') :].splitlines()[0]}")
