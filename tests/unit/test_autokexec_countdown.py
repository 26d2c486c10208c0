"""The announcements of a countdown, and whom it asks in between.

What comes of its end is in test_autokexec_service.py.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import cancel, countdown
from stiefelsystem.laptop.cancel import Cancelled, Listener
from tests.unit.standin_commands import Commands


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands(tmp_path / "bin", monkeypatch)
    commands.add("wall", reads=True)
    return commands


def count(tmp_path: Path, seconds: int, *looks: StiefelError | None) -> int:
    """Count down; each look finds the next obstacle, if it is one. How often it was looked."""
    found = list(looks)
    done = 0

    def look() -> None:
        nonlocal done
        done += 1
        if found and (error := found.pop(0)):
            raise error

    countdown.run(seconds, why="why", folder=tmp_path, look=look)
    return done


def test_the_announcement_names_the_command(tmp_path: Path, commands: Commands) -> None:
    commands.add("stiefel-autokexec")
    count(tmp_path, 0)
    assert commands.calls("wall")[1:] == [
        "This OS stops in 0 s, to run on another machine: why. "
        "To cancel: stiefel-autokexec --cancel"
    ]


def test_a_program_that_is_not_in_path_is_named_by_its_place(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(countdown, "PROGRAM", "no-such-program")
    monkeypatch.setattr("sys.argv", ["/usr/local/lib/x/stiefel-autokexec"])
    count(tmp_path, 0)
    assert commands.calls("wall")[-1].endswith(
        "To cancel: /usr/local/lib/x/stiefel-autokexec --cancel"
    )


def test_it_is_looked_once_more_just_before_the_end(tmp_path: Path, commands: Commands) -> None:
    assert count(tmp_path, 0) == 1
    assert count(tmp_path, 1) == 1


def test_it_is_looked_in_between(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(countdown, "_LOOK_SECONDS", 0.2)
    with pytest.raises(StiefelError, match="an update"):
        count(tmp_path, 60, None, None, StiefelError("an update"))


def test_after_a_long_time_it_is_said_again(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(countdown, "_REMINDER", 1.0)
    monkeypatch.setattr(countdown, "_LONG", 2.0)
    monkeypatch.setattr(countdown, "_LOOK_SECONDS", 0.5)
    count(tmp_path, 2)
    said = [line for line in commands.calls("wall") if line != "wall "]
    assert [line.split(",")[0] for line in said] == ["This OS stops in 2 s", "This OS stops in 1 s"]


def test_without_wall_it_is_still_said(
    tmp_path: Path, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.add("wall", "exit 1")
    count(tmp_path, 0)
    assert "This OS stops in 0 s" in capsys.readouterr().err


def test_cancelled_while_it_is_looked_for_the_last_time(tmp_path: Path, commands: Commands) -> None:
    asked = []

    def look() -> None:
        thread = threading.Thread(target=lambda: asked.append(cancel.ask(tmp_path)))
        thread.start()
        threads.append(thread)
        # The kernel has taken the call when its end of the connection can be seen.
        while not connected(tmp_path):
            pass

    threads: list[threading.Thread] = []
    with pytest.raises(Cancelled):
        countdown.run(0, why="why", folder=tmp_path, look=look)
    threads[0].join()
    assert asked == [True]


def connected(folder: Path) -> bool:
    """Whether somebody waits at the socket: /proc/net/unix has a line for it, too."""
    text = Path("/proc/net/unix").read_text()
    return text.count(f"{folder}/cancel") > 1


def test_too_late(tmp_path: Path) -> None:
    assert not cancel.ask(tmp_path)
    with Listener(tmp_path):
        pass
    assert not cancel.ask(tmp_path)


def test_called_as_the_countdown_ends(tmp_path: Path) -> None:
    """Who has called and was not heard is told so."""
    answers = []
    with Listener(tmp_path):
        thread = threading.Thread(target=lambda: answers.append(cancel.ask(tmp_path)))
        thread.start()
        while not connected(tmp_path):
            pass
    thread.join()
    assert answers == [False]


def test_who_has_gone_without_an_answer(tmp_path: Path) -> None:
    with Listener(tmp_path) as listener:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.connect(str(tmp_path / "cancel"))
        with pytest.raises(Cancelled):
            listener.raise_if_asked()


def test_a_countdown_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "_TIMEOUT", 0.1)
    with Listener(tmp_path), pytest.raises(StiefelError, match="has not answered"):
        cancel.ask(tmp_path)


def test_what_a_killed_program_has_left(tmp_path: Path) -> None:
    Listener(tmp_path)._socket.close()
    assert not cancel.ask(tmp_path)
    with Listener(tmp_path) as listener:
        listener.raise_if_asked()
