"""How often, and how long, the client asks a laptop that may say something else soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stiefelsystem import kexec
from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.messages import NONCE_SIZE, Offer, Role
from stiefelsystem.ramdisk import client, fetch, keyboards, target
from stiefelsystem.ramdisk.search import Found

FOUND = Found(Offer(Role.SERVER, bytes(NONCE_SIZE), bytes(NONCE_SIZE)), Peer("fe80::1", 0, 2**30))
KEY = b"k" * 32


class Laptop:
    """A laptop, its answers in order, of which the last one stays; and the clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.answers: list[StiefelError | None] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 30
        self.now += seconds

    def start(self, *_: Any) -> None:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer:
            raise answer

    def attempt(self) -> None:
        client._attempt(KEY, client.Options())


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> Laptop:
    laptop = Laptop()
    monkeypatch.setattr(client, "time", laptop)
    monkeypatch.setattr(target, "start", laptop.start)
    monkeypatch.setattr(client.Search, "run", lambda *_, **__: FOUND)
    return laptop


@pytest.mark.parametrize("kind", [fetch.NotYet, fetch.Unconfirmed])
def test_it_is_asked_until_it_gives(
    laptop: Laptop, kind: type[fetch.AskAgain], capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.answers = [*(kind("the reason", hint="the way out") for _ in range(9)), None]
    laptop.attempt()
    assert laptop.asked == 10
    said = capsys.readouterr().err
    assert said.count("the reason; asking again") == 1
    assert said.count("  the way out") == 1


@pytest.mark.parametrize(("kind", "seconds"), [(fetch.NotYet, 60), (fetch.Unconfirmed, 150)])
def test_not_for_ever(laptop: Laptop, kind: type[fetch.AskAgain], seconds: int) -> None:
    laptop.answers = [kind("the reason")]
    with pytest.raises(kind, match="the reason"):
        laptop.attempt()
    assert seconds <= laptop.now - 1000 <= seconds + 5


def test_another_answer_ends_it(laptop: Laptop) -> None:
    laptop.answers = [fetch.Unconfirmed("the laptop asks"), StiefelError("somebody said no")]
    with pytest.raises(StiefelError, match="somebody said no"):
        laptop.attempt()
    assert laptop.asked == 2


def test_what_is_new_is_said(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ["no disk", "no disk", "somebody has it", "somebody has it"]
    laptop.answers = [*map(fetch.NotYet, reasons), None]
    laptop.attempt()
    said = [line for line in capsys.readouterr().err.splitlines() if "asking again" in line]
    assert said == ["no disk; asking again", "somebody has it; asking again"]


def test_secure_boot_is_no_reason_to_stop_the_laptop_again(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said once, and then nothing is done until somebody presses Enter."""
    waited: list[int] = []

    def answers(question: str) -> Iterator[str]:
        waited.append(laptop.asked)
        assert "press Enter" in question
        yield ""

    monkeypatch.setattr("sys.argv", ["stiefel-client", "--cmdline", ""])
    monkeypatch.setattr(client.unlock, "key", lambda path: KEY)
    monkeypatch.setattr(keyboards, "answers", answers)
    laptop.answers = [kexec.Untrusted("not trusted", hint="the way out"), None]
    assert client.main() == 0
    assert waited == [1]
    assert laptop.asked == 2
    assert laptop.now == 1000.0
    said = capsys.readouterr().err
    assert said.count("not trusted\n  the way out\n") == 1
    assert "trying again" not in said
