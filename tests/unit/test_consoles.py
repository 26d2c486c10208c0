"""All consoles at once, by pseudo-terminals: each says the same, and none holds up the others."""

from __future__ import annotations

import errno
import os
import pty
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stiefelsystem.console import say, warn
from stiefelsystem.progress import Progress
from stiefelsystem.ramdisk import consoles


class Machine:
    """Its consoles' names in the kernel's file, and the far ends of those that were made."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.active = folder / "active"
        self.active.write_text("")
        self.devices = folder / "dev"
        self.devices.mkdir()
        self.ends: list[int] = []
        monkeypatch.setattr(consoles, "_ACTIVE", self.active)
        monkeypatch.setattr(consoles, "_DEVICES", self.devices)

    def console(self, name: str) -> tuple[int, int]:
        """A new console, which is named last, and so the main one: the person's end and ours."""
        person, terminal = pty.openpty()
        (self.devices / name).unlink(missing_ok=True)
        (self.devices / name).symlink_to(os.ttyname(terminal))
        self.name(*self.names(), name)
        self.ends += [person, terminal]
        return person, terminal

    def names(self) -> list[str]:
        return self.active.read_text().split()

    def name(self, *names: str) -> None:
        self.active.write_text(" ".join(dict.fromkeys(names)) + "\n")

    def close(self, end: int) -> None:
        self.ends.remove(end)
        os.close(end)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    yield machine
    for end in machine.ends:
        os.close(end)


def shown(person: int, seconds: float = 1.0) -> str:
    """What comes out at a console, until nothing more comes."""
    text = b""
    while select.select([person], [], [], 0.05 if text else seconds)[0]:
        try:
            data = os.read(person, 1 << 16)
        except OSError as error:
            assert error.errno == errno.EIO
            break
        text += data
    return text.decode().replace("\r\n", "\n")


def fill(machine: Machine, name: str) -> None:
    """Say to a console whatever it takes, so that it takes no more."""
    handle = os.open(machine.devices / name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    # The kernel moves on in between what it has taken, which makes room again.
    while select.select([], [handle], [], 0.2)[1]:
        with suppress(BlockingIOError):
            while True:
                os.write(handle, b"x" * 1024)
    os.close(handle)


def test_which_consoles(machine: Machine) -> None:
    machine.console("ttyS0")
    machine.console("tty1")
    machine.name("ttyS7", "ttyS0", "tty0")
    assert consoles.paths() == [machine.devices / "tty1", machine.devices / "ttyS0"]


@pytest.mark.parametrize("names", ["", "tty0 ttyS0\n", None])
def test_where_none_is_there(machine: Machine, names: str | None) -> None:
    """As in a container, which sees the names of the machine that it runs on."""
    if names is None:
        machine.active.unlink()
    else:
        machine.active.write_text(names)
    assert consoles.paths() == [machine.devices / "console"]
    consoles.take_over()
    say("and nothing ends")


def test_what_is_said_is_on_all(machine: Machine) -> None:
    screen, serial = machine.console("tty1")[0], machine.console("ttyS0")[0]
    consoles.take_over()
    say("hello")
    warn("careful ä")
    expected = "hello\n\x1b[33mwarning: \x1b[0mcareful ä\n"
    assert (shown(screen), shown(serial)) == (expected, expected)


def test_a_bar_is_on_all(machine: Machine) -> None:
    screen, serial = machine.console("tty1")[0], machine.console("ttyS0")[0]
    consoles.take_over()
    with Progress("receiving", 100) as progress:
        say("in between")
        progress.advance(100)
    text = shown(screen)
    assert text == shown(serial)
    assert "in between\n" in text
    assert "\rreceiving [" in text


def test_one_that_takes_nothing_holds_nobody_up(machine: Machine) -> None:
    """And gets what it has missed when it takes something again."""
    stuck, screen = machine.console("ttyS0")[0], machine.console("tty1")[0]
    consoles.take_over()
    fill(machine, "ttyS0")
    started = time.monotonic()
    for number in range(100):
        say(f"line {number}")
    assert time.monotonic() - started < 2
    expected = "".join(f"line {number}\n" for number in range(100))
    assert shown(screen) == expected
    assert shown(stuck).strip("x") == ""
    say("line 100")
    assert shown(stuck) == expected + "line 100\n"


def test_what_is_kept_for_it_is_bounded(machine: Machine) -> None:
    stuck = machine.console("ttyS0")[0]
    consoles.take_over()
    fill(machine, "ttyS0")
    for number in range(5000):
        say(f"line {number}")
    text = shown(stuck).strip("x")
    sys.stderr.flush()
    while more := shown(stuck, 0.2):
        text += more
        sys.stderr.flush()
    lines = text.splitlines()
    assert lines[-1] == "line 4999"
    assert len(lines) < 5000 / 2


def test_one_that_is_hung_up(machine: Machine) -> None:
    gone, screen = machine.console("ttyUSB0"), machine.console("tty1")[0]
    consoles.take_over()
    say("before")
    machine.close(gone[1])
    machine.close(gone[0])
    say("without it")
    again = machine.console("ttyUSB0")[0]
    say("with it")
    assert shown(screen) == "before\nwithout it\nwith it\n"
    assert shown(again) == "with it\n"


def test_one_that_is_hung_up_and_there_at_once(machine: Machine) -> None:
    """Nothing is missing there but what it had shown before."""
    person, end = machine.console("ttyS0")
    consoles.take_over()
    say("before")
    machine.close(person)
    again = machine.console("ttyS0")[0]
    say("meanwhile")
    say("after")
    assert shown(again) == "meanwhile\nafter\n"
    machine.close(end)


def test_one_that_goes_and_one_that_comes(machine: Machine) -> None:
    first = machine.console("tty1")[0]
    consoles.take_over()
    say("one")
    second = machine.console("ttyS0")[0]
    say("two")
    machine.name("ttyS0")
    before = len(os.listdir("/proc/self/fd"))
    say("three")
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert (shown(first), shown(second)) == ("one\ntwo\n", "two\nthree\n")


def test_from_several_threads(machine: Machine) -> None:
    screen = machine.console("tty1")[0]
    consoles.take_over()
    threads = [threading.Thread(target=say, args=("x" * 50,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown(screen).replace("\n", "") == "x" * 1000


def test_what_is_asked_is_answered_there(machine: Machine) -> None:
    assert consoles.inputs() == [Path("/proc/self/fd/0")]
    machine.console("tty1")
    consoles.take_over()
    assert consoles.inputs() == [machine.devices / "tty1"]
