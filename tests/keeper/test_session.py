"""The session file: what is taken, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.keeper.conftest import Probe

PLAIN = {
    "mac": "52:54:00:12:34:56",
    "address": "fe80::5054:ff:fe12:3456",
    "server": "fe80::1",
    "port": "10809",
    "export": "disk-0123456789abcdef",
    "sector": "512",
    "connections": "4",
    "encryption": "none",
    "end": "11" * 32,
    "ended": "22" * 32,
    "end-port": "61571",
}
TUNNEL = {
    "encryption": "wireguard",
    "private": "0f" * 32,
    "peer": "a1" * 32,
    "preshared": "b2" * 32,
    "wg-port": "51820",
    "inner-address": "fe80::2",
    "inner-server": "fe80::3",
}
WHOLE = PLAIN | TUNNEL


def text(fields: dict[str, str]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode()


def read(probe: Probe, content: bytes) -> dict[str, str]:
    status, said = probe("session", stdin=content)
    assert status == 0, said
    return dict(line.split("=", 1) for line in said.splitlines())


def refused(probe: Probe, content: bytes) -> str:
    status, said = probe("session", stdin=content)
    assert status == 1, said
    return said


@pytest.mark.parametrize("fields", [PLAIN, WHOLE], ids=["plain", "tunnel"])
def test_good(probe: Probe, fields: dict[str, str]) -> None:
    seen = read(probe, text(fields))
    expected = fields | {
        "mac": "525400123456",
        "encryption": str(int(fields["encryption"] == "wireguard")),
    }
    assert {name: seen[name] for name in fields} == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mac", "02:00:00:00:00:0f"),
        ("port", "1"),
        ("port", "65535"),
        ("export", "d"),
        ("export", "-" * 64),
        ("sector", "4096"),
        ("connections", "1"),
        ("connections", "16"),
        ("server", "fe80::1:2:3:4"),
        ("later", "unknown names are for later versions"),
        ("comment", ""),
    ],
)
def test_good_at_its_limits(probe: Probe, name: str, value: str) -> None:
    read(probe, text(PLAIN | {name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in WHOLE),
        *((name, WHOLE[name] + " ") for name in WHOLE),
        *((name, " " + WHOLE[name]) for name in WHOLE),
        ("mac", "52:54:00:12:34"),
        ("mac", "52:54:00:12:34:5"),
        ("mac", "52:54:00:12:34:5g"),
        ("mac", "52:54:00:12:34:AB"),
        ("mac", "52-54-00-12-34-56"),
        ("mac", "52:54:00:12:34:56:78"),
        ("mac", "01:00:5e:00:00:01"),
        ("mac", "00:00:00:00:00:00"),
        ("address", "fe80::1%eth0"),
        ("address", "fe80::1/64"),
        ("address", "fe80::"),
        ("address", "fe80:1::1"),
        ("address", "fe81::1"),
        ("address", "::1"),
        ("address", "2001:db8::1"),
        ("address", "fe80::1.2.3.4"),
        ("address", "fe80::12345"),
        ("address", PLAIN["server"]),
        ("inner-address", WHOLE["inner-server"]),
        ("server", "192.168.1.1"),
        ("port", "0"),
        ("port", "65536"),
        ("port", "99999"),
        ("port", "4294967297"),
        ("port", "010809"),
        ("port", "+1"),
        ("port", "-1"),
        ("port", "0x10"),
        ("end-port", "0"),
        ("wg-port", "70000"),
        ("export", "x" * 65),
        ("export", "Disk"),
        ("export", "a_b"),
        ("export", "a/b"),
        ("sector", "511"),
        ("sector", "0"),
        ("sector", "1000"),
        ("sector", "8192"),
        ("connections", "0"),
        ("connections", "17"),
        ("encryption", "None"),
        ("encryption", "wireguard2"),
        ("end", "11" * 31),
        ("end", "11" * 33),
        ("end", "1" * 63),
        ("ended", "G" * 64),
        ("private", "AB" * 32),
        ("x" * 4096, "1"),
    ],
)
def test_wrong_value(probe: Probe, name: str, value: str) -> None:
    said = refused(probe, text(WHOLE | {name: value}))
    assert f"'{name}'" in said or "same address" in said or "longer than" in said


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_missing(probe: Probe, name: str) -> None:
    said = refused(probe, text({other: WHOLE[other] for other in WHOLE if other != name}))
    assert f"'{name}'" in said or name == "encryption"


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_twice(probe: Probe, name: str) -> None:
    assert f"'{name}' twice" in refused(probe, text(WHOLE) + text({name: WHOLE[name]}))


@pytest.mark.parametrize("name", sorted(set(TUNNEL) - {"encryption"}))
def test_tunnel_without_encryption(probe: Probe, name: str) -> None:
    assert f"'{name}'" in refused(probe, text(PLAIN | {name: TUNNEL[name]}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"=\n",
        b"mac\n" + text(PLAIN),
        b"=x\n" + text(PLAIN),
        text(PLAIN) + b"\n",
        text(PLAIN)[:-1],
        text(PLAIN) + b"x=\0\n",
        text(PLAIN) + b"x=\x7f\n",
        text(PLAIN) + b"x=\xc3\xa4\n",
        text(PLAIN).replace(b"\n", b"\r\n"),
        text(PLAIN).replace(b"=disk", b"=di\0sk"),
        text(PLAIN) + b"x" * 4096,
        bytes(range(256)) * 16,
    ],
)
def test_no_session(probe: Probe, content: bytes) -> None:
    refused(probe, content)


def test_cut_anywhere(probe: Probe) -> None:
    """A file that was not written to its end is refused, wherever it ends."""
    content = text(WHOLE)
    for length in range(0, len(content), 7):
        refused(probe, content[:length])


def test_secrets_are_not_shown(probe: Probe) -> None:
    for name in ("private", "preshared", "end"):
        assert "0f0f0f" not in refused(probe, text(WHOLE | {name: "0f" * 31 + "xx"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "own"
    made.mkdir(mode=0o700)
    return made


def test_file_is_taken(probe: Probe, folder: Path) -> None:
    (folder / "session").write_bytes(text(WHOLE))
    status, said = probe("take", str(folder))
    assert status == 0, said
    assert not (folder / "session").exists()


def test_bad_file_is_removed_too(probe: Probe, folder: Path) -> None:
    (folder / "session").write_bytes(text(PLAIN | {"port": "x"}))
    assert probe("take", str(folder))[0] == 1
    assert not (folder / "session").exists()


def test_no_file(probe: Probe, folder: Path) -> None:
    assert probe("take", str(folder))[0] == 1


def test_link_is_not_followed(probe: Probe, folder: Path) -> None:
    (folder / "elsewhere").write_bytes(text(WHOLE))
    (folder / "session").symlink_to(folder / "elsewhere")
    assert probe("take", str(folder))[0] == 1
    assert (folder / "elsewhere").exists()


def test_fifo_does_not_block(probe: Probe, folder: Path) -> None:
    os.mkfifo(folder / "session")
    assert probe("take", str(folder))[0] == 1


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_folder_is_ours_alone(probe: Probe, folder: Path, mode: int) -> None:
    (folder / "session").write_bytes(text(WHOLE))
    folder.chmod(mode)
    status, said = probe("take", str(folder))
    assert (status, "alone" in said) == (1, True)
    assert (folder / "session").exists()
