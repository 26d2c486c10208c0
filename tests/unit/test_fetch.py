"""The client against servers that do not behave, on loopback; and against one that does."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem import keys
from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.messages import NONCE_SIZE, Offer, Role
from stiefelsystem.ramdisk import archive, exchange
from stiefelsystem.ramdisk import fetch as fetching
from stiefelsystem.ramdisk.http import Refusal, read_request
from stiefelsystem.ramdisk.search import Found

KEY = b"k" * 32
SESSION = keys.subkey(KEY, keys.SESSION)
FOUND = Found(Offer(Role.SERVER, bytes(NONCE_SIZE), bytes(NONCE_SIZE)), Peer("::1", 0, 0))
REQUEST = {"tunnel": "0f" * 32}
OK = b"HTTP/1.0 200 OK\r\n\r\n"
FILES: dict[str, Path | bytes] = {"kernel": b"k" * 3000, "initrd": b"i" * 3000, "cmdline": b"ro"}

Answer = Callable[[str, bytes, socket.socket], None]


class Server:
    """Gives each connection to `answer`, with the path and the body of its request."""

    def __init__(self) -> None:
        self.answer: Answer = lambda path, body, connection: None
        self.requests: list[str] = []
        self.ended = threading.Event()
        self._socket = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self.ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while not self.ended.is_set():
            with suppress(OSError):
                connection, _ = self._socket.accept()
                with connection, connection.makefile("rb") as file, suppress(Refusal):
                    path, body = read_request(file)
                    self.requests.append(path)
                    self.answer(path, body, connection)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setattr(exchange, "PORT", server.port)
    yield server
    server.close()


def fetch(folder: Path) -> fetching.Fetched:
    return fetching.fetch(KEY, FOUND, folder, REQUEST)


def failure(folder: Path) -> StiefelError:
    with pytest.raises(StiefelError) as caught:
        fetch(folder)
    assert list(folder.iterdir()) == []
    return caught.value


def always(data: bytes) -> Answer:
    return lambda path, body, connection: connection.sendall(data)


def serving(
    answer: dict[str, Any],
    files: dict[str, Path | bytes],
    change: Callable[[bytes], bytes],
    secrets: list[exchange.Secrets] | None = None,
) -> Answer:
    """A server that has the key; `change` is done to the archive's stream. `secrets` gets its."""
    made = [] if secrets is None else secrets
    opened: dict[str, exchange.Keys] = {}

    def respond(path: str, body: bytes, connection: socket.socket) -> None:
        if path == "/session":
            reply, session = exchange.answer_request(SESSION, body)
            opened[f"/boot/{session.id.hex()}"] = session
            connection.sendall(OK + reply)
            return
        session = opened.pop(path)
        with Opener(io.BytesIO(body).read, session.to_server) as request:
            assert json.loads(request.read(100)) == REQUEST
            request.finish()
        made.append(session.secrets(body))
        stream = io.BytesIO()
        with Sealer(stream.write, made[-1].archive) as out:
            archive.send(out, answer, files)
        connection.sendall(OK + change(stream.getvalue()))

    return respond


def test_all_goes_well(server: Server, tmp_path: Path) -> None:
    theirs: list[exchange.Secrets] = []
    server.answer = serving({"status": "ok", "port": 7}, FILES, lambda stream: stream, theirs)
    answer, received, secrets = fetch(tmp_path)
    assert answer["port"] == 7
    assert [secrets] == theirs
    assert (received.kernel.read_bytes(), received.initrd.read_bytes()) == (
        b"k" * 3000,
        b"i" * 3000,
    )
    assert received.cmdline == "ro"
    assert server.requests[0] == "/session"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        ("in use", "the laptop refuses: why", StiefelError),
        ("confirm", "not without a yes: why", fetching.Unconfirmed),
        ("not yet", "the laptop is not ready yet: why", fetching.NotYet),
        ("error", "the laptop cannot serve: why", StiefelError),
        ("of a later version", "the laptop cannot serve: why", StiefelError),
        (None, "the laptop cannot serve: why", StiefelError),
        ([], "the laptop cannot serve: why", StiefelError),
    ],
)
def test_refusals(
    server: Server, tmp_path: Path, status: object, said: str, kind: type[StiefelError]
) -> None:
    answer = {"status": status, "reason": "why", "hint": "do this"}
    server.answer = serving(answer, {}, lambda stream: stream)
    error = failure(tmp_path)
    assert (str(error), error.hint, type(error)) == (said, "do this", kind)


@pytest.mark.parametrize(
    ("notes", "shown"),
    [
        (["its journal waits"], ["its journal waits"]),
        (["one", "two"], ["one", "two"]),
        (["n"] * 100, ["n"] * 8),
        (["n" * 1000, "\x1b[2J"], ["n" * 200, "?[2J"]),
        ([], []),
        ([7, None, {}], ["7", "None", "{}"]),
        *((one, []) for one in (None, 7, "text", {"a": 1})),
    ],
)
def test_what_the_laptop_has_to_say(
    server: Server,
    tmp_path: Path,
    notes: object,
    shown: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.answer = serving({"status": "ok", "notes": notes}, FILES, lambda stream: stream)
    fetch(tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "the laptop says" in line]
    assert said == [f"the laptop says: {one}" for one in shown]


@pytest.mark.parametrize("cut", [1, 17, 3000])
def test_an_archive_that_is_cut_short(server: Server, tmp_path: Path, cut: int) -> None:
    server.answer = serving({"status": "ok"}, FILES, lambda stream: stream[:-cut])
    assert "the stream ended before its last frame" in str(failure(tmp_path))


def test_an_archive_that_is_longer_than_its_frames(server: Server, tmp_path: Path) -> None:
    server.answer = serving({"status": "error"}, {}, lambda stream: stream + b"x")
    assert "behind the end of the stream" in str(failure(tmp_path))


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET6) as unused:
        unused.bind(("::1", 0))
        monkeypatch.setattr(exchange, "PORT", unused.getsockname()[1])
        assert "the laptop at ::1%0 went away: " in str(failure(tmp_path))


def test_another_key(server: Server, tmp_path: Path) -> None:
    def respond(path: str, body: bytes, connection: socket.socket) -> None:
        connection.sendall(OK + exchange.answer_request(b"x" * 32, body)[0])

    server.answer = respond
    assert str(failure(tmp_path)) == "the server's answer does not prove the key"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.0",
        b"HTTP/1.0 200",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.0 abc OK\r\n\r\n",
        b"\x1b[2J" * 1000 + b"\r\n\r\n",
        b"x" * 100_000,
        b"HTTP/1.0 200 OK\r\nX: " + b"a" * 100_000,
        b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 200,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    ],
)
def test_what_is_not_http(server: Server, tmp_path: Path, data: bytes) -> None:
    server.answer = always(data)
    error = failure(tmp_path)
    assert str(error).startswith(("the laptop at ::1%0 went away: ", "not a "))
    assert len(str(error)) < 300


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404, 500, 501])
def test_other_statuses_are_refusals_and_not_followed(
    server: Server, tmp_path: Path, status: int
) -> None:
    head = f"HTTP/1.0 {status} X\r\nLocation: http://[::1]:{server.port}/else\r\n\r\n"
    server.answer = always(head.encode())
    assert str(failure(tmp_path)) == f"the laptop refused the request: HTTP status {status}"
    assert server.requests == ["/session"]


def test_no_proxy_is_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://[::1]:1")
    server.answer = serving({"status": "ok"}, FILES, lambda stream: stream)
    fetch(tmp_path)


@pytest.mark.parametrize(
    "head",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n",
    ],
)
def test_an_answer_without_end_is_not_read(server: Server, tmp_path: Path, head: bytes) -> None:
    def respond(path: str, body: bytes, connection: socket.socket) -> None:
        connection.sendall(head)
        while not server.ended.is_set():
            connection.sendall(b"x" * 4096)

    server.answer = respond
    assert "not a message of stiefelsystem" in str(failure(tmp_path))


@pytest.mark.parametrize("size", [b"1", b"-5", b"100000", b"0"])
def test_chunks_are_refused(server: Server, tmp_path: Path, size: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.answer = always(head + size + b"\r\nx\r\n0\r\n\r\n")
    assert "the laptop's answer is in chunks" in str(failure(tmp_path))


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b"H"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n", b"X: y\r\n"),
        (OK, b"x"),
    ],
)
def test_a_trickle_has_an_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(fetching, "_READ_SECONDS", 0.3)

    def respond(path: str, body: bytes, connection: socket.socket) -> None:
        connection.sendall(start)
        deadline = time.monotonic() + 10
        while not server.ended.wait(0.01) and time.monotonic() < deadline:
            connection.sendall(drop)

    server.answer = respond
    started = time.monotonic()
    failure(tmp_path)
    assert time.monotonic() - started < 5


def test_a_silent_server_has_an_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_READ_SECONDS", 0.2)
    server.answer = lambda path, body, connection: bool(server.ended.wait(20)) or None
    assert "went away" in str(failure(tmp_path))


def test_an_archive_may_take_longer_than_the_limit(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has proved the key: then the limit is that of a single read."""
    monkeypatch.setattr("stiefelsystem.framing.FRAME_SIZE", 1024)
    monkeypatch.setattr(fetching, "_READ_SECONDS", 1.0)
    streams: list[bytes] = []
    whole = serving({"status": "ok"}, FILES, lambda stream: streams.append(stream) or b"")

    def respond(path: str, body: bytes, connection: socket.socket) -> None:
        whole(path, body, connection)
        while streams and streams[-1]:
            connection.sendall(streams[-1][:4096])
            streams[-1] = streams[-1][4096:]
            server.ended.wait(0.7)

    server.answer = respond
    started = time.monotonic()
    assert fetch(tmp_path)[0]["status"] == "ok"
    assert time.monotonic() - started > 1.0


@pytest.mark.parametrize("size", [10**400, 0, -1, 1.5, "60", None, [], {}])
def test_a_size_that_cannot_be(size: object) -> None:
    """Only for what is shown; the bar cannot count with what is no size."""
    assert fetching._total(size) == 1 << 33
    assert fetching._total(60) == 60


def test_nothing_is_left_open(server: Server, tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = held()
    for data in (b"", OK, b"HTTP/1.0 404 X\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000):
        server.answer = always(data)
        failure(tmp_path)
    deadline = time.monotonic() + 10
    while held() != before and time.monotonic() < deadline:
        server.ended.wait(0.01)  # the server's side of the last connection, and its limit
    assert held() == before
