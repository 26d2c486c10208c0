"""Where the ramdisk's key comes from, and what is said to whoever types its passphrase."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from stiefelsystem import wrapped
from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk import client, unlock

KEY = bytes(range(32))


class Person:
    """Types these passphrases; and the clock between them."""

    def __init__(self, *typed: str) -> None:
        self.typed = list(typed)
        self.asked: list[str] = []
        self.pauses: list[float] = []
        self.shown_again = False

    def ask(self, question: str) -> Generator[str, None, None]:
        try:
            while True:
                self.asked.append(question)
                yield self.typed.pop(0)
        finally:
            self.shown_again = True

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapped, "_LOG_N", 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "aes-key"


def wrap(path: Path, content: bytes | None = None) -> None:
    file = wrapped.wrap(KEY, "open sesame") if content is None else content
    path.with_name("aes-key.wrapped").write_bytes(file)


def unlocked(path: Path, person: Person, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(unlock, "time", person)
    return unlock.key(path, person.ask)


def test_a_key_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(KEY)
    path.chmod(0o600)
    person = Person()
    assert unlocked(path, person, monkeypatch) == KEY
    assert person.asked == []


def test_a_passphrase(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrap(path)
    person = Person("open sesame")
    assert unlocked(path, person, monkeypatch) == KEY
    assert person.shown_again
    assert person.pauses == []
    assert ["keyboard is a US one" in one for one in person.asked] == [True]
    assert not path.exists()
    assert "sesame" not in capsys.readouterr().err


def test_wrong_ones_take_longer_and_longer(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrap(path)
    person = Person(*["sesame"] * 11, "", "\x1b[A", "open sesame")
    assert unlocked(path, person, monkeypatch) == KEY
    assert person.pauses == [*range(1, 11), 10, 10, 10]
    said = capsys.readouterr().err
    assert said.count("that is not the passphrase") == 11
    assert "\x1b" not in said


@pytest.mark.parametrize("content", [b"", b"x" * 91, b"x" * 5000])
def test_what_no_passphrase_opens(
    path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked for it."""
    wrap(path, content)
    person = Person("open sesame")
    with pytest.raises(StiefelError, match="not a wrapped key"):
        unlocked(path, person, monkeypatch)
    assert person.asked == []


def test_no_key_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once; the unit does not start the program again for this status."""
    monkeypatch.setattr("sys.argv", ["stiefel-client", "--key", str(path)])
    assert client.main() == 78
    said = capsys.readouterr().err
    assert said.count("this ramdisk has no key") == 1
    assert "setup-client-usbdrive" in said
    assert "create-initrd-nspawn" not in said
    unit = Path(__file__).parents[2] / "initrd/etc/systemd/system/stiefel-client.service"
    assert "RestartPreventExitStatus=78" in unit.read_text().splitlines()
