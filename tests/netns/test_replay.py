"""All that was ever said, said again, by who heard it: nothing may come of it.

The relay records a whole exchange, from the order to the archive. Then it plays all of it to the
laptop, whose peer it was, or to the desktop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.machines import Hub
from tests.netns.middle import FOUND, LISTENING, ORDERED, SERVING, Middle, Programs
from tests.netns.relay import read_recording
from tests.processes import Program

SAME_OR_NEW = pytest.mark.parametrize("new", [False, True], ids=["same process", "new process"])


@pytest.fixture
def machines(hub: Hub) -> Middle:
    return Middle.of(hub)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "recording"


@contextmanager
def recorded_order(machines: Middle, recording: Path) -> Iterator[Programs]:
    """An order has been recorded; the autokexec that has got it could not obey, and listens."""
    with machines.order("--record", recording) as programs:
        programs.desktop.wait_for(FOUND)
        programs.laptop.wait_for(LISTENING, count=2)
        yield programs


@contextmanager
def recorded_boot(machines: Middle, recording: Path) -> Iterator[Program]:
    """All has been recorded, from the order on; the server has opened its disk."""
    with recorded_order(machines, recording) as programs:
        programs.laptop.stop()
        with machines.laptop.server() as server:
            assert programs.desktop.wait(30) == 0, programs.desktop.output
            programs.relay.stop()
            assert list(dict.fromkeys(line["step"] for line in read_recording(recording))) == [
                *("hello", "offer", "order", "accepted"),
                *("session", "session_answer", "boot", "archive"),
            ]
            machines.empty_desktop()
            yield server
            assert "Traceback" not in server.output


def play(machines: Middle, recording: Path) -> str:
    """Say all of it to the laptop; what it answers."""
    with machines.relay.script("replay.py", recording, machines.laptop.address()) as player:
        assert player.wait(60) == 0, player.output
    return player.output


def process(former: Program, start: Callable[[], Program], new: bool) -> Program:
    """The one that has been spoken to, or a new one in place of it."""
    if not new:
        return former
    former.stop()
    return start()


@SAME_OR_NEW
def test_a_server_opens_nothing_again(machines: Middle, recording: Path, new: bool) -> None:
    with (
        recorded_boot(machines, recording) as former,
        process(former, machines.laptop.server, new) as server,
    ):
        server.wait_for(SERVING)
        sent = server.output.count("sending")
        answers = play(machines, recording)
        for step in ("session", "boot"):
            assert f"{step} to /session: HTTP/1.0 400" in answers
            assert re.search(f"{step} to /boot/[0-9a-f]{{32}}: HTTP/1.0 404", answers)
        assert " 200 " not in answers
        # A question is answered, whoever asks.
        assert set(re.findall("(.*) to a datagram", answers)) == {"OFFER"}
        # Who has the disk keeps it, and who has not does not get it.
        assert machines.disk_is_open() is not new
        assert "the former session" not in server.output
        with machines.running(server) as programs:
            programs.succeed()
            # What the replay had begun would have been said by now.
            assert server.output.count("sending") == sent + 1


@SAME_OR_NEW
def test_autokexec_obeys_no_order_again(machines: Middle, recording: Path, new: bool) -> None:
    with recorded_order(machines, recording) as former:
        former.desktop.stop()
        former.relay.stop()
        with process(former.laptop, machines.autokexec, new) as service:
            service.wait_for(LISTENING)
            obeyed = service.output.count(ORDERED)
            answers = play(machines, recording)
            assert set(re.findall("(.*) to a datagram", answers)) == {"OFFER"}
            with machines.running(service) as programs:
                programs.desktop.wait_for(FOUND)
                service.wait_for(ORDERED, count=obeyed + 1)
                # What the replay had begun would have been said before.
                assert service.output.count(ORDERED) == obeyed + 1


def test_a_desktop_follows_no_recorded_offer(
    machines: Middle, recording: Path, tmp_path: Path
) -> None:
    with recorded_boot(machines, recording):
        pass
    seen = tmp_path / "seen"
    attack = ("--times", "3", "offer", "replay")
    with machines.boot(*attack, "--play", recording, "--record", seen) as programs:
        programs.relay.wait_for("attacked offer", count=3)
        programs.end_attack()
        programs.succeed()
        programs.relay.wait_for("(?s)honest.*session: ")
        assert programs.desktop.output.count("the laptop serves on") == 1
        assert "trying again" not in programs.desktop.output
    assert "order" not in {line["step"] for line in read_recording(seen)}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("session_answer", "the server's answer does not prove the key"),
        ("archive", "frame 0 of the stream was altered"),
    ],
)
def test_a_desktop_takes_no_recorded_answer(
    machines: Middle, recording: Path, step: str, told: str
) -> None:
    with recorded_boot(machines, recording):
        pass
    with machines.boot(step, "replay", "--play", recording) as programs:
        programs.desktop.wait_for(told)
        programs.desktop.wait_for("trying again in 1 s")
        programs.end_attack()
        programs.succeed()


def test_a_desktop_believes_no_recorded_promise_to_stop(machines: Middle, recording: Path) -> None:
    with recorded_order(machines, recording):
        pass
    with machines.order("accepted", "replay", "--play", recording) as programs:
        programs.relay.wait_for("attacked accepted")
        programs.laptop.wait_for(LISTENING, count=2)
        programs.end_attack()
        # It orders again, and hears the answer to that.
        programs.laptop.wait_for(ORDERED, count=2)
        programs.desktop.wait_for(FOUND)
        assert programs.desktop.output.count("found the laptop") == 1
