"""The door to other programs: what they get, and how each way to fail is told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.run import environment, pipe_into, run
from tests.builds import REPO
from tests.unit.standin_commands import AWAITED


def script(folder: Path, text: str, mode: int = 0o755) -> Path:
    path = folder / "program"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def out() -> Iterator[IO[bytes]]:
    """A file that filters write to."""
    with tempfile.TemporaryFile() as file:
        yield file


def content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def children() -> str:
    """The processes that this one started and that are not gone."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_output_and_status() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_words_are_not_expanded() -> None:
    words = ["$HOME", "*", "a b", "`id`", "", "--", 'q"q', "ä\n"]
    done = run(["printf", "%s|", *words, Path("/a b")])
    assert done.stdout == "|".join([*words, "/a b", ""])


def test_output_that_is_no_text() -> None:
    assert run(["printf", r"a\377b"]).stdout == "a\ufffdb"


@pytest.mark.parametrize("program", ["stiefel-no-such-program", "/nonexistent/stiefel-none"])
def test_not_found(program: str, out: IO[bytes]) -> None:
    for check in (True, False):
        with pytest.raises(StiefelError) as caught:
            run([program, "x"], check=check)
        message = f"cannot run {program}: there is no such program on this machine"
        assert str(caught.value) == message
        assert caught.value.hint == f"install the package that contains {Path(program).name}"
    with pytest.raises(StiefelError) as caught, pipe_into([program], out):
        pytest.fail("the block must not run")
    assert str(caught.value) == message


def test_what_is_no_program(tmp_path: Path, out: IO[bytes]) -> None:
    """Such as a wrong path in the configuration."""
    not_executable = script(tmp_path, "#!/bin/sh\n", mode=0o644)
    not_a_program = tmp_path / "empty folder"
    not_a_program.mkdir()
    for path in (not_executable, not_a_program, not_executable / "x"):
        with pytest.raises(StiefelError, match=f"^cannot run {path}: "):
            run([path])
        with pytest.raises(StiefelError, match=f"^cannot run {path}: "), pipe_into([path], out):
            pytest.fail("the block must not run")


def test_failing_tells_the_last_lines() -> None:
    with pytest.raises(StiefelError) as caught:
        run(["sh", "-c", "seq 5 >&2; exit 7"])
    assert str(caught.value) == "sh -c 'seq 5 >&2; exit 7' failed with status 7: 3 / 4 / 5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit 1", "failed with status 1"),
        ("echo why; exit 2", "failed with status 2: why"),
        ("echo what; echo why >&2; exit 2", "failed with status 2: why"),
        ("kill -KILL $$", "was ended by SIGKILL"),
        ("kill -SEGV $$", "was ended by SIGSEGV"),
        ("echo last words >&2; kill -TERM $$", "was ended by SIGTERM: last words"),
        ("kill -40 $$", "was ended by signal 40"),
    ],
)
def test_ways_to_fail(tmp_path: Path, text: str, message: str) -> None:
    program = script(tmp_path, f"#!/bin/sh\nulimit -c 0\n{text}\n")
    with pytest.raises(StiefelError) as caught:
        run([program, "a b"])
    assert str(caught.value) == f"{program} 'a b' {message}"
    run([program], check=False)


def test_failing_with_a_log(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        with pytest.raises(StiefelError) as caught:
            run(["sh", "-c", "echo out; echo err >&2; exit 1"], log=log)
        assert str(caught.value).endswith("failed with status 1")
        log.seek(0)
        assert log.read() == "out\nerr\n"


@pytest.mark.parametrize("check", [True, False])
def test_timeout(check: bool) -> None:
    before = children()
    with pytest.raises(StiefelError, match=r"^sleep 1000 did not end within 0\.05 s$"):
        run(["sleep", "1000"], timeout=0.05, check=check)
    assert children() == before


def test_timeout_that_is_not_reached() -> None:
    assert run(["true"], timeout=60).returncode == 0


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONPATH", "LANGUAGE", "BASH_ENV", "TAR_OPTIONS", "http_PROXY"):
        monkeypatch.setenv(name, "/nonexistent/stiefel")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.delenv("TERM", raising=False)
    for name in ("http_proxy", "no_proxy", "ftp_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    expected = {
        "HOME": "/home/me",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "https_proxy": "http://proxy:3128",
    }
    assert environment() == expected
    seen = dict(line.split("=", 1) for line in run(["env"]).stdout.splitlines())
    assert seen == expected


def test_environment_with_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    more = {"DEBIAN_FRONTEND": "noninteractive", "HOME": "/root", "LC_ALL": "C"}
    seen = dict(line.split("=", 1) for line in run(["env"], env=more).stdout.splitlines())
    assert more.items() <= seen.items()
    assert seen["PATH"].endswith(":/bin")


def test_filter_gets_the_clean_environment(monkeypatch: pytest.MonkeyPatch, out: IO[bytes]) -> None:
    monkeypatch.setenv("XZ_OPT", "--nonsense")
    with pipe_into(["env"], out):
        pass
    assert b"XZ_OPT" not in content(out)
    assert b"LC_ALL=C.UTF-8" in content(out)


def test_text() -> None:
    assert run(["cat"], text="ä\nb").stdout == "ä\nb"
    assert run(["cat"], text="x" * 1000000).stdout == "x" * 1000000
    assert run(["cat"], text="").stdout == ""


def test_no_text_is_an_empty_input() -> None:
    """And not the terminal's, which a program in a pipeline could wait for."""
    reader, writer = os.pipe()
    former = os.dup(0)
    os.dup2(reader, 0)
    try:
        assert run(["cat"], timeout=10).stdout == ""
    finally:
        os.dup2(former, 0)
        for handle in (reader, writer, former):
            os.close(handle)


def test_text_that_is_not_read() -> None:
    assert run(["true"], text="x" * 1000000).returncode == 0


def test_pass_fds() -> None:
    reader, writer = os.pipe()
    try:
        listed = run(["ls", "/proc/self/fd"], pass_fds=(writer,)).stdout.split()
        assert str(writer) in listed
        assert str(reader) not in listed
    finally:
        os.close(reader)
        os.close(writer)


def test_pipe(out: IO[bytes]) -> None:
    with pipe_into(["tr", "a-z", "A-Z"], out) as file:
        for _ in range(1000):
            file.write(b"some text\n")
    assert content(out) == b"SOME TEXT\n" * 1000


def test_pipe_appends_to_what_is_there(out: IO[bytes]) -> None:
    out.write(b"before ")
    out.flush()
    with pipe_into(["cat"], out) as file:
        file.write(b"after")
    assert content(out) == b"before after"


def test_empty_pipe(out: IO[bytes]) -> None:
    with pipe_into(["cat"], out):
        pass
    assert content(out) == b""


def test_failing_filter(out: IO[bytes]) -> None:
    command = ["sh", "-c", "cat >/dev/null; echo no space >&2; exit 4"]
    message = r"failed with status 4: no space$"
    with pytest.raises(StiefelError, match=message), pipe_into(command, out) as file:
        file.write(b"x")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("exit 5", "failed with status 5: why$"),
        ("kill -KILL $$", "was ended by SIGKILL: why$"),
        ("exit 0", "ended before it had read everything$"),
    ],
)
def test_filter_that_dies_early(out: IO[bytes], end: str, message: str) -> None:
    """While there is much more to write than a pipe holds."""
    before = children()
    command = ["sh", "-c", f"head -c 3; echo why >&2; {end}"]
    with pytest.raises(StiefelError, match=message), pipe_into(command, out) as file:
        for _ in range(1000):
            file.write(b"x" * 100000)
    assert children() == before


def test_exception_ends_the_filter(out: IO[bytes]) -> None:
    """Even one that would not end by itself."""
    before = children()
    command = ["sh", "-c", "trap '' TERM; exec sleep 1000"]
    with pytest.raises(KeyError), pipe_into(command, out) as file:
        file.write(b"x")
        raise KeyError
    assert len(children().split()) == len(before.split())


def test_filter_that_says_odd_bytes(out: IO[bytes]) -> None:
    command = ["sh", "-c", r"printf 'a\377b' >&2; exit 1"]
    with pytest.raises(StiefelError) as caught, pipe_into(command, out):
        pass
    assert str(caught.value).endswith("failed with status 1: a\ufffdb")


# A program that runs another one, in a folder with the pipes `started` and `go`.
RUNS = """
import sys
from stiefelsystem.console import run_main
from stiefelsystem.run import run
argv = ["sh", "-c", sys.argv[1]]
run_main(lambda: run(argv, timeout=60, log=sys.stderr, let_end=True).returncode)
"""
# It ends in its own time, whether Ctrl-C reaches it, too, or nothing does.
CLEANS_UP = f"""
trap 'kill $!; read x <go; echo >made; exit 1' INT
{AWAITED}
sleep 30 &
echo >started
wait
"""
GOES_ON = f"{AWAITED}; echo >started; read x <go; echo >made"


@contextmanager
def interrupted(folder: Path, line: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process, alone with its program in their group, and `go`; the program has begun."""
    for name in ("started", "go"):
        os.mkfifo(folder / name)
    python = [sys.executable, "-c", RUNS, line]
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    go = os.open(folder / "go", os.O_RDWR)  # else a write would wait for a reader
    with subprocess.Popen(
        python, cwd=folder, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        watchdog = threading.Timer(30, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            (folder / "started").read_text()
            yield process, go
            process.wait(60)
        finally:
            watchdog.cancel()
            os.close(go)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("line", "number", "status"),
    [
        (CLEANS_UP, signal.SIGINT, 130),
        (GOES_ON, signal.SIGTERM, 143),
        (GOES_ON, signal.SIGHUP, 129),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_interruption_that_lets_a_program_end(
    tmp_path: Path, line: str, number: signal.Signals, status: int
) -> None:
    """Ctrl-C is for the whole group, kill(1) for one process."""
    with interrupted(tmp_path, line) as (process, go):
        assert process.stderr is not None
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        said = process.stderr.readline()
        assert said.startswith("waiting for sh -c ")
        assert said.endswith(" to end; Ctrl-C now kills it, half-way\n")
        os.write(go, b"\n")
    assert process.returncode == status
    assert (tmp_path / "made").exists()


def test_terminal_that_is_gone_lets_a_program_end(tmp_path: Path) -> None:
    with interrupted(tmp_path, GOES_ON) as (process, go):
        assert process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        status = Path(f"/proc/{process.pid}/status")
        # Until its handler has run: from then on, it ignores SIGHUP, which is the lowest bit.
        while not re.search(r"^SigIgn:.*[13579bdf]$", status.read_text(), re.MULTILINE):
            time.sleep(0.01)
        os.write(go, b"\n")
    assert process.returncode == 129
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_again_it_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    with interrupted(tmp_path, GOES_ON) as (process, _):
        assert process.stderr is not None
        process.send_signal(number)
        assert process.stderr.readline().startswith("waiting for")
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "interrupted\n"
        process.wait(60)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    assert process.returncode == 130


def test_interrupted_its_time_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    before = children()
    began = time.monotonic()
    # It gets its input only when `run` has started to wait for it.
    line = "read x; kill -INT $PPID; exec sleep 30"
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", line], text="\n", timeout=2, let_end=True)
    assert 2 <= time.monotonic() - began < 30
    assert "waiting for" in capsys.readouterr().err
    assert children() == before
