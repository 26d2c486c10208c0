"""What the server tells a client whose disk it cannot give; and what it finds out by itself."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.ramdisk import archive, disk, session
from stiefelsystem.ramdisk.session import Sessions

# Interfaces that no machine has.
PEER = Peer("fe80::1", 40000, 2**30)
OTHER = Peer("fe80::2", 40000, 2**30)
TO_SERVER, TO_CLIENT = b"s" * 32, b"c" * 32


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    """Of a machine whose disk and boot partition are not there yet."""
    monkeypatch.setattr(session, "_DISK_SECONDS", 0.0)
    settings = ServerSettings(
        disk=tmp_path / "disk", part=tmp_path / "boot", kernel="k-*", initrd="i-*", cmdline="ro"
    )
    return Sessions(b"k" * 32, settings, tmp_path)


def drivers_have_had_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_DRIVER_SECONDS", 0.0)


def boot(sessions: Sessions, peer: Peer = PEER, out: Any = None) -> dict[str, Any]:
    """The answer to a boot request, as the client sees it."""
    request, stream = io.BytesIO(), out or io.BytesIO()
    with Sealer(request.write, TO_SERVER) as sealed:
        sealed.write(b"{}")
    request.seek(0)
    with Opener(request.read, TO_SERVER) as opened, Sealer(stream.write, TO_CLIENT) as sealed:
        sessions.boot(opened, sealed, peer, "fe80::3", lambda: None)
    stream.seek(0)
    with Opener(stream.read, TO_CLIENT) as opened:
        receiver = archive.Receiver(opened)
        answer = receiver.answer()
        receiver.finish()
    return answer


def test_a_disk_that_is_not_there_yet(
    sessions: Sessions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = boot(sessions)
    assert answer["status"] == "not yet"
    assert answer["reason"].startswith(f"{tmp_path}/disk is not there yet")
    assert capsys.readouterr().err == "", "it is said again and again, for nothing"


def test_a_boot_partition_that_is_not_there_yet(sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    answer = boot(sessions)
    assert answer["status"] == "not yet"
    assert answer["reason"].startswith(f"{tmp_path}/boot is not there yet")


def test_a_disk_that_does_not_come(
    sessions: Sessions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drivers_have_had_their_time(monkeypatch)
    answer = boot(sessions)
    assert answer["status"] == "error"
    assert answer["reason"].startswith(f"there is no {tmp_path}/disk on this machine after ")
    assert "boot.disk" in answer["hint"]
    assert answer["reason"] in capsys.readouterr().err


def test_who_is_told_to_wait_does_not_keep_others_out(sessions: Sessions) -> None:
    for peer in (PEER, OTHER, OTHER, PEER):
        assert boot(sessions, peer)["status"] == "not yet"


def test_a_disk_that_has_come_is_looked_at(sessions: Sessions, tmp_path: Path) -> None:
    """Whatever then fails is no matter of waiting any more."""
    assert boot(sessions)["status"] == "not yet"
    (tmp_path / "boot").mkdir()
    (tmp_path / "disk").write_bytes(bytes(4096))
    answer = boot(sessions)
    assert (answer["status"], answer["reason"]) == (
        "error",
        "the boot partition has no k-* with its i-*",
    )


def in_a_thread(sessions: Sessions, ended: threading.Event) -> tuple[threading.Thread, list[str]]:
    """The early look as the server does it, and the errors that it raises."""
    errors: list[str] = []

    def look() -> None:
        try:
            sessions.inspect_early(ended)
        except StiefelError as error:
            errors.append(str(error))

    thread = threading.Thread(target=look)
    thread.start()
    return thread, errors


def test_early_look_at_a_disk_that_comes(sessions: Sessions, tmp_path: Path) -> None:
    thread, errors = in_a_thread(sessions, threading.Event())
    (tmp_path / "boot").mkdir()
    (tmp_path / "disk").mkdir()  # so that there is something wrong with it
    thread.join(20)
    assert errors == [f"{tmp_path}/disk is neither a disk nor an image"]


def test_early_look_for_a_disk_that_does_not_come(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drivers_have_had_their_time(monkeypatch)
    with pytest.raises(StiefelError, match=f"there is no {tmp_path}/disk on this machine"):
        sessions.inspect_early(threading.Event())


def test_early_look_ends_with_the_server(sessions: Sessions) -> None:
    ended = threading.Event()
    thread, errors = in_a_thread(sessions, ended)
    ended.set()
    thread.join(20)
    assert not thread.is_alive()
    assert errors == []


def test_no_early_look_at_a_disk_that_a_client_gets(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in use then, by ourselves: that is no error."""
    (tmp_path / "boot").mkdir()
    for name in ("disk", "boot/k-1", "boot/i-1"):
        (tmp_path / name).write_bytes(bytes(4096))
    checked: list[Path] = []
    check = disk.check
    monkeypatch.setattr(disk, "check", lambda path: checked.append(path) or check(path))
    begun, go_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def write(self, data: Any, /) -> int:
            begun.set()
            assert go_on.wait(20)
            raise ConnectionResetError("the client has seen enough")

    def client() -> None:
        with pytest.raises(ConnectionResetError):
            boot(sessions, out=Slow())

    monkeypatch.setattr("stiefelsystem.framing.FRAME_SIZE", 1024)
    thread = threading.Thread(target=client)
    thread.start()
    assert begun.wait(20)
    try:
        sessions.inspect_early(threading.Event())
        assert checked == [tmp_path / "disk"], "not by the client's request alone"
    finally:
        go_on.set()
        thread.join(20)
    sessions.inspect_early(threading.Event())
    assert checked == [tmp_path / "disk"] * 2
