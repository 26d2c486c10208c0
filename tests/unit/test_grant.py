"""What one client gets of the laptop, on a link in a network of the test's own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.ramdisk import farewell, netlink, tunnel
from stiefelsystem.ramdisk.disk import Disk
from stiefelsystem.ramdisk.grant import Grant
from stiefelsystem.ramdisk.session import Asked
from tests.namespaces import in_own_network
from tests.unit.one_link import (
    CLIENT,
    SECRETS,
    SERVER,
    STRANGER,
    export_size,
    held,
    plugged_in,
    say_farewell,
)

SIZE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path, nbd_server: None) -> Disk:
    image = tmp_path / "disk"
    image.write_bytes(bytes(SIZE))
    return Disk(image, 512)


@in_own_network
def test_a_disk_for_one_client(disk: Disk, tmp_path: Path) -> None:
    asked = plugged_in()
    before = held()
    grant = Grant(asked, SERVER, encrypted=False)
    answer = grant.answer()
    name = answer.pop("export")
    assert answer == {
        "client": CLIENT,
        "inner-client": CLIENT,
        "inner-server": SERVER,
        "tunnel": None,
        "tunnel-port": 51820,
        "port": 10809,
        "end-port": 61571,
    }
    assert grant.connections() == 0
    grant.open(disk, tmp_path, lambda: True)
    assert export_size(asked, name) == SIZE
    assert export_size(asked, name, STRANGER) is None
    for other in ("disk", "", name[:-1]):
        assert export_size(asked, other) is None
    assert say_farewell(asked, SECRETS.end) == SECRETS.ended
    grant.close()
    assert held() == before
    with pytest.raises(ConnectionRefusedError):
        export_size(asked, name)
    grant.close()


@pytest.mark.parametrize("discards", [True, False])
@in_own_network
def test_trim_where_the_disk_can(disk: Disk, tmp_path: Path, discards: bool) -> None:
    """Another one would be asked to write zeros in the place of what is not needed any more."""
    asked = plugged_in()
    grant = Grant(asked, SERVER, encrypted=False)
    grant.open(disk._replace(discards=discards), tmp_path, lambda: True)
    config = (tmp_path / "nbd-server.conf").read_text().splitlines()
    assert f"trim = {'true' if discards else 'false'}" in config
    assert "flush = true" in config
    grant.close()


@in_own_network
def test_what_no_encryption_means_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    asked = plugged_in()
    Grant(asked, SERVER, encrypted=False).close()
    said = capsys.readouterr().err
    assert "NOT encrypted: who is on this cable can read and change the disk" in said


@in_own_network
def test_each_session_has_another_name(disk: Disk, tmp_path: Path) -> None:
    """So a client that goes on from a former one finds nothing to write to."""
    asked = plugged_in()
    names = {Grant(asked, SERVER, encrypted=False).answer()["export"] for _ in range(4)}
    assert len(names) == 4
    assert all(len(name) == len("disk-") + 32 for name in names)


@in_own_network
def test_a_closed_disk_and_an_open_ear(disk: Disk, tmp_path: Path) -> None:
    """The farewell may have to be confirmed again."""
    asked = plugged_in()
    grant = Grant(asked, SERVER, encrypted=False)

    def ended() -> bool:
        grant.close_disk()
        return True

    grant.open(disk, tmp_path, ended)
    for _ in range(2):
        assert say_farewell(asked, SECRETS.end) == SECRETS.ended
        with pytest.raises(ConnectionRefusedError):
            export_size(asked, grant.answer()["export"])
    grant.close()


@in_own_network
def test_an_ear_that_cannot_listen(disk: Disk, tmp_path: Path) -> None:
    asked = plugged_in()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::", farewell.PORT))
        before = held()
        grant = Grant(asked, SERVER, encrypted=False)
        with pytest.raises(OSError, match="in use"):
            grant.open(disk, tmp_path, lambda: True)
        grant.close()
        assert held() == before
    with pytest.raises(ConnectionRefusedError):
        export_size(asked, grant.answer()["export"])


def test_a_client_that_cannot_encrypt() -> None:
    asked = Asked(Peer(CLIENT, 40000, 2**30), SECRETS, None)
    with pytest.raises(StiefelError, match="the desktop's ramdisk cannot encrypt") as caught:
        Grant(asked, SERVER, encrypted=True)
    assert "encryption: none" in caught.value.hint


# With a bridge for the tunnel, where the kernel has no WireGuard.


def wireguard(refuses: bool) -> Callable[..., bytes]:
    def generic(family: str, command: int, body: bytes, *, flags: int = 0) -> bytes:
        if refuses and len(body) > 100:  # the one that admits the client
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return b"" if command else netlink.attribute(4, b"Q" * 32)

    return generic


@in_own_network
def test_a_disk_in_a_tunnel(
    disk: Disk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = plugged_in()._replace(tunnel=b"P" * 32)
    monkeypatch.setattr(tunnel, "_KIND", b"bridge")
    monkeypatch.setattr(netlink, "generic", wireguard(refuses=False))
    grant = Grant(asked, "fe80::a", encrypted=True)
    answer = grant.answer()
    assert answer["tunnel"] == (b"Q" * 32).hex()
    assert (answer["inner-client"], answer["inner-server"]) == ("fe80::2", "fe80::1")
    assert answer["client"] == CLIENT
    grant.open(disk, tmp_path, lambda: True)
    with pytest.raises(ConnectionRefusedError):
        export_size(asked, answer["export"])  # past the tunnel
    listen = (tmp_path / "nbd-server.conf").read_text().split("\n")[1]
    assert listen == "listenaddr = fe80::1%stiefeltun"
    # Whatever becomes of the adapter: the tunnel's end stays where it is.
    capsys.readouterr()
    grant.look_after(asked.peer.ifindex + 1)
    assert capsys.readouterr().err == ""
    assert (tmp_path / "nbd-server.conf").read_text().split("\n")[1] == listen
    grant.close()
    assert "stiefeltun" not in {name for _, name in socket.if_nameindex()}


@in_own_network
def test_nothing_is_left_of_a_tunnel_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plugged_in()._replace(tunnel=b"P" * 32)
    monkeypatch.setattr(tunnel, "_KIND", b"bridge")
    monkeypatch.setattr(netlink, "generic", wireguard(refuses=True))
    with pytest.raises(StiefelError, match="cannot connect the tunnel to fe80::2"):
        Grant(asked, SERVER, encrypted=True)
    assert "stiefeltun" not in {name for _, name in socket.if_nameindex()}
