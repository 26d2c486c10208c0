"""Questions: what is no answer is asked again, and silence is a no."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem.host import consent
from tests.unit.setup_tree import Terminal, answer

__all__ = ["answer"]  # the fixture


@pytest.mark.parametrize(
    ("keys", "choice"),
    [("y\n", "yes"), (" Skip \n", "skip"), ("\nyess\nx\ns\n", "skip"), ("\x04", "abort")],
)
def test_choices(answer: Callable[[str], None], keys: str, choice: str) -> None:
    answer(keys)
    assert consent.choose("well?", ("yes", "skip", "abort")) == choice


@pytest.mark.parametrize(("keys", "wanted"), [("y\n", True), ("no\n", False), ("\x04", False)])
def test_yes_or_no(answer: Callable[[str], None], keys: str, wanted: bool) -> None:
    answer(keys)
    assert consent.ask("install it", assume_yes=False) == wanted


def test_typed_ahead(answer: Callable[[str], None]) -> None:
    """While a command ran: no answer to a question that was not there yet."""
    answer("x\nskip\n")
    assert isinstance(sys.stdin, Terminal)
    sys.stdin.type_ahead(b"y\ny\n")
    assert consent.choose("well?", ("yes", "skip", "abort")) == "skip"


def test_another_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an old terminal: no answer to anything, and it is asked again."""
    typed = io.TextIOWrapper(io.BytesIO(b"j\xfc\nno\n"), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdin", typed)
    assert consent.answer("well? ") == "\ufffd\n"
    typed = io.TextIOWrapper(io.BytesIO(b"j\xfc"), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdin", typed)
    assert consent.choose("well?", ("yes", "abort")) == "abort"


def test_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert not consent.ask("install it", assume_yes=False)
    assert "install it -- not done: no terminal" in capsys.readouterr().err
    assert consent.ask("install it", assume_yes=True)
    assert capsys.readouterr().err == "install it\n"


def test_ctrl_c_is_abort() -> None:
    """At a real terminal, whose keys make signals."""
    child, terminal = os.forkpty()
    if child == 0:
        signal.alarm(60)  # ends it, whatever happens
        sys.stdin, sys.stderr = open(0), open(1, "w")  # noqa: SIM115
        os._exit(7 if consent.choose("well?", ("yes", "abort")) == "abort" else 1)
    shown = b""
    while b"well?" not in shown:
        shown += os.read(terminal, 100)
    # Not before it waits: Python would see a signal just before its read after that alone.
    status = Path(f"/proc/{child}/stat")
    while status.read_text().rpartition(")")[2].split()[0] == "R":
        time.sleep(0.01)
    os.write(terminal, b"\x03")
    _, ended = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(ended) == 7
