"""From the boot request to the farewell: who has the disk, and what is confirmed."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.ramdisk import archive, export
from stiefelsystem.ramdisk.exchange import Secrets
from stiefelsystem.ramdisk.handover import Handover
from stiefelsystem.ramdisk.session import Asked
from tests.namespaces import in_own_network
from tests.unit.one_link import (
    SECRETS,
    SERVER,
    STRANGER,
    connected,
    export_size,
    held,
    keeper,
    plugged_in,
    say_farewell,
)

SIZE = 1 << 20


class Laptop:
    """A laptop that serves, and how often a session on it has ended."""

    def __init__(self, folder: Path) -> None:
        (folder / "boot").mkdir()
        for name, size in (("disk", SIZE), ("boot/k-1", 10), ("boot/i-1", 10)):
            (folder / name).write_bytes(bytes(size))
        settings = ServerSettings(
            disk=folder / "disk",
            part=folder / "boot",
            kernel="k-*",
            initrd="i-*",
            cmdline="ro",
            encryption="none",
        )
        self.handover = Handover(settings, folder)
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
    with keeper(first) as late:
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
    """As if the kernel had, for want of memory; when this returns, they are gone."""
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            os.killpg(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


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
    with keeper(asked) as one:
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
        with keeper(asked) as one:
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
