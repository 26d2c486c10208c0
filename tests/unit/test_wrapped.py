"""The wrapped key: what opens it, and what a broken or hostile stick costs who boots it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import pytest

from stiefelsystem import wrapped
from stiefelsystem.console import StiefelError

KEY = bytes(range(32))
PASSPHRASE = "correct horse"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapped, "_LOG_N", 10)


@pytest.mark.parametrize("key", [KEY, KEY[:16]])
def test_the_way_back(key: bytes) -> None:
    file = wrapped.wrap(key, PASSPHRASE)
    assert len(file) in wrapped.SIZES
    assert key not in file
    assert wrapped.unwrap(file, PASSPHRASE) == key


def test_each_wrapping_is_another() -> None:
    assert len({wrapped.wrap(KEY, PASSPHRASE) for _ in range(5)}) == 5


def test_at_its_real_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """128 MiB, as the page says, and no more than a few seconds on any machine that tests."""
    monkeypatch.undo()
    started = time.monotonic()
    file = wrapped.wrap(KEY, PASSPHRASE)
    assert wrapped.unwrap(file, PASSPHRASE) == KEY
    assert time.monotonic() - started < 60
    assert file[8:12] == bytes([1, 17, 8, 1])


@pytest.mark.parametrize(
    "other", ["correct horsE", "correct horse ", " correct horse", "correct", "", "\x1b[A", "ä"]
)
def test_another_passphrase(other: str) -> None:
    file = wrapped.wrap(KEY, PASSPHRASE)
    with pytest.raises(wrapped.WrongPassphrase):
        wrapped.unwrap(file, other)


@pytest.mark.parametrize(
    ("typed", "meant"), [("e\u0301", "\u00e9"), ("\u212b", "\u00c5"), ("\uff41b", "ab")]
)
def test_what_looks_equal_is_equal(typed: str, meant: str) -> None:
    assert wrapped.unwrap(wrapped.wrap(KEY, meant), typed) == KEY


@pytest.mark.parametrize("passphrase", ["", "a\nb", "tab\t", "\x7f", "\u202eabc"])
def test_no_passphrase(passphrase: str) -> None:
    with pytest.raises(StiefelError) as caught:
        wrapped.wrap(KEY, passphrase)
    assert not isinstance(caught.value, wrapped.WrongPassphrase)
    assert caught.value.hint
    assert passphrase.strip() == "" or passphrase not in f"{caught.value}{caught.value.hint}"


def test_every_altered_byte_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapped, "_LOG_N", 3)
    file = wrapped.wrap(KEY, PASSPHRASE)
    for place in range(len(file)):
        altered = file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :]
        with pytest.raises(StiefelError):
            wrapped.unwrap(altered, PASSPHRASE)


def test_every_other_length_is_refused() -> None:
    file = wrapped.wrap(KEY, PASSPHRASE)
    for size in range(300):
        if size in wrapped.SIZES:
            continue
        with pytest.raises(StiefelError, match="not a wrapped key"):
            wrapped.check((file * 4)[:size])


@pytest.mark.parametrize("place", [9, 10, 11])
def test_no_parameter_is_dear(place: int) -> None:
    """Each value of each of them: in time and memory that ours take, or refused at once."""
    file = wrapped.wrap(KEY, PASSPHRASE)
    refused = 0
    for value in range(256):
        header = file[:place] + bytes([value]) + file[place + 1 :]
        try:
            wrapped.check(header)
        except StiefelError:
            refused += 1
            continue
        log_n, r, p = header[9:12]
        assert 128 * r << log_n <= 128 << 20
        assert 1 <= p <= 4
    assert refused > 0


def test_a_hostile_stick_takes_no_memory() -> None:
    """Read in a process that may have little more than what our own parameters take."""
    code = f"""
import resource, sys
sys.path[:] = {sys.path}
from stiefelsystem import wrapped
from stiefelsystem.console import StiefelError
from Crypto.Cipher import AES
from Crypto.Protocol import KDF
file = bytearray(wrapped.wrap(bytes(32), "x"))
resource.setrlimit(resource.RLIMIT_AS, ({512 << 20}, {512 << 20}))
for parameters in (b"\\xff\\xff\\xff", b"\\x1f\\x08\\x01", b"\\x12\\x08\\x01", b"\\x11\\xff\\x01"):
    file[9:12] = parameters
    try:
        wrapped.unwrap(bytes(file), "x")
    except StiefelError as error:
        print("N = 2^" in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True"] * 4
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 512 << 20


def test_no_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with a traceback, on a machine that is too small."""
    code = f"""
import resource, sys
sys.path[:] = {sys.path}
from stiefelsystem import wrapped
from stiefelsystem.console import StiefelError
wrapped._LOG_N = 10
wrapped.wrap(bytes(32), "x")
wrapped._LOG_N = 17
resource.setrlimit(resource.RLIMIT_AS, ({128 << 20}, {128 << 20}))
try:
    wrapped.wrap(bytes(32), "x")
except StiefelError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "cannot work with the passphrase: there are no 128 MiB of memory\n"
