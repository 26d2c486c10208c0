"""Sources of modules: what may stand in a module's file, the download, hostile archives, the cache.

The builds themselves, in containers, are in tests/netns/test_sources.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem import schema
from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian, sources
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.sources import Result, Source
from tests.tarfiles import below, member, write_archive

DIGEST = "0123456789abcdef" * 4
CONTENT = os.urandom(300_000)
KERNEL = "6.12.0-test"
RESULT = Result(file=Path("fan"), to=Path("/usr/sbin/fan"))


# What may stand in a module's file.


def read(text: str) -> Source:
    return schema.read(text, Source, name="module.yaml")


def refusal(text: str) -> tuple[str, str]:
    with pytest.raises(StiefelError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith("module.yaml:")
    return message.removeprefix("module.yaml:"), caught.value.hint


def test_a_whole_source() -> None:
    source = read(f"""\
url: https://example.org/r8152-2.20.1.tar.gz
sha256: {DIGEST.upper()}
build:
  - make -C /lib/modules/{{kernel}}/build M=$PWD modules
  - strip --strip-debug r8152.ko
packages: [bc]
kernel-headers: true
results:
  - file: r8152.ko
    to: /usr/lib/modules/{{kernel}}/updates/r8152.ko
""")
    assert source.sha256 == DIGEST
    assert source.build[0] == "make -C /lib/modules/{kernel}/build M=$PWD modules"
    assert source.kernel_headers
    (result,) = source.results
    assert result.place(KERNEL) == Path(f"usr/lib/modules/{KERNEL}/updates/r8152.ko")


def test_a_source_without_a_url_waits_for_that_of_the_configuration() -> None:
    source = read("results: [{file: fan, to: /usr/sbin/fan}]\n")
    assert source == Source(results=(RESULT,))
    assert source.build == ("make",)


def test_a_digest_of_digits_alone_is_not_a_number() -> None:
    text = f"url: file:///x\nsha256: {'1' * 64}\nresults: [{{file: fan, to: /usr/sbin/fan}}]\n"
    assert read(text).sha256 == "1" * 64


URL = f"url: https://example.org/x\nsha256: {DIGEST}\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("url: https://example.org/x\n", "1: url: a url needs the sha256", "sha256sum"),
        (URL, "1: results: a source needs results", "the files that"),
        ("url: ftp://example.org/x\n", "'ftp://example.org/x' is not a URL to", "https://"),
        ("url: /home/x.tar\n", "'/home/x.tar' is not a URL to", "file:///"),
        ("url: file://x.tar\n", "'file://x.tar' is not a URL to", "file:///"),
        ("url: https:///x\n", "'https:///x' is not a URL to", "https://"),
        ("url: https://[::1/x\n", "'https://[::1/x' is not a URL: ", ""),
        ("url: https://me:pw@example.org/x\n", "has a user's name in it", "file:///"),
        ("url: 'https://example.org/a b'\n", "is not a URL", ""),
        ("sha256: 1234\n", "1: sha256: 1234 is not a SHA-256", "64 hex digits"),
        (f"sha256: {DIGEST}0\n", "is not a SHA-256", "64 hex digits"),
        ("build: make\n", "1: build: 'make' is not a list", "write [make]"),
        ("build: ['make \"x']\n", "build[0]: 'make \"x' is not a command", ""),
        ("packages: [Linux]\n", "packages[0]: 'Linux' is not a Debian package's name", ""),
        ("kernel_headers: true\n", "kernel_headers: unknown key", "kernel-headers"),
        ("results: [{file: fan}]\n", "results[0].to: is missing", ""),
        ("results: [{file: ../fan, to: /usr/fan}]\n", "'../fan' contains '..'", ""),
        ("results: [{file: /fan, to: /usr/fan}]\n", "'/fan' is not a relative path", ""),
        ("results: [{file: fan, to: usr/fan}]\n", "'usr/fan' is not an absolute path", ""),
        ("results: [{file: fan, to: /usr/../x}]\n", "'/usr/../x' contains '..'", ""),
        ("results: [{file: fan, to: /fan}]\n", "results[0].to: '/fan' is not a file in a f", ""),
        ("results: [{file: fan, to: /}]\n", "'/' is not a file in a folder", "/usr/bin"),
        ("results: [{file: fan, to: /bin/fan}]\n", "/bin is a link to", "write /usr/bin/fan"),
        (
            "results: [{file: fan, to: '/usr/{version}/fan'}]\n",
            "'/usr/{version}/fan' has a placeholder",
            "{kernel}",
        ),
        (
            "results: [{file: a, to: /usr/x}, {file: b, to: /usr/x/b}]\n",
            "results: '/usr/x/b' is in the way of another result",
            "",
        ),
    ],
)
def test_refused(text: str, message: str, hint: str) -> None:
    said, hinted = refusal(text)
    assert message in said
    assert hint in hinted


# The download.


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


def source_at(url: str, content: bytes = CONTENT) -> Source:
    return Source(url=url, sha256=hashlib.sha256(content).hexdigest(), results=(RESULT,))


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


# what runs in it.


class Workshop:
    """Counts the builds; each does `work` in the source's folder, and says something."""

    def __init__(self, tmp_path: Path) -> None:
        self.workplace = tmp_path / "workdir/initrd-devel"
        self.supply = Supply(tmp_path / "cache")
        archive = write_archive(tmp_path / "archive", [member("top/fan.c")])
        self.source = source_at(f"file://{archive}", archive.read_bytes())
        self.packages: list[str] = []
        self.commands: list[str] = []
        self.environments: list[Mapping[str, str]] = []
        self.work: Callable[[Path], object] = lambda top: shutil.copy(top / "fan.c", top / "fan")

    def packaged_tree(self, tree: Path, packages: list[str], supply: Supply) -> None:
        assert not supply.refresh
        assert not tree.exists(), "a former build's tree is used again"
        tree.mkdir(parents=True)
        self.packages = packages

    def nspawn(self, tree: Path, argv: list[str], *, env: Mapping[str, str], network: bool) -> str:
        assert not network
        assert argv[-3] == "/build/top"
        self.commands.append(argv[-1])
        self.environments.append(env)
        (tree / "build.log").write_text("compiling\nfan.c: error: no fan\nmake: *** failed\n")
        self.work(tree / "build/top")
        return ""

    def built(self, source: Source | None = None, *, kernel: str = KERNEL) -> Path:
        """Build, or take from the cache; in either case, the tree is gone afterwards."""
        try:
            return sources.built(
                "/home/me/fan.yaml",
                source or self.source,
                kernel=kernel,
                workplace=self.workplace,
                supply=self.supply,
            )
        finally:
            assert not self.workplace.exists()

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.supply.cache / "built").iterdir())


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    workshop = Workshop(tmp_path)
    monkeypatch.setattr(debian, "packaged_tree", workshop.packaged_tree)
    monkeypatch.setattr(debian, "nspawn", workshop.nspawn)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return workshop


def test_results_lie_as_in_the_ramdisk(workshop: Workshop) -> None:
    results = (
        Result(file=Path("fan"), to=Path("/usr/sbin/fan")),
        Result(file=Path("fan.c"), to=Path("/usr/lib/modules/{kernel}/updates/fan.ko")),
    )

    def work(top: Path) -> None:
        (top / "fan").write_bytes(b"program")
        (top / "fan").chmod(0o4711)
        (top / "fan.c").chmod(0o600)

    workshop.work = work
    build = ("make -C /lib/modules/{kernel}/build M=${PWD}", "true")
    former = os.umask(0)
    try:
        folder = workshop.built(replace(workshop.source, results=results, build=build))
    finally:
        os.umask(former)
    assert workshop.commands == [f"make -C /lib/modules/{KERNEL}/build M=${{PWD}}", "true"]
    program, module = folder / "usr/sbin/fan", folder / f"usr/lib/modules/{KERNEL}/updates/fan.ko"
    assert {path for path in folder.rglob("*") if path.is_file()} == {program, module}
    assert program.read_bytes() == b"program"
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert stat.S_IMODE(module.stat().st_mode) == 0o644
    assert workshop.left() == [folder.name]
    assert folder.name.startswith("fan-")


def test_built_once(workshop: Workshop) -> None:
    first = workshop.built()
    before = below(first)
    workshop.supply = replace(workshop.supply, offline=True, refresh=True)
    assert workshop.built(replace(workshop.source, url="https://example.org/mirror")) == first
    assert below(first) == before
    assert len(workshop.commands) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"build": ("make fast",)},
        {"packages": ("bc",)},
        {"kernel_headers": True},
        {"results": (replace(RESULT, to=Path("/usr/bin/fan")),)},
        {"results": (replace(RESULT, file=Path("fan.c")),)},
    ],
)
def test_built_again_for_what_is_different(workshop: Workshop, change: dict[str, Any]) -> None:
    first = workshop.built()
    assert workshop.built(replace(workshop.source, **change)) != first
    assert len(workshop.commands) == 2


def test_built_again_for_another_archive(workshop: Workshop, tmp_path: Path) -> None:
    first = workshop.built()
    archive = write_archive(tmp_path / "archive", [member("top/fan.c")], b"other")
    second = workshop.built(source_at(f"file://{archive}", archive.read_bytes()))
    assert (first / "usr/sbin/fan").read_bytes() == b"content"
    assert (second / "usr/sbin/fan").read_bytes() == b"other"


def test_built_again_for_another_kernel_time_or_machine(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [workshop.built(), workshop.built(kernel="6.13")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    places.append(workshop.built())
    monkeypatch.setattr(debian, "architecture", lambda: "arm64")
    places.append(workshop.built())
    assert len(set(places)) == 4
    times = [env["KBUILD_BUILD_TIMESTAMP"] for env in workshop.environments]
    assert times[0] == times[1] != times[2] == "@1700000000"


def test_what_is_installed_to_compile(workshop: Workshop) -> None:
    workshop.built()
    assert workshop.packages == ["gcc", "libc6-dev", "make"]
    workshop.built(replace(workshop.source, packages=("bc",), kernel_headers=True))
    assert workshop.packages == ["bc", "gcc", "libc6-dev", f"linux-headers-{KERNEL}", "make"]


def test_no_place_for_the_source(workshop: Workshop) -> None:
    with pytest.raises(StiefelError, match="fan: it is not known where"):
        workshop.built(Source(results=(RESULT,)))


def test_a_source_that_is_not_verified_is_not_built(workshop: Workshop) -> None:
    with pytest.raises(StiefelError, match="nothing of it was run"):
        workshop.built(replace(workshop.source, sha256=DIGEST))
    assert workshop.commands == [] and workshop.packages == []


def test_a_tree_that_cannot_be_made(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tree: Path, *_: Any) -> None:
        tree.with_suffix(".new").mkdir(parents=True)
        raise StiefelError("E: Unable to locate package")

    monkeypatch.setattr(debian, "packaged_tree", fail)
    with pytest.raises(StiefelError, match=r"fan: cannot prepare its build: E:") as caught:
        workshop.built(replace(workshop.source, kernel_headers=True))
    assert "--update" in caught.value.hint


def test_a_tree_that_cannot_be_made_offline(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = iter(["", "its own hint"])

    def fail(*_: Any) -> None:
        raise StiefelError("E: not downloaded", hint=next(hints))

    monkeypatch.setattr(debian, "packaged_tree", fail)
    workshop.supply = replace(workshop.supply, offline=True)
    for hint in ("build once without --offline", "its own hint"):
        with pytest.raises(StiefelError) as caught:
            workshop.built()
        assert caught.value.hint == hint


def test_what_a_killed_build_left_is_not_used(workshop: Workshop) -> None:
    (workshop.workplace / "fan/usr").mkdir(parents=True)
    workshop.built()
    assert len(workshop.commands) == 1


@pytest.mark.parametrize("error", [StiefelError("status 2"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failed_build_leaves_nothing_but_its_log(
    workshop: Workshop, error: BaseException
) -> None:
    def work(top: Path) -> None:
        (top / "fan").write_bytes(b"half a program")
        raise error

    workshop.work = work
    with pytest.raises(type(error)) as caught:
        workshop.built()
    if not isinstance(error, StiefelError):
        assert workshop.left() == []
        return
    assert str(caught.value) == "fan: make failed: compiling / fan.c: error: no fan"
    assert workshop.left() == ["fan.log"]
    log = workshop.supply.cache / "built/fan.log"
    assert "make: *** failed" in log.read_text()
    assert str(log) in caught.value.hint


def test_a_container_that_does_not_start(workshop: Workshop) -> None:
    """Then the build said nothing, and the container's error is what there is to say."""

    def work(top: Path) -> None:
        (top.parents[1] / "build.log").unlink()
        raise StiefelError("cannot run systemd-nspawn", hint="install it")

    workshop.work = work
    with pytest.raises(StiefelError, match=r"^cannot run systemd-nspawn$"):
        workshop.built()


def secret(workshop: Workshop) -> Path:
    file = workshop.supply.cache / "secret"
    file.write_text("secret")
    return file


def as_link(top: Path, to: Path) -> None:
    (top / "fan").symlink_to(to)


def as_hidden_link(top: Path, to: Path) -> None:
    """The result is a file, but the source's folder is not what it was."""
    top.rename(top.with_name("away"))
    to.with_name("fan").write_text("secret")
    top.symlink_to(to.parent)


def as_folder(top: Path, _: Path) -> None:
    (top / "fan").mkdir()


def as_pipe(top: Path, _: Path) -> None:
    os.mkfifo(top / "fan")


def as_loop(top: Path, _: Path) -> None:
    (top / "fan").symlink_to("fan")


def as_nothing(_top: Path, _: Path) -> None:
    pass


@pytest.mark.parametrize("make", [as_link, as_hidden_link, as_folder, as_pipe, as_loop, as_nothing])
def test_a_result_is_a_file_of_the_tree(
    workshop: Workshop, make: Callable[[Path, Path], None]
) -> None:
    workshop.supply.cache.mkdir()
    to = secret(workshop)
    workshop.work = lambda top: make(top, to)
    with pytest.raises(StiefelError, match="fan: the build made no file top/fan: compiling"):
        workshop.built()
    assert workshop.left() == ["fan.log"]


def test_a_log_is_a_file_of_the_tree(workshop: Workshop) -> None:
    workshop.supply.cache.mkdir()
    to = secret(workshop)

    def work(top: Path) -> None:
        log = top.parents[1] / "build.log"
        log.unlink()
        log.symlink_to(to)
        raise StiefelError("status 2")

    workshop.work = work
    with pytest.raises(StiefelError, match=r"^status 2$"):
        workshop.built()
    assert workshop.left() == []


def test_of_a_long_log_the_end_is_kept(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(top: Path) -> None:
        (top.parents[1] / "build.log").write_text("x" * 100 + "\nthe end\n")
        raise StiefelError("status 2")

    monkeypatch.setattr(sources, "_LOG_BYTES", 20)
    workshop.work = work
    with pytest.raises(StiefelError, match="the end"):
        workshop.built()
    assert len((workshop.supply.cache / "built/fan.log").read_text()) == 20
