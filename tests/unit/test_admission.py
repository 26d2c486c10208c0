"""Who has to go when the lobby is full, or its time is over."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from stiefelsystem.ramdisk import admission
from stiefelsystem.ramdisk.admission import Lobby


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Street:
    """Where connections come from."""

    def __init__(self) -> None:
        self._ends: dict[socket.socket, socket.socket] = {}

    def connection(self) -> socket.socket:
        one, other = socket.socketpair()
        one.settimeout(20)
        self._ends[one] = other
        return one

    def close(self) -> None:
        for pair in self._ends.items():
            for end in pair:
                end.close()


@pytest.fixture
def street() -> Iterator[Street]:
    street = Street()
    yield street
    street.close()


def hung_up(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def entered(lobby: Lobby, street: Street, *addresses: str) -> list[socket.socket]:
    made = []
    for address in addresses:
        made.append(street.connection())
        lobby.enter(made[-1], address)
    return made


def test_the_oldest_of_the_address_with_most_has_to_go(street: Street) -> None:
    lobby = Lobby(size=4, seconds=10)
    guests = entered(lobby, street, "honest", "greedy", "greedy", "other", "new", "newer")
    # First one of the greedy peer's; then all have one, and the oldest goes.
    assert [hung_up(guest) for guest in guests] == [True, True, False, False, False, False]


def test_who_opens_many_pushes_out_its_own(street: Street) -> None:
    lobby = Lobby(size=8, seconds=10)
    (honest,) = entered(lobby, street, "honest")
    greedy = entered(lobby, street, *["greedy"] * 100)
    assert not hung_up(honest)
    assert [hung_up(one) for one in greedy] == [True] * 93 + [False] * 7


def test_who_has_left_is_not_hung_up_on(street: Street) -> None:
    lobby = Lobby(size=1, seconds=10)
    (busy,) = entered(lobby, street, "honest")
    lobby.leave(busy)
    lobby.leave(busy)
    (guest,) = entered(lobby, street, "other")
    assert not hung_up(busy)
    assert not hung_up(guest)


def test_a_connection_that_is_closed_already(street: Street) -> None:
    lobby = Lobby(size=1, seconds=10)
    (gone,) = entered(lobby, street, "honest")
    gone.close()
    (guest,) = entered(lobby, street, "other")
    assert not hung_up(guest)


def test_each_has_to_go_after_its_time(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(admission, "time", clock)
    lobby = Lobby(size=4, seconds=10)
    (old,) = entered(lobby, street, "one")
    clock.now += 5
    (young,) = entered(lobby, street, "one")
    clock.now += 5.1
    lobby.expire()
    assert (hung_up(old), hung_up(young)) == (True, False)
    clock.now += 5
    lobby.expire()
    assert hung_up(young)
