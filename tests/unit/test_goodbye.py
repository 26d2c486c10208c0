"""From the boot request to the farewell: who has the disk, and what is confirmed."""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.ramdisk import archive, export, goodbye, keeper
from stiefelsystem.ramdisk.confirmation import Confirmation
from stiefelsystem.ramdisk.exchange import Secrets
from stiefelsystem.ramdisk.handover import Handover
from stiefelsystem.ramdisk.session import Asked
from tests import namespaces
from tests.namespaces import in_own_network
from tests.unit.one_link import (
    CLIENT,
    SECRETS,
    SERVER,
    STRANGER,
    connected,
    export_size,
    held,
    plugged_in,
    say_farewell,
    settings,
)
from tests.unit.one_link import keeper as keeper_of

SIZE = 1 << 20


class Laptop:
    """A laptop that serves, and how often a session on it has ended."""

    def __init__(self, folder: Path) -> None:
        (folder / "boot").mkdir()
        for name, size in (("disk", SIZE), ("boot/k-1", 10), ("boot/i-1", 10)):
            (folder / name).write_bytes(bytes(size))
        # What is typed at it goes in here; a pipe with nobody at its other end is no console.
        self.console = folder / "console"
        os.mkfifo(self.console)
        self.confirmation = Confirmation(self.console)
        serves = settings(folder / "disk", folder / "boot")
        self.handover = Handover(serves, folder, self.confirmation)
        self.handover.ended = self._ended
        self.ended = 0

    def _ended(self) -> None:
        assert not self.handover.in_use()
        self.ended += 1

    def boot(
        self, asked: Asked, folder: Path, hang_up: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """The answer to a boot request; the archive with it goes to `folder`."""
        stream = io.BytesIO()
        with Sealer(stream.write, asked.secrets.archive) as sealed:
            self.handover.boot(sealed, asked, SERVER, hang_up)
        stream.seek(0)
        folder.mkdir(exist_ok=True)
        with Opener(stream.read, asked.secrets.archive) as opened:
            receiver = archive.Receiver(opened)
            answer = receiver.answer()
            if answer["status"] == "ok":
                receiver.files(folder, lambda _: None)
            else:
                receiver.finish()
        return answer


@pytest.fixture
def laptop(tmp_path: Path, nbd_server: None) -> Laptop:
    return Laptop(tmp_path)


@in_own_network
def test_a_session(laptop: Laptop, tmp_path: Path) -> None:
    asked = plugged_in()
    before = held()
    answer = laptop.boot(asked, tmp_path / "received")
    assert answer["status"] == "ok"
    assert (answer["server"], answer["sector_size"]) == (SERVER, 512)
    assert (answer["connections"], answer["swap"]) == (1, False)
    assert laptop.handover.in_use()
    assert export_size(asked, answer["export"]) == SIZE
    assert say_farewell(asked, SECRETS.end) == SECRETS.ended
    assert (laptop.ended, laptop.handover.in_use()) == (1, False)
    with pytest.raises(ConnectionRefusedError):
        connected(asked)
    assert say_farewell(asked, SECRETS.end) == SECRETS.ended
    assert laptop.ended == 1
    laptop.handover.close()
    assert held() == before


@in_own_network
def test_a_desktop_that_cannot_start_it(laptop: Laptop, tmp_path: Path) -> None:
    """It has the disk since it has the archive, and gives it back without a target."""
    asked = plugged_in()
    before = held()
    answer = laptop.boot(asked, tmp_path / "received")
    session = keeper.session(answer, "02:00:00:00:00:01", SECRETS, None)
    assert goodbye.give_back(session, asked.peer.ifindex)
    assert (laptop.ended, laptop.handover.in_use()) == (1, False)
    with pytest.raises(ConnectionRefusedError):
        connected(asked)
    laptop.handover.close()
    assert held() == before


@in_own_network
def test_nobody_takes_it_back(
    laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a laptop that is gone, nor one that knows other secrets."""
    monkeypatch.setattr(goodbye, "_SECONDS", 1.0)
    asked = plugged_in()
    answer = laptop.boot(asked, tmp_path / "received")
    others = Secrets(b"1" * 32, b"2" * 32, b"3" * 32, b"4" * 32)
    session = keeper.session(answer, "02:00:00:00:00:01", others, None)
    assert not goodbye.give_back(session, asked.peer.ifindex)
    assert laptop.handover.in_use()
    laptop.handover.close()
    session = keeper.session(answer, "02:00:00:00:00:01", SECRETS, None)
    assert not goodbye.give_back(session, asked.peer.ifindex)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as rogue:
        rogue.bind((SERVER, answer["end-port"], 0, asked.peer.ifindex))
        threading.Thread(target=lambda: rogue.sendto(b"x" * 32, rogue.recvfrom(100)[1])).start()
        assert not goodbye.give_back(session, asked.peer.ifindex)


@in_own_network
def test_the_next_session_follows_a_farewell_at_once(laptop: Laptop, tmp_path: Path) -> None:
    first = plugged_in()
    secrets = Secrets(b"1" * 32, b"2" * 32, b"3" * 32, b"4" * 32)
    second = Asked(Peer(STRANGER, 40000, first.peer.ifindex), secrets, None)
    names = [laptop.boot(first, tmp_path / "one")["export"]]
    assert laptop.boot(second, tmp_path / "two")["status"] == "in use"
    say_farewell(first, SECRETS.end)
    answer = laptop.boot(second, tmp_path / "two")
    names.append(answer["export"])
    assert answer["status"] == "ok"
    assert len(set(names)) == 2
    assert export_size(second, names[1], STRANGER) == SIZE
    assert export_size(first, names[1]) is None
    # The first one's farewell is not the second one's.
    with keeper_of(first) as late:
        late.settimeout(1)
        late.send(SECRETS.end)
        with pytest.raises(TimeoutError):
            late.recv(100)
    assert laptop.handover.in_use()
    laptop.handover.close()


@in_own_network
def test_a_server_that_has_died(laptop: Laptop, tmp_path: Path) -> None:
    """It is started again, under the same name; but not once its client is done."""
    asked = plugged_in()
    name = laptop.boot(asked, tmp_path / "received")["export"]
    laptop.handover.look_after()
    for _ in range(2):
        kill_servers()
        with pytest.raises(ConnectionRefusedError):
            connected(asked)
        laptop.handover.look_after()
        assert export_size(asked, name) == SIZE
    assert say_farewell(asked, SECRETS.end) == SECRETS.ended
    laptop.handover.look_after()
    with pytest.raises(ConnectionRefusedError):
        connected(asked)
    laptop.handover.close()
    laptop.handover.look_after()


def kill_servers() -> None:
    """As if the kernel had, for want of memory; when this returns, they are gone, and their ports
    are free: a connection's process has the one that its parent listens at, too."""
    for server in children_of("self"):
        processes = []
        # All that are there: none is made while nobody connects, but one may just be ending.
        for pid in (server, *children_of(server)):
            with suppress(ProcessLookupError):
                processes.append(os.pidfd_open(pid))
        os.killpg(server, signal.SIGKILL)
        for one in processes:
            assert select.select([one], [], [], 20)[0]
            os.close(one)


def children_of(process: int | str) -> list[int]:
    folders = Path(f"/proc/{process}/task").glob("*/children")
    return [int(pid) for file in folders for pid in file.read_text().split()]


@in_own_network
def test_a_lost_write_is_never_confirmed(
    laptop: Laptop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """However often it is asked: what the disk has told once is not told again."""
    asked = plugged_in()
    laptop.boot(asked, tmp_path / "received")

    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(export, "flush", fail)
    with keeper_of(asked) as one:
        one.settimeout(0.5)
        for _ in range(3):
            one.send(SECRETS.end)
            with pytest.raises(TimeoutError):
                one.recv(100)
    assert laptop.ended == 0
    said = capsys.readouterr().err
    assert said.count("reports a write error") == 1
    assert "has everything" not in said
    answer = laptop.boot(asked, tmp_path / "again")
    assert answer["status"] == "error"
    assert "reports a write error" in answer["reason"]


@pytest.mark.parametrize("by", ["the end of the server", "the same client, once more"])
@in_own_network
def test_a_farewell_while_the_disk_changes_hands(
    laptop: Laptop, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither waits for the other for ever."""
    asked = plugged_in()
    heard = threading.Event()
    say_goodbye = laptop.handover._said_goodbye

    def told(current: Any) -> bool:
        heard.set()
        return say_goodbye(current)

    def hang_up() -> None:
        """Called in the middle of it."""
        with keeper_of(asked) as one:
            one.send(SECRETS.end)
            assert heard.wait(20)

    monkeypatch.setattr(laptop.handover, "_said_goodbye", told)
    laptop.boot(asked, tmp_path / "received", hang_up)
    works = {
        "the end of the server": laptop.handover.close,
        "the same client, once more": lambda: laptop.boot(asked, tmp_path / "again"),
    }
    thread = threading.Thread(target=works[by], daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert heard.is_set()
    assert laptop.ended == 0
    laptop.handover.close()


def other_desktop(first: Asked) -> Asked:
    secrets = Secrets(b"1" * 32, b"2" * 32, b"3" * 32, b"4" * 32)
    return Asked(Peer(STRANGER, 40000, first.peer.ifindex), secrets, None)


@in_own_network
def test_a_live_session_is_taken_over_by_a_yes(
    laptop: Laptop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = plugged_in()
    second = other_desktop(first)
    keyboard = os.open(laptop.console, os.O_RDWR)
    name = laptop.boot(first, tmp_path / "one")["export"]
    with connected(first) as connection:
        assert connection.recv(100)
        laptop.handover.look_after()
        answer = laptop.boot(second, tmp_path / "two")
        assert (answer["status"], answer["reason"]) == (
            "confirm",
            f"the disk is in use by {CLIENT}",
        )
        assert "type yes" in answer["hint"]
        assert f"{CLIENT} has it, and uses it right now" in capsys.readouterr().err
        assert export_size(first, name) == SIZE
        assert laptop.boot(second, tmp_path / "two")["status"] == "confirm"
        os.write(keyboard, b"yes\n")
        laptop.confirmation.listen()
        # Nothing has happened yet: it may be gone by now.
        assert export_size(first, name) == SIZE
        answer = laptop.boot(second, tmp_path / "two")
        assert answer["status"] == "ok"
        # The former one is fenced off.
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert export_size(second, answer["export"], STRANGER) == SIZE
    assert export_size(first, name) is None
    assert laptop.boot(first, tmp_path / "one")["status"] == "confirm", "the yes is used up"
    laptop.handover.close()
    os.close(keyboard)


@pytest.mark.parametrize("answer", ["no\n", "\n", ""])
@in_own_network
def test_a_live_session_stays_without_a_yes(laptop: Laptop, tmp_path: Path, answer: str) -> None:
    first = plugged_in()
    second = other_desktop(first)
    keyboard = os.open(laptop.console, os.O_RDWR)
    name = laptop.boot(first, tmp_path / "one")["export"]
    assert laptop.boot(second, tmp_path / "two")["status"] == "confirm"
    os.write(keyboard, answer.encode())
    laptop.confirmation.listen()
    for _ in range(3):
        told = laptop.boot(second, tmp_path / "two")
        assert told["status"] == ("in use" if answer else "confirm")
    assert export_size(first, name) == SIZE
    laptop.handover.close()
    os.close(keyboard)


def move_adapter(asked: Asked) -> Asked:
    """The same, with the adapter in another port."""
    subprocess.run(["ip", "link", "delete", "cable"], check=True)
    index = namespaces.link("cable", SERVER, CLIENT, STRANGER)
    assert index != asked.peer.ifindex
    return asked._replace(peer=asked.peer._replace(ifindex=index))


@in_own_network
def test_the_adapter_is_moved(
    laptop: Laptop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is there again, under the same name, and the farewell is heard there."""
    asked = plugged_in()
    name = laptop.boot(asked, tmp_path / "received")["export"]
    before = held()
    for _ in range(2):
        asked = move_adapter(asked)
        with pytest.raises(ConnectionRefusedError):
            connected(asked)
        laptop.handover.look_after()
        assert "the adapter is in another port" in capsys.readouterr().err
        assert export_size(asked, name) == SIZE
        laptop.handover.look_after()
        assert "the adapter is in another port" not in capsys.readouterr().err
        assert held() == before
    assert say_farewell(asked, SECRETS.end) == SECRETS.ended
    laptop.handover.close()


@in_own_network
def test_a_desktop_that_reboots_after_the_adapter_was_moved(laptop: Laptop, tmp_path: Path) -> None:
    """It is still the same one, and needs nobody's yes."""
    asked = plugged_in()
    laptop.boot(asked, tmp_path / "received")
    with connected(asked):
        laptop.handover.look_after()
    asked = move_adapter(asked)
    laptop.handover.look_after()
    answer = laptop.boot(asked, tmp_path / "again")
    assert answer["status"] == "ok"
    assert export_size(asked, answer["export"]) == SIZE
    laptop.handover.close()


@in_own_network
def test_an_adapter_that_is_out(
    laptop: Laptop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be done, and nothing is said, until it is back."""
    asked = plugged_in()
    name = laptop.boot(asked, tmp_path / "received")["export"]
    subprocess.run(["ip", "link", "delete", "cable"], check=True)
    kill_servers()
    capsys.readouterr()
    for _ in range(3):
        laptop.handover.look_after()
    assert capsys.readouterr().err == ""
    index = namespaces.link("cable", SERVER, CLIENT, STRANGER)
    asked = asked._replace(peer=asked.peer._replace(ifindex=index))
    laptop.handover.look_after()
    assert export_size(asked, name) == SIZE
    laptop.handover.close()
