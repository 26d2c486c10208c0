"""A machine in the middle, without the key: what it can do, and what is noticed.

What the relay changes has to be noticed. Then it passes all on as it is, and the desktop has to get
through.
"""

from __future__ import annotations

import base64
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stiefelsystem import keys
from tests.netns.machines import Hub
from tests.netns.middle import FOUND, LISTENING, OPEN, ORDERED, Middle
from tests.netns.relay import read_recording

# Of fill_laptop's files: four whole frames, and a short one.
LAST_FRAME = 4
ALTERED = "frame {} of the stream was altered"
CUT = "the stream ended before its last frame"
ALTERED_OR_CUT = f"{ALTERED.format(LAST_FRAME)}|{CUT}"
WRONG_KEY = "a peer with another key on eth0"


@pytest.fixture
def machines(hub: Hub) -> Middle:
    return Middle.of(hub)


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("flip 0 5", ALTERED.format(0)),  # the body
        ("flip 2 -1", ALTERED.format(2)),  # the tag
        ("flip 2 3", "frame 2 of the stream has an impossible header"),  # the length, too long
        (f"flip {LAST_FRAME} 3", ALTERED_OR_CUT),  # the length, by one
        ("flip 2 4", ALTERED.format(2)),  # called the last one, and others follow
        ("end 2", ALTERED.format(2)),  # called the last one, and no others follow
        (f"flip {LAST_FRAME} 4", ALTERED_OR_CUT),  # not called the last one any more
        ("drop 2", ALTERED.format(2)),
        (f"drop {LAST_FRAME}", CUT),
        ("cut 3 1000", CUT),
        ("repeat 2", ALTERED.format(3)),
        ("swap 2", ALTERED.format(2)),
        ("append 1", "there is something behind the end of the stream"),
    ],
)
def test_a_changed_archive_is_noticed(machines: Middle, attack: str, told: str) -> None:
    with machines.boot("archive", *attack.split()) as programs:
        programs.desktop.wait_for(told)
        programs.desktop.wait_for("trying again in 1 s")
        programs.end_attack()
        # Another one, since the first one has its pause; the other tests wait for that.
        programs.desktop.stop()
        with machines.desktop.client() as desktop:
            programs.succeed(desktop)


@pytest.mark.parametrize(
    ("attack", "told", "told_by_server"),
    [
        ("session flip 0 4", "refused the request: HTTP status 400", "speaks version 0"),
        ("session flip 0 80", "refused the request: HTTP status 403", WRONG_KEY),  # the share
        ("session repeat 0", "refused the request: HTTP status 400", "was answered before"),
        ("session_answer flip 0 6", "the server's answer does not prove the key", ""),  # the id
        ("session_answer cut 0 118", "not a whole SESSION_ANSWER", ""),
        ("boot flip 0 5", "refused the request: HTTP status 400", "is not its session's"),
    ],
)
def test_a_changed_exchange_opens_nothing(
    machines: Middle, attack: str, told: str, told_by_server: str
) -> None:
    with machines.boot(*attack.split()) as programs:
        programs.desktop.wait_for(told)
        programs.laptop.wait_for(told_by_server)
        programs.desktop.wait_for("trying again in 1 s")
        assert "sending" not in programs.laptop.output
        assert not machines.disk_is_open()
        programs.end_attack()
        programs.succeed()


@pytest.mark.parametrize(
    ("attack", "times", "told", "told_by_server"),
    [
        ("offer drop 0", 2, [], []),
        # Of two rounds before: their nonces do not count any more.
        ("offer late 2", 4, [], []),
        # A router has passed them on.
        ("hello distant", 3, [], []),
        ("offer distant", 3, [], []),
        (
            # Magic, version, type, nonce, padding.
            "hello flip 0 0 4 5 6 50",
            2,
            [],
            ["not a message of", "version 0", "unknown message type 0", "not a whole HELLO"],
        ),
        (
            # Magic, version, type, role, nonce, challenge, proof. The server is told of a proof by
            # another key for a challenge that is its own.
            "offer flip 0 0 4 5 6 7 39 102",
            3,
            ["not a message of", "version 0", "an OFFER from an unknown role 0", WRONG_KEY],
            [WRONG_KEY],
        ),
    ],
)
def test_a_search_goes_on_until_there_is_an_honest_answer(
    machines: Middle, attack: str, times: int, told: list[str], told_by_server: list[str]
) -> None:
    """Who takes a wrong answer asks no more, so that the attack would not be made so many times."""
    with machines.boot("--times", str(times), *attack.split()) as programs:
        programs.relay.wait_for("attacked", count=times)
        for words in told:
            programs.desktop.wait_for(words)
        for words in told_by_server:
            programs.laptop.wait_for(words)
        assert not machines.disk_is_open()
        programs.end_attack()
        programs.succeed()
        programs.relay.wait_for("(?s)honest.*session: ")
        assert programs.desktop.output.count("the laptop serves on") == 1
        assert "trying again" not in programs.desktop.output


@pytest.mark.parametrize(
    ("attack", "told_by_relay", "told_by_server"),
    [
        ("hello repeat 0", "attacked hello", ""),
        ("offer repeat 0", "attacked offer", ""),
        # Answers may cross with the next question.
        ("offer late 1", "(attacked offer.*){2}", ""),
        # The session's id can be seen on the link. Header, body and tag.
        ("boot forge 0 5 -1", "(boot before: HTTP/1.0 400 .*){3}", "is not its session's"),
        ("--delay 0.1", "passing on", ""),
    ],
)
def test_what_does_no_harm_is_no_obstacle(
    machines: Middle, attack: str, told_by_relay: str, told_by_server: str
) -> None:
    # The attack goes on, whatever is lost.
    with machines.boot("--times", "1000", *attack.split()) as programs:
        programs.succeed()
        programs.relay.wait_for(f"(?s){told_by_relay}")
        programs.laptop.wait_for(told_by_server)
        assert programs.laptop.output.count("sending") == 1
        assert "trying again" not in programs.desktop.output


def test_who_has_got_a_part_of_the_archive_has_no_disk(machines: Middle) -> None:
    # More than all that can be under way, so that the server is not through.
    (machines.laptop.data / "boot/initrd.img-6.12").write_bytes(os.urandom(32 << 20))
    with machines.boot("archive", "stall", "2") as programs:
        programs.relay.wait_for("stalled")
        assert not machines.disk_is_open()
        programs.relay.process.send_signal(signal.SIGUSR1)
        programs.desktop.wait_for(CUT)
        until_then = programs.laptop.wait_for("(?s).*went away while it received")[0]
        assert OPEN not in until_then
        programs.succeed()


def test_a_live_relay_is_not_noticed_and_learns_nothing(machines: Middle, tmp_path: Path) -> None:
    marker = secrets.token_bytes(32)
    for name in ("vmlinuz-6.12", "initrd.img-6.12"):
        (machines.laptop.data / "boot" / name).write_bytes((marker + os.urandom(480)) * 4096)
    recording = tmp_path / "recording"
    with machines.boot("--record", recording) as programs:
        # It is the relay that gets the disk, and the relay that the target would look for.
        programs.succeed()
        session = machines.desktop.session()
        assert session["address"] == machines.relay.address("eth1")
    lines = read_recording(recording)
    steps = {"hello", "offer", "session", "session_answer", "boot", "archive"}
    assert {line["step"] for line in lines} == steps
    seen = b"".join(line.get("head", "").encode() + line["data"] for line in lines)
    assert len(seen) > 4 << 20
    subkeys = [keys.subkey(machines.key, it) for it in (keys.SERVER, keys.AUTOKEXEC, keys.SESSION)]
    names = [b"root=X ro", b"/mnt/disk.img", b"disk.img", b"/mnt/boot", b"vmlinuz", b"initrd"]
    ours = [bytes.fromhex(session[name]) for name in ("end", "ended")]
    for secret in [marker, machines.key, *subkeys, *ours, *names]:
        assert not holds(seen, secret), secret
    for written in (marker, marker.hex().encode(), base64.b64encode(b"x" + marker + b"y")):
        assert holds(seen + written, marker), "the test can't find what it looks for"


def holds(data: bytes, secret: bytes) -> bool:
    """Whether a secret is somewhere in it, as it is, in hex, or in base64."""
    return any(written in data for written in written_forms(secret))


def written_forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for before in range(3):
        # The characters that tell nothing but the secret, wherever in a text it begins.
        whole = slice(-(-before * 8 // 6), (before + len(secret)) * 8 // 6)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + secret)[whole]


def test_a_live_relay_passes_a_true_order_on(machines: Middle) -> None:
    with machines.order() as programs:
        programs.laptop.wait_for(ORDERED)
        programs.desktop.wait_for(FOUND)


def test_a_changed_order_is_not_obeyed(machines: Middle) -> None:
    # Nonce, challenge, proof.
    with machines.order("--times", "2", "order", "flip", "0", "6", "38", "101") as programs:
        programs.relay.wait_for("attacked order", count=2)
        programs.laptop.wait_for(WRONG_KEY)
        assert ORDERED not in programs.laptop.output
        programs.end_attack()
        programs.desktop.wait_for(FOUND)
        # Any other order that counts would have been obeyed before the honest one.
        programs.laptop.wait_for(LISTENING, count=2)
        assert programs.laptop.output.count(ORDERED) == 1


def test_a_changed_promise_to_stop_is_not_believed(machines: Middle) -> None:
    # Nonce, delay, proof.
    with machines.order("accepted", "flip", "0", "6", "71", "103") as programs:
        programs.relay.wait_for("attacked accepted")
        programs.laptop.wait_for(LISTENING, count=2)
        programs.end_attack()
        programs.desktop.wait_for(FOUND)
        # Who had believed it would not order again before the OS is stopped.
        programs.laptop.wait_for(ORDERED, count=2)
        assert programs.desktop.output.count("found the laptop") == 1
