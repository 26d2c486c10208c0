"""What the server tells a client whose disk it cannot give; and what it finds out by itself."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.ramdisk import archive, disk
from stiefelsystem.ramdisk import handover as handing_over
from stiefelsystem.ramdisk.confirmation import Confirmation
from stiefelsystem.ramdisk.exchange import Secrets
from stiefelsystem.ramdisk.handover import Handover
from stiefelsystem.ramdisk.session import Asked
from tests.namespaces import in_own_network
from tests.unit.bootloader import program
from tests.unit.one_link import SERVER, plugged_in, settings

# Interfaces that no machine has.
PEER = Peer("fe80::1", 40000, 2**30)
OTHER = Peer("fe80::2", 40000, 2**30)
KEY = b"c" * 32
SECRETS = Secrets(KEY, b"p" * 32, b"e" * 32, b"d" * 32)


@pytest.fixture
def handover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handover:
    """Of a machine whose disk and boot partition are not there yet."""
    monkeypatch.setattr(handing_over, "_DISK_SECONDS", 0.0)
    serves = settings(tmp_path / "disk", tmp_path / "boot")
    return Handover(serves, tmp_path, Confirmation(Path("/dev/null")))


def drivers_have_had_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_DRIVER_SECONDS", 0.0)


def boot(handover: Handover, peer: Peer = PEER, out: Any = None) -> dict[str, Any]:
    """The answer to a boot request, as the client sees it."""
    stream = out or io.BytesIO()
    with Sealer(stream.write, KEY) as sealed:
        handover.boot(sealed, Asked(peer, SECRETS, None), "fe80::3", lambda: None)
    stream.seek(0)
    with Opener(stream.read, KEY) as opened:
        receiver = archive.Receiver(opened)
        answer = receiver.answer()
        receiver.finish()
    return answer


def test_a_disk_that_is_not_there_yet(
    handover: Handover, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = boot(handover)
    assert answer["status"] == "not yet"
    assert answer["reason"].startswith(f"{tmp_path}/disk is not there yet")
    assert capsys.readouterr().err == "", "it is said again and again, for nothing"


def test_a_boot_partition_that_is_not_there_yet(handover: Handover, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    answer = boot(handover)
    assert answer["status"] == "not yet"
    assert answer["reason"].startswith(f"{tmp_path}/boot is not there yet")


def test_a_disk_that_does_not_come(
    handover: Handover,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drivers_have_had_their_time(monkeypatch)
    answer = boot(handover)
    assert answer["status"] == "error"
    assert answer["reason"].startswith(f"there is no {tmp_path}/disk on this machine after ")
    assert "boot.disk" in answer["hint"]
    assert answer["reason"] in capsys.readouterr().err


def test_who_is_told_to_wait_does_not_keep_others_out(handover: Handover) -> None:
    for peer in (PEER, OTHER, OTHER, PEER):
        assert boot(handover, peer)["status"] == "not yet"


def test_a_disk_that_has_come_is_looked_at(handover: Handover, tmp_path: Path) -> None:
    """Whatever then fails is no matter of waiting any more."""
    assert boot(handover)["status"] == "not yet"
    (tmp_path / "boot").mkdir()
    (tmp_path / "disk").write_bytes(bytes(4096))
    answer = boot(handover)
    assert (answer["status"], answer["reason"]) == (
        "error",
        "the boot partition has no k-* with its i-*",
    )


def in_a_thread(handover: Handover, ended: threading.Event) -> tuple[threading.Thread, list[str]]:
    """The early look as the server does it, and the errors that it raises."""
    errors: list[str] = []

    def look() -> None:
        try:
            handover.inspect_early(ended)
        except StiefelError as error:
            errors.append(str(error))

    thread = threading.Thread(target=look)
    thread.start()
    return thread, errors


def test_early_look_at_a_disk_that_comes(handover: Handover, tmp_path: Path) -> None:
    thread, errors = in_a_thread(handover, threading.Event())
    (tmp_path / "boot").mkdir()
    (tmp_path / "disk").mkdir()  # so that there is something wrong with it
    thread.join(20)
    assert errors == [f"{tmp_path}/disk is neither a disk nor an image"]


def test_early_look_for_a_disk_that_does_not_come(
    handover: Handover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drivers_have_had_their_time(monkeypatch)
    with pytest.raises(StiefelError, match=f"there is no {tmp_path}/disk on this machine"):
        handover.inspect_early(threading.Event())


def test_early_look_ends_with_the_server(handover: Handover) -> None:
    ended = threading.Event()
    thread, errors = in_a_thread(handover, ended)
    ended.set()
    thread.join(20)
    assert not thread.is_alive()
    assert errors == []


def test_no_early_look_at_a_disk_that_a_client_gets(
    handover: Handover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
            boot(handover, out=Slow())

    monkeypatch.setattr("stiefelsystem.framing.FRAME_SIZE", 1024)
    thread = threading.Thread(target=client)
    thread.start()
    assert begun.wait(20)
    try:
        handover.inspect_early(threading.Event())
        assert checked == [tmp_path / "disk"], "not by the client's request alone"
    finally:
        go_on.set()
        thread.join(20)
    handover.inspect_early(threading.Event())
    assert checked == [tmp_path / "disk"] * 2


IMAGE = program((".ucode", b"microcode"), (".initrd", b"an initrd"), (".linux", b"a kernel" * 99))
ON_THE_PARTITION = {"k": b"K", "i": b"initrd", "j": b"second one", "a.efi": IMAGE}
# What is asked for, and what the desktop gets of it.
HANDED_OVER = [
    (("k", "i"), (b"K", b"initrd")),
    (("k", "i,j"), (b"K", b"initrd" + bytes(6) + b"second one")),
    (("a.efi", "a.efi"), (b"a kernel" * 99, b"microcode" + bytes(7) + b"an initrd")),
]


@pytest.mark.usefixtures("nbd_server")
@pytest.mark.parametrize(("names", "expected"), HANDED_OVER)
@in_own_network
def test_what_is_handed_over(
    handover: Handover, tmp_path: Path, names: tuple[str, str], expected: tuple[bytes, bytes]
) -> None:
    """Several initrds as one; and a unified kernel image in its parts."""
    for folder in ("boot", "received"):
        (tmp_path / folder).mkdir()
    for name, content in ON_THE_PARTITION.items():
        (tmp_path / "boot" / name).write_bytes(content)
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    handover._settings = replace(handover._settings, kernel=names[0], initrd=names[1])
    stream = io.BytesIO()
    with Sealer(stream.write, KEY) as sealed:
        handover.boot(sealed, plugged_in(), SERVER, lambda: None)
    handover.close()
    with Opener(io.BytesIO(stream.getvalue()).read, KEY) as opened:
        receiver = archive.Receiver(opened)
        answer = receiver.answer()
        got = receiver.files(tmp_path / "received", lambda _: None)
    assert (got.kernel.read_bytes(), got.initrd.read_bytes()) == expected
    assert answer["size"] == sum(map(len, expected))
