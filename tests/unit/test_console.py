"""How programs end and what they say, seen from outside: each test runs one."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stiefelsystem import console

ROOT = Path(__file__).resolve().parents[2]
START = """
import signal, sys
from contextlib import contextmanager
from stiefelsystem.console import StiefelError, run_main, say, step, warn

@contextmanager
def held():
    say("taken")
    try:
        yield
    finally:
        say("given back")

def ready():
    print("ready", flush=True)
    while True:
        signal.pause()

"""


def argv_of(body: str) -> list[str]:
    main = "def main():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return [sys.executable, "-c", f"{START}{main}\nrun_main(main)"]


def run(body: str) -> tuple[int, str, str]:
    """Run a program with this `main` to its end: status, output, and what it said."""
    done = subprocess.run(
        argv_of(body), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def interrupt(body: str, number: signal.Signals) -> tuple[int, str]:
    """Run a program, send it a signal when it is ready, and return its status and what it said."""
    with subprocess.Popen(
        argv_of(body), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("status", [0, 1, 3])
def test_status_of_main(status: int) -> None:
    assert run(f"return {status}") == (status, "", "")


def test_error() -> None:
    assert run('raise StiefelError("it is broken")') == (1, "", "error: it is broken\n")


def test_error_with_hint() -> None:
    said = "error: it is broken\n       mend it\n"
    assert run('raise StiefelError("it is broken", hint="mend it")') == (1, "", said)


def test_subclass_of_error() -> None:
    body = """
        class MyError(StiefelError):
            pass
        with held():
            raise MyError("mine")
    """
    assert run(body) == (1, "", "taken\ngiven back\nerror: mine\n")


def test_bug_has_a_traceback() -> None:
    status, _, said = run('raise KeyError("oops")')
    assert status == 1
    assert said.startswith("Traceback")
    assert "oops" in said


def test_exit_of_a_parser() -> None:
    status, _, said = run('import argparse; argparse.ArgumentParser(prog="x").error("what?")')
    assert status == 2
    assert said.endswith("x: error: what?\n")


def test_error_of_the_system() -> None:
    """A full disk is no bug."""
    body = """
        with held():
            open("/nonexistent/file")
    """
    said = "error: [Errno 2] No such file or directory: '/nonexistent/file'\n"
    assert run(body) == (1, "", f"taken\ngiven back\n{said}")


def test_interrupt() -> None:
    body = """
        with held():
            ready()
    """
    assert interrupt(body, signal.SIGINT) == (130, "taken\ngiven back\ninterrupted\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_termination_unwinds(number: signal.Signals, status: int) -> None:
    body = """
        with held():
            ready()
    """
    assert interrupt(body, number) == (status, "taken\ngiven back\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_does_not_stop_the_unwinding(number: signal.Signals) -> None:
    """As when the terminal is closed: SIGHUP, and SIGTERM soon after."""
    body = f"""
        with held():
            try:
                ready()
            finally:
                signal.raise_signal({number})
                say("slow work")
    """
    assert interrupt(body, signal.SIGTERM) == (143, "taken\nslow work\ngiven back\n")


def test_termination_unwinds_from_a_wait_for_a_program() -> None:
    """And no program is left behind."""
    reader, writer = os.pipe()
    # The program gets its input only when `run` has started to wait for it.
    body = f"""
        from stiefelsystem.run import run
        with held():
            program = "read -r word; echo $word >/proc/self/fd/{writer}; exec sleep 1000"
            run(["sh", "-c", program], text="ready", pass_fds=({writer},))
    """
    with subprocess.Popen(
        argv_of(body), cwd=ROOT, stderr=subprocess.PIPE, pass_fds=(writer,), text=True
    ) as process:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            assert pipe.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
            # The end of the pipe comes when nobody holds its other end.
            assert select.select([pipe], [], [], 10)[0]
            assert pipe.read() == ""
    assert (process.returncode, said) == (143, "taken\ngiven back\n")


def test_nobody_reads_the_output() -> None:
    """As in `program | head -0`: no traceback, and no message of the interpreter."""
    process = subprocess.Popen(
        argv_of("for number in range(100000): print(number)\nreturn 0"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},  # PYTHONUNBUFFERED would hide what happens at the exit
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, b"")


def test_say_is_on_stderr_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    console.say("hello")
    assert capfd.readouterr() == ("", "hello\n")


def test_say_odd_text() -> None:
    """What a peer says may hold anything; a terminal is to see none of its control characters."""
    status, _, said = run(r'say("a\udcff\x1b[2J\nb"); return 0')
    assert status == 0
    assert said == "a??[2J?b\n"
    body = r'warn("a\0b\rc\x9bd\u202ee\u2028f ä"); return 0'
    assert run(body) == (0, "", "warning: a?b?c?d?e?f ä\n")


def test_steps() -> None:
    body = """
        say("before")
        with step("outer"):
            say("in outer")
            with step("inner"):
                say("in inner")
                warn("careful")
            say("again")
        say("after")
        return 0
    """
    status, out, said = run(body)
    assert (status, out) == (0, "")
    lines = said.splitlines()
    assert [line.rstrip("0123456789.s ") for line in lines] == [
        "before",
        "outer …",
        "  in outer",
        "  inner …",
        "    in inner",
        "    warning: careful",
        "  inner:",
        "  again",
        "outer:",
        "after",
    ]
    assert lines[8].endswith(" s")


def test_failed_step_does_not_indent_what_follows() -> None:
    body = """
        try:
            with step("outer"), step("inner"):
                raise KeyError
        except KeyError:
            say("after")
        with step("again"):
            raise StiefelError("broken")
    """
    said = "outer …\n  inner …\nafter\nagain …\nerror: broken\n"
    assert run(body) == (1, "", said)


COLOURFUL = 'warn("careful"); raise StiefelError("broken", hint="mend it")'


def test_no_colour_off_the_terminal() -> None:
    status, out, said = run(COLOURFUL)
    assert (status, out) == (1, "")
    assert said == "warning: careful\nerror: broken\n       mend it\n"


def test_colour_on_the_terminal() -> None:
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            argv_of(COLOURFUL), cwd=ROOT, stdout=subprocess.PIPE, stderr=follower, check=False
        )
        said = os.read(leader, 10000).decode()
    finally:
        os.close(leader)
        os.close(follower)
    assert (done.returncode, done.stdout) == (1, b"")
    assert said.replace("\r", "") == (
        "\033[33mwarning: \033[0mcareful\n\033[31merror: \033[0mbroken\n       mend it\n"
    )
