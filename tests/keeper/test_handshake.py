"""NBD's handshake, with real servers and with ones that are broken or hostile."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import capabilities
from tests.keeper import servers
from tests.keeper.conftest import Probe

Server = Callable[[Path, Path], "contextlib.AbstractContextManager[int]"]

REAL: dict[str, Server] = {
    "nbd-server": lambda folder, disk: servers.nbd_server(folder, disk, "flush = true"),
    "nbdkit": lambda folder, disk: servers.nbdkit(disk),
    "nbdkit with zeroes": lambda folder, disk: servers.nbdkit(disk, "--mask-handshake=1"),
    "qemu-nbd": lambda folder, disk: servers.qemu_nbd(disk),
}
FIRST = bytes(range(200, 216))
# The keeper's own deadline for a handshake, and time for a busy machine.
SECONDS = 10.0
PATIENCE = 4.0


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.write(FIRST)
        file.truncate(servers.SIZE)
    return path


def dial(probe: Probe, port: int, *words: str, name: str = "disk", sector: int = 512) -> str:
    status, said = probe("dial", servers.HOST, str(port), name, str(sector), *words)
    assert status == 0, said
    return said


def refused(probe: Probe, port: int, *, name: str = "disk", sector: int = 512) -> str:
    status, said = probe("dial", servers.HOST, str(port), name, str(sector))
    assert status == 1, said
    assert said.endswith("\n")
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    return said


def need(name: str) -> None:
    capabilities.require_tools(name.split(maxsplit=1)[0])


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("sector", [512, 4096])
def test_real_server(probe: Probe, tmp_path: Path, disk: Path, name: str, sector: int) -> None:
    """And what follows the handshake is the kernel's: not a byte of it is lost or left over."""
    need(name)
    with REAL[name](tmp_path, disk) as port:
        said = dial(probe, port, "read", sector=sector)
    assert f"size={servers.SIZE}\n" in said
    assert f"first={FIRST.hex()}\n" in said


REFUSING: dict[str, tuple[Server, str]] = {
    "nbd-server without flush": (servers.nbd_server, "flush"),
    "nbd-server read-only": (
        lambda folder, disk: servers.nbd_server(folder, disk, "flush = true", "readonly = true"),
        "reading only",
    ),
    "nbdkit read-only": (lambda folder, disk: servers.nbdkit(disk, "--readonly"), "reading only"),
    "nbdkit in the old style": (lambda folder, disk: servers.nbdkit(disk, "--oldstyle"), "too old"),
    "nbdkit not fixed": (
        lambda folder, disk: servers.nbdkit(disk, "--mask-handshake=0"),
        "too old",
    ),
    "qemu-nbd read-only": (
        lambda folder, disk: servers.qemu_nbd(disk, "--read-only"),
        "reading only",
    ),
}


@pytest.mark.parametrize("name", REFUSING)
def test_real_server_that_will_not_do(probe: Probe, tmp_path: Path, disk: Path, name: str) -> None:
    need(name)
    server, expected = REFUSING[name]
    with server(tmp_path, disk) as port:
        assert expected in refused(probe, port)


@pytest.mark.parametrize("name", ["nbd-server", "qemu-nbd"])
def test_unknown_export(probe: Probe, tmp_path: Path, disk: Path, name: str) -> None:
    need(name)
    with REAL[name](tmp_path, disk) as port:
        assert "does not know this session" in refused(probe, port, name="disk-of-yesterday")


def test_nobody_admitted(probe: Probe, tmp_path: Path, disk: Path) -> None:
    """nbd-server hangs up on addresses that its `authfile` does not have."""
    need("nbd-server")
    (tmp_path / "allowed").write_text("fe80::1\n")
    settings = ("flush = true", f"authfile = {tmp_path / 'allowed'}")
    with servers.nbd_server(tmp_path, disk, *settings) as port:
        refused(probe, port)


def test_nobody_listens(probe: Probe) -> None:
    assert "refused" in refused(probe, servers.free_port())


def says(data: bytes, *, wait: bool = False) -> Callable[[socket.socket], None]:
    """Say all of it at once; then hang up, or wait until the other side does."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    def behave_and_wait(connection: socket.socket) -> None:
        connection.sendall(data)
        while connection.recv(4096):
            pass

    return behave_and_wait if wait else behave


def test_what_is_sent(probe: Probe) -> None:
    """Flags, then NBD_OPT_GO with the name and the wish for block sizes."""
    seen = b""

    def behave(connection: socket.socket) -> None:
        nonlocal seen
        connection.sendall(servers.greeting())
        seen = servers.exactly(connection, 4 + 16 + 4 + 4 + 2 + 2)
        connection.sendall(servers.export() + servers.reply(servers.REP_ACK))

    with servers.saying(behave) as port:
        dial(probe, port)
    wish = struct.pack(">I", 4) + b"disk" + struct.pack(">HH", 1, 3)
    assert seen == struct.pack(">I8sII", 3, b"IHAVEOPT", servers.OPT_GO, len(wish)) + wish


def test_byte_by_byte(probe: Probe) -> None:
    def behave(connection: socket.socket) -> None:
        for byte in servers.whole():
            connection.sendall(bytes([byte]))
        while connection.recv(4096):
            pass

    with servers.saying(behave) as port:
        assert f"size={servers.SIZE}\n" in dial(probe, port)


def unsupported(flags: int) -> Callable[[socket.socket], None]:
    """A server that knows NBD_OPT_EXPORT_NAME alone, and then serves a read."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(servers.greeting(flags))
        servers.exactly(connection, 4 + 16 + 4 + 4 + 2 + 2)
        connection.sendall(servers.reply(servers.REP_ERR_UNSUP, b"what?"))
        wish = servers.exactly(connection, 16 + 4)
        assert wish == struct.pack(">8sII", b"IHAVEOPT", servers.OPT_EXPORT_NAME, 4) + b"disk"
        zeroes = b"" if flags & servers.NO_ZEROES else bytes(124)
        about = struct.pack(">QH", servers.SIZE, servers.FLAGS | servers.FLUSH)
        connection.sendall(about + zeroes)
        handle = servers.exactly(connection, 28)[8:16]
        connection.sendall(struct.pack(">II", 0x67446698, 0) + handle + FIRST.ljust(512, b"\0"))

    return behave


@pytest.mark.parametrize("flags", [servers.FIXED_NEWSTYLE, 3], ids=["zeroes", "no zeroes"])
def test_server_without_go(probe: Probe, flags: int) -> None:
    with servers.saying(unsupported(flags)) as port:
        assert f"first={FIRST.hex()}" in dial(probe, port, "read")


def test_cut_at_every_byte(probe: Probe) -> None:
    data = servers.whole()
    for length in range(len(data)):
        with servers.saying(says(data[:length])) as port:
            assert "hangs up" in refused(probe, port)


def test_every_byte_wrong(probe: Probe) -> None:
    """Refused, unless it is one that may have any value."""
    data = servers.whole()
    export = len(servers.greeting()) + 20  # behind the reply's header
    block_size = export + 12 + 20
    free = {
        *(16, 17),  # flags of the handshake: unknown ones, and they make no difference here
        *range(export + 3, export + 9),  # the size, where it stays possible
        *range(export + 10, export + 12),  # flags that are not looked at
        *range(block_size, block_size + 2),  # another kind of information
        block_size + 5,  # the smallest block: 129 will do for sectors of 512
        *range(block_size + 6, block_size + 14),  # the preferred and the largest
    }
    taken = set()
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 0x80
        with servers.saying(says(bytes(altered))) as port:
            if probe("dial", servers.HOST, str(port), "disk", "512")[0] == 0:
                taken.add(position)
    assert taken == free


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", "does not speak NBD"),
        (servers.greeting(0), "too old"),
        (servers.greeting(servers.NO_ZEROES), "too old"),
        (servers.greeting() + servers.reply(servers.REP_ACK), "not its size"),
        (servers.greeting() + servers.export(0), "whole sectors"),
        (servers.greeting() + servers.export(513), "whole sectors"),
        (servers.greeting() + servers.export(2**63), "whole sectors"),
        (servers.greeting() + servers.export(2**64 - 512), "whole sectors"),
        (servers.greeting() + servers.export(flags=0), "flush"),
        (servers.greeting() + servers.export(flags=servers.FLUSH), "flush"),
        (servers.greeting() + servers.export(flags=servers.FLAGS), "flush"),
        (servers.greeting() + servers.export(flags=7), "reading only"),
        (servers.greeting() + servers.block_size(1024), "no blocks below 1024"),
        (servers.greeting() + servers.block_size(2**31), "no blocks below"),
        (servers.greeting() + servers.block_size(largest=65536), "no requests above 65536"),
        (servers.greeting() + servers.block_size(largest=0), "no requests above 0"),
        (servers.greeting() + servers.reply(servers.REP_INFO), "wrong length"),
        (servers.greeting() + servers.reply(servers.REP_INFO, b"\0"), "wrong length"),
        (servers.greeting() + servers.reply(servers.REP_INFO, bytes(11)), "wrong length"),
        (servers.greeting() + servers.reply(servers.REP_INFO, bytes(13)), "wrong length"),
        (servers.greeting() + servers.reply(servers.REP_INFO, b"\0\3" + bytes(3)), "wrong length"),
        (servers.greeting() + servers.reply(servers.REP_ACK, b"x"), "not an answer"),
        (servers.greeting() + servers.reply(2, b"server"), "not an answer"),
        (servers.greeting() + servers.reply(77), "not an answer"),
        (servers.greeting() + servers.reply(2**31), "for a reason of its own"),
        (servers.greeting() + servers.reply(2**31 + 2, b"not you"), "admit this machine"),
        (servers.greeting() + servers.reply(2**31 + 5), "TLS"),
        (servers.greeting() + servers.reply(servers.REP_ERR_UNKNOWN), "not know this session"),
        (servers.greeting() + servers.reply(2**31 + 7), "ending"),
        (servers.greeting() + servers.reply(2**32 - 1, b"\x1b[2J\n\xff%s%n" * 9), ".[2J..%s%n"),
        (servers.greeting() + servers.reply(servers.REP_ERR_UNKNOWN, b"x" * 4096), "xxx"),
        (servers.greeting() + servers.reply(servers.REP_ERR_UNKNOWN, b"x" * 4097), "4097 bytes"),
        (servers.greeting() + servers.reply(1)[:-4] + b"\xff" * 4, "4294967295 bytes"),
        (servers.greeting() + servers.reply(1, option=servers.OPT_EXPORT_NAME), "nothing that was"),
        (servers.greeting() + b"\0" * 20, "nothing that was"),
        (servers.greeting() + servers.reply(servers.REP_INFO, b"\0\7name") * 40, "no end"),
    ],
)
def test_wrong(probe: Probe, data: bytes, expected: str) -> None:
    """Found out at once, without waiting for more."""
    if "whole sectors" in expected or "flush" in expected or "reading" in expected:
        data += servers.reply(servers.REP_ACK)
    with servers.saying(says(data, wait=True)) as port:
        started = time.monotonic()
        assert expected in refused(probe, port)
        assert time.monotonic() - started < PATIENCE


def test_endless(probe: Probe) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(servers.greeting())
        while True:
            connection.sendall(servers.export())

    with servers.saying(behave) as port:
        assert "no end" in refused(probe, port)


def test_data_behind_the_handshake_stays(probe: Probe) -> None:
    """What a server says too early is not taken for a part of the handshake."""
    early = struct.pack(">II", 0x67446698, 0) + bytes(8) + FIRST.ljust(512, b"\0")
    with servers.saying(says(servers.whole() + early, wait=True)) as port:
        assert f"first={FIRST.hex()}" in dial(probe, port, "read")


@pytest.mark.parametrize("length", [0, 7, 18, 30])
def test_silence(probe: Probe, length: int) -> None:
    with servers.saying(says(servers.whole()[:length], wait=True)) as port:
        started = time.monotonic()
        assert "handshake" in refused(probe, port)
        assert SECONDS - 0.1 < time.monotonic() - started < SECONDS + PATIENCE


def test_trickle(probe: Probe) -> None:
    """A byte now and then does not put the deadline off."""

    def behave(connection: socket.socket) -> None:
        for byte in servers.whole():
            connection.sendall(bytes([byte]))
            time.sleep(0.25)

    with servers.saying(behave) as port:
        started = time.monotonic()
        assert "handshake" in refused(probe, port)
        assert time.monotonic() - started < SECONDS + PATIENCE
