"""Sources of modules: the download, and the cache of what was downloaded."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import sources
from stiefelsystem.host.debian import Supply
from tests.unit.a_source import CONTENT, DIGEST, source_at


class Web(ThreadingHTTPServer):
    """A web server on the loopback, which answers everything with what a test gives it."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked: list[str] = []
        self.ended = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                answer(self)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/source.tar.gz"


Serve = Callable[[Callable[[BaseHTTPRequestHandler], None]], Web]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    started: list[tuple[Web, threading.Thread]] = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> Web:
        web = Web(answer)
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        started.append((web, thread))
        return web

    yield start
    for web, thread in started:
        web.ended.set()
        web.shutdown()
        web.server_close()
        thread.join()


def whole(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, {"Content-Length": str(len(CONTENT))})
    handler.wfile.write(CONTENT)


def begin(handler: BaseHTTPRequestHandler, headers: Mapping[str, str], status: int = 200) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.close_connection = True
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def failure(url: str, supply: Supply) -> StiefelError:
    """What is said about a download that fails; nothing of it is left."""
    with pytest.raises(StiefelError) as caught:
        sources.download("fan", source_at(url), supply)
    assert not [path for path in supply.cache.rglob("*") if not path.is_dir()]
    return caught.value


@pytest.fixture
def supply(tmp_path: Path) -> Supply:
    return Supply(tmp_path / "cache")


def test_downloaded_once(serve: Serve, supply: Supply) -> None:
    web = serve(whole)
    archive = sources.download("fan", source_at(web.url), supply)
    assert archive.read_bytes() == CONTENT
    assert archive.is_relative_to(supply.cache)
    offline = replace(supply, offline=True)
    assert sources.download("fan", source_at(web.url), offline) == archive
    # What lies there is known by what it is, wherever it came from.
    assert sources.download("other", source_at("https://example.org/"), offline) == archive
    assert web.asked == ["/source.tar.gz"]
    assert len(list(archive.parent.iterdir())) == 1


def test_redirected(serve: Serve, supply: Supply) -> None:
    there = serve(whole)
    here = serve(lambda handler: begin(handler, {"Location": there.url}, 302))
    assert sources.download("fan", source_at(here.url), supply).read_bytes() == CONTENT


def test_through_the_environments_proxy(
    serve: Serve, supply: Supply, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(whole)
    monkeypatch.setenv("http_proxy", proxy.url)
    sources.download("fan", source_at("http://example.org/x"), supply)
    assert proxy.asked == ["http://example.org/x"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_local_file(supply: Supply, tmp_path: Path, offline: bool) -> None:
    file = tmp_path / "with blank"
    file.write_bytes(CONTENT)
    url = f"file://{tmp_path}/with%20blank"
    archive = sources.download("fan", source_at(url), replace(supply, offline=offline))
    assert archive.read_bytes() == CONTENT


def test_no_local_file(supply: Supply, tmp_path: Path) -> None:
    assert "no-such" in str(failure(f"file://{tmp_path}/no-such", supply))


def test_another_digest(serve: Serve, supply: Supply) -> None:
    web = serve(whole)
    wrong = replace(source_at(web.url), sha256=DIGEST)
    with pytest.raises(StiefelError) as caught:
        sources.download("fan", wrong, supply)
    said = str(caught.value)
    assert DIGEST in said and hashlib.sha256(CONTENT).hexdigest() in said
    assert web.url in said and "nothing of it was run" in said
    assert "check where it comes from" in caught.value.hint
    assert list((supply.cache / "sources").iterdir()) == []


def test_a_damaged_cache_is_noticed_and_mended(
    serve: Serve, supply: Supply, capsys: pytest.CaptureFixture[str]
) -> None:
    web = serve(whole)
    archive = sources.download("fan", source_at(web.url), supply)
    damaged = bytearray(CONTENT)
    damaged[1000] ^= 1
    archive.write_bytes(damaged)
    assert sources.download("fan", source_at(web.url), supply).read_bytes() == CONTENT
    assert "another digest" in capsys.readouterr().err
    archive.write_bytes(damaged)
    error = failure(web.url, replace(supply, offline=True))
    assert "would have to be downloaded" in str(error)
    assert len(web.asked) == 2


def test_offline_without_a_cache(serve: Serve, supply: Supply) -> None:
    web = serve(whole)
    error = failure(web.url, replace(supply, offline=True))
    assert "fan: its source is not in" in str(error)
    assert "without --offline" in error.hint
    assert web.asked == []


def test_nobody_answers(serve: Serve, supply: Supply) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # but does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/x"
        error = failure(url, supply)
    assert f"cannot download {url}" in str(error) and "refused" in str(error)


def test_not_found(serve: Serve, supply: Supply) -> None:
    web = serve(lambda handler: begin(handler, {}, 404))
    assert "404" in str(failure(web.url, supply))


def test_cut_short(serve: Serve, supply: Supply) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, {"Content-Length": str(len(CONTENT))})
        handler.wfile.write(CONTENT[:100_000])

    said = str(failure(serve(answer).url, supply))
    assert f"100000 of {len(CONTENT)} bytes" in said


def test_chunks_cut_short(serve: Serve, supply: Supply) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, {"Transfer-Encoding": "chunked"})
        handler.wfile.write(b"1000\r\n" + CONTENT[:100])

    assert "cannot download" in str(failure(serve(answer).url, supply))


def test_no_http(serve: Serve, supply: Supply) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(bytes(100))

    assert "cannot download" in str(failure(serve(answer).url, supply))


def test_a_length_that_is_none(serve: Serve, supply: Supply) -> None:
    web = serve(lambda handler: begin(handler, {"Content-Length": "many"}))
    assert "cannot download" in str(failure(web.url, supply))


@pytest.mark.parametrize("said", [True, False])
def test_too_big(serve: Serve, supply: Supply, monkeypatch: pytest.MonkeyPatch, said: bool) -> None:
    """Whether it says so before, or just goes on and on."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, {"Content-Length": str(8 << 30)} if said else {})
        with suppress(OSError):
            for _ in range(200):
                handler.wfile.write(CONTENT)

    monkeypatch.setattr(sources, "_DOWNLOAD_BYTES", 1 << 20)
    assert "more than 1 MB" in str(failure(serve(answer).url, supply))


def test_a_server_that_falls_silent(
    serve: Serve, supply: Supply, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        whole_but_end(handler)
        web.ended.wait(60)

    web = serve(answer)
    monkeypatch.setattr(sources, "_READ_SECONDS", 0.2)
    assert "timed out" in str(failure(web.url, supply))


def whole_but_end(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, {"Content-Length": str(len(CONTENT))})
    handler.wfile.write(CONTENT[:-1])


def test_a_server_that_drips(
    serve: Serve,
    supply: Supply,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each byte comes in time, but the last one would come in a month."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, {"Content-Length": "1000000"})
        while not web.ended.wait(0.02):
            handler.wfile.write(b"x")

    web = serve(answer)
    monkeypatch.setattr(sources, "_DOWNLOAD_SECONDS", 0.5)
    monkeypatch.setattr(sources, "_PROGRESS_SECONDS", 0.1)
    assert "did not come within 0.5 s" in str(failure(web.url, supply))
    assert "0.0 of 1.0 MB" in capsys.readouterr().err
