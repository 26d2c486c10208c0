"""A configuration, and what is said where it is refused."""

from __future__ import annotations

import pytest

from stiefelsystem.config import parse
from stiefelsystem.console import StiefelError

MINIMAL = """\
modules: [system-debian]
boot:
  disk: /dev/sda
"""


def refusal(text: str) -> tuple[str, str]:
    """What `parse` says about `text`: message and hint."""
    with pytest.raises(StiefelError) as caught:
        parse(text, name="config.yaml")
    message, hint = str(caught.value), caught.value.hint
    assert "\n" not in message + hint
    return message, hint


def assert_refused(text: str, message: str | None, hint: str | None) -> None:
    """What is said about `text` is this; of what is None, it does not matter."""
    said, advised = refusal(text)
    assert said.startswith("config.yaml:")
    if message is not None:
        assert said == f"config.yaml:{message}"
    if hint is not None:
        assert advised == hint
