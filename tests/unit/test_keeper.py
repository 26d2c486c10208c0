"""What the target's initrd gets: the session's file, line by line, and the archive with it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem import cpio
from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk import keeper
from stiefelsystem.ramdisk.exchange import Secrets
from tests import capabilities

MAC = "52:54:00:00:00:01"
SECRETS = Secrets(b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32, b"\x0d" * 32)
PRIVATE = b"\x0e" * 32
ANSWER = {
    "status": "ok",
    "client": "fe80::5054:ff:fe00:1",
    "server": "fe80::5054:ff:fe00:2",
    "inner-client": "fe80::2",
    "inner-server": "fe80::1",
    "tunnel": "0f" * 32,
    "tunnel-port": 51820,
    "port": 10809,
    "export": "disk-" + "1a" * 16,
    "end-port": 61571,
    "sector_size": 4096,
    "connections": 4,
    "swap": False,
    "of a later version": ["anything"],
}
PLAIN = {**ANSWER, "tunnel": None}


def lines(answer: dict[str, Any], private: bytes | None = PRIVATE) -> list[str]:
    text = keeper.session(answer, MAC, SECRETS, private)
    assert text.endswith("\n")
    assert text.isascii()
    return sorted(text.split("\n")[:-1])


COMMON = [
    "address=fe80::5054:ff:fe00:1",
    "connections=4",
    f"end={'0c' * 32}",
    "end-port=61571",
    f"ended={'0d' * 32}",
    f"export=disk-{'1a' * 16}",
    f"mac={MAC}",
    "port=10809",
    "sector=4096",
    "server=fe80::5054:ff:fe00:2",
]
TUNNEL = [
    "encryption=wireguard",
    "inner-address=fe80::2",
    "inner-server=fe80::1",
    f"peer={'0f' * 32}",
    f"preshared={'0b' * 32}",
    f"private={'0e' * 32}",
    "wg-port=51820",
]


def test_a_session_in_a_tunnel() -> None:
    assert lines(ANSWER) == sorted([*COMMON, *TUNNEL])


@pytest.mark.parametrize("private", [None, PRIVATE])
def test_a_session_without_a_tunnel(private: bytes | None) -> None:
    """The keeper refuses a file with a tunnel's settings and no encryption."""
    assert lines(PLAIN, private) == sorted([*COMMON, "encryption=none"])
    without = {name: value for name, value in ANSWER.items() if name != "tunnel"}
    assert lines(without, private) == lines(PLAIN, private)


def test_the_archives_key_stays_here() -> None:
    assert "0a" * 32 not in "".join(lines(ANSWER))


def test_a_tunnel_that_was_not_asked_for() -> None:
    with pytest.raises(StiefelError, match="a tunnel that was not asked for"):
        keeper.session(ANSWER, MAC, SECRETS, None)


NEEDED = {
    *("client", "server", "port", "export", "sector_size", "connections", "end-port"),
    *("tunnel-port", "inner-client", "inner-server"),
}
BAD: list[Any] = [
    *("", " ", "fe80::1\nend=0", "1\n", "\n", "a=b", "ä", "\u0663", "\0", "x" * 10_000),
    *(None, True, False, [], {}, [1], -1, 1.5, 1e300, float("nan")),
]


@pytest.mark.parametrize("field", sorted(NEEDED))
def test_a_hostile_answer(field: str) -> None:
    """Nothing that comes from a peer becomes a line of its own, or a value that is none."""
    for bad in BAD:
        if field == "export" and bad == -1:
            continue  # as good a name as any
        with pytest.raises(StiefelError) as caught:
            keeper.session({**ANSWER, field: bad}, MAC, SECRETS, PRIVATE)
        text = str(caught.value)
        assert text.startswith(f"the laptop's answer is not what the target needs: {field}: ")
        assert text.isprintable() and len(text) < 500
    with pytest.raises(StiefelError):
        keeper.session(
            {name: value for name, value in ANSWER.items() if name != field},
            *(MAC, SECRETS, PRIVATE),
        )


@pytest.mark.parametrize("key", ["", "0f" * 31, "0F" * 32, "0f" * 32 + "\n", 5, True, [], {}])
def test_a_hostile_key(key: Any) -> None:
    with pytest.raises(StiefelError, match="not what the target needs: tunnel: "):
        keeper.session({**ANSWER, "tunnel": key}, MAC, SECRETS, PRIVATE)


def test_settings_of_the_tunnel_are_no_matter_without_one() -> None:
    odd = {"tunnel-port": "x\ny", "inner-client": None, "inner-server": []}
    assert lines({**PLAIN, **odd}) == lines(PLAIN)


# The archive.


def unpacked(image: bytes, folder: Path) -> list[str]:
    capabilities.require_tools("cpio")
    folder.mkdir()
    command = ["cpio", "-idu", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, cwd=folder, input=image, check=True)
    return sorted(
        f"{path.stat().st_mode:o} {path.relative_to(folder)}" for path in folder.rglob("*")
    )


def test_the_archive(tmp_path: Path) -> None:
    program = tmp_path / "stiefel-link"
    program.write_bytes(bytes(range(256)) * 1000)
    program.chmod(0o644)  # whatever it has here
    made = keeper.archive("mac=x\n", program)
    assert unpacked(made, tmp_path / "root") == [
        "100600 stiefelsystem/session",
        "100700 stiefelsystem/stiefel-link",
        "40700 stiefelsystem",
    ]
    folder = tmp_path / "root/stiefelsystem"
    assert (folder / "stiefel-link").read_bytes() == program.read_bytes()
    assert (folder / "session").read_text() == "mac=x\n"


def test_the_archive_behind_an_initrd(tmp_path: Path) -> None:
    """Of any length; the kernel looks for it at boundaries of 4 bytes."""
    program = tmp_path / "stiefel-link"
    program.write_bytes(b"ELF")
    for size in range(4, 9):
        image = io.BytesIO(b"i" * size)
        cpio.append(image, keeper.archive("", program))
        at = image.getvalue().index(b"070701")
        assert at % 4 == 0
        assert image.getvalue()[:at].rstrip(b"\0") == b"i" * size
        assert at - size >= 4


def test_a_ramdisk_without_the_keeper(tmp_path: Path) -> None:
    with pytest.raises(StiefelError) as caught:
        keeper.archive("", tmp_path / "stiefel-link")
    assert str(tmp_path / "stiefel-link") in str(caught.value)
    assert "build" in caught.value.hint
