"""The end of a session, by real datagrams: told by who knows it, and confirmed until heard."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from stiefelsystem.ramdisk import farewell
from stiefelsystem.ramdisk.exchange import Secrets
from stiefelsystem.ramdisk.farewell import Farewell

SECRETS = Secrets(b"a" * 32, b"p" * 32, bytes(range(32)), bytes(range(32, 64)))
LO = socket.if_nametoindex("lo")


class Session:
    """A session that ends as the test wants, and counts how often it is asked to."""

    def __init__(self) -> None:
        self.answers: list[bool] = []
        self.asked = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def ended(self) -> bool:
        self.asked += 1
        assert self.go_on.wait(20)
        return self.answers.pop(0) if self.answers else True


Listen = Callable[[], Farewell]


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def listen(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listen]:
    """Starts what listens, at a port that is free, and looks at what is left of it."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
        free.bind(("::1", 0))
        monkeypatch.setattr(farewell, "PORT", free.getsockname()[1])
    monkeypatch.setattr(farewell, "_LOOK_SECONDS", 0.02)
    before = held()
    started: list[Farewell] = []

    def start() -> Farewell:
        started.append(Farewell("::1", LO, SECRETS, session.ended))
        return started[-1]

    yield start
    session.go_on.set()
    for one in started:
        one.close()
    assert held() == before


def held() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


@pytest.fixture
def keeper(listen: Listen) -> Iterator[socket.socket]:
    with keeper_socket() as one:
        yield one


def keeper_socket() -> socket.socket:
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    one.settimeout(20)
    one.connect(("::1", farewell.PORT))
    return one


def test_it_is_told_and_confirmed(listen: Listen, session: Session, keeper: socket.socket) -> None:
    listen()
    keeper.send(SECRETS.end)
    assert keeper.recv(100) == SECRETS.ended
    assert session.asked == 1


def test_it_is_confirmed_as_often_as_it_is_told(
    listen: Listen, session: Session, keeper: socket.socket
) -> None:
    """But the session ends only once."""
    listen()
    for _ in range(5):
        keeper.send(SECRETS.end)
        assert keeper.recv(100) == SECRETS.ended
    assert session.asked == 1


@pytest.mark.parametrize(
    "said",
    [
        *(b"", SECRETS.end[:31], SECRETS.end + b"\0", SECRETS.end * 2, SECRETS.end * 40),
        *(SECRETS.ended, SECRETS.archive, SECRETS.preshared, bytes(32), b"\xff" * 32),
        *(bytes([SECRETS.end[0] ^ 1]) + SECRETS.end[1:], SECRETS.end[:31] + b"\0"),
        *(SECRETS.end.hex().encode(), b" " + SECRETS.end, SECRETS.end[::-1]),
    ],
)
def test_what_is_not_the_secret(
    listen: Listen, session: Session, keeper: socket.socket, said: bytes
) -> None:
    """Nothing comes back, and nothing ends: of two datagrams, the second is the first to be
    answered."""
    listen()
    session.answers = [True]
    with keeper_socket() as stranger:
        for _ in range(3):
            stranger.send(said)
        keeper.send(SECRETS.end)
        assert keeper.recv(100) == SECRETS.ended
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(100)
    assert session.asked == 1


def test_not_confirmed_before_it_is_true(
    listen: Listen, session: Session, keeper: socket.socket
) -> None:
    session.answers = [False, False, True]
    listen()
    for _ in range(3):
        keeper.send(SECRETS.end)
    assert keeper.recv(100) == SECRETS.ended
    assert session.asked == 3
    keeper.send(SECRETS.end)
    assert keeper.recv(100) == SECRETS.ended
    assert session.asked == 3


def test_not_confirmed_while_the_disk_is_being_flushed(
    listen: Listen, session: Session, keeper: socket.socket
) -> None:
    """What is said meanwhile is answered then."""
    session.go_on.clear()
    listen()
    for _ in range(3):
        keeper.send(SECRETS.end)
    keeper.settimeout(0.2)
    with pytest.raises(TimeoutError):
        keeper.recv(100)
    session.go_on.set()
    keeper.settimeout(20)
    for _ in range(3):
        assert keeper.recv(100) == SECRETS.ended
    assert session.asked == 1


def test_a_lost_answer(listen: Listen, session: Session, keeper: socket.socket) -> None:
    """Nobody is there any more to whom it is sent; the next one is heard all the same."""
    listen()
    for _ in range(3):
        with keeper_socket() as gone:
            gone.send(SECRETS.end)
    keeper.send(SECRETS.end)
    assert keeper.recv(100) == SECRETS.ended
    assert session.asked == 1


def test_closed(listen: Listen, session: Session, keeper: socket.socket) -> None:
    """From another thread than that which listens; then the port is free, and nobody hears."""
    listen().close()
    with suppress(ConnectionRefusedError):
        keeper.send(SECRETS.end)
    again = listen()
    with keeper_socket() as other:
        other.send(SECRETS.end)
        assert other.recv(100) == SECRETS.ended
    again.close()
    again.close()
    assert session.asked == 1


def test_closed_by_what_it_tells(
    listen: Listen, session: Session, keeper: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for itself, and still gives its answer."""
    ears: list[Farewell] = []
    ended = session.ended
    monkeypatch.setattr(session, "ended", lambda: ears[0].close() or ended())
    ears.append(listen())
    keeper.send(SECRETS.end)
    assert keeper.recv(100) == SECRETS.ended


def test_a_port_that_is_taken(listen: Listen) -> None:
    listen()
    before = held()
    with pytest.raises(OSError, match="in use"):
        listen()
    assert held() == before
