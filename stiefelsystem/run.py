"""The one door to other programs: argv lists, a clean environment, failures told apart."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from stiefelsystem.console import StiefelError, say

# What a program inherits from the caller's environment: nothing that changes what it does, but
# for the way to the network, which some sites have only through a proxy.
_INHERITED = ("HOME", "TERM", "http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that programs get: PATH with the sbin folders, the C locale, `extra`."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, "PATH": _PATH, "LC_ALL": "C.UTF-8", **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    timeout: float | None = None,
    log: IO[str] | None = None,
    pass_fds: Sequence[int] = (),
    let_end: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its status and output.

    `text` goes to its standard input, which is else empty. With `log`, output goes there instead
    of into the result. `timeout` is in seconds. An interruption kills the program; with `let_end`,
    only a second one does, and the first waits for its end. Raises `StiefelError` when the program
    is missing, runs out of time, or (with `check`) fails.
    """
    command = [str(word) for word in argv]
    deadline = None if timeout is None else time.monotonic() + timeout
    with ExitStack() as stack:
        try:
            process = subprocess.Popen(
                command,
                env=environment(env),
                stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
                stdout=log or subprocess.PIPE,
                stderr=log or subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                pass_fds=pass_fds,
            )
        except OSError as error:
            raise _not_started(command[0], error) from error
        stack.enter_context(process)
        stack.callback(_end, process)
        try:
            out, errors = process.communicate(text, timeout)
        except subprocess.TimeoutExpired as error:
            raise StiefelError(f"{shlex.join(command)} did not end within {timeout:g} s") from error
        except (KeyboardInterrupt, SystemExit):
            if let_end:
                _let_end(process, command, deadline)
            raise
    if check and process.returncode != 0:
        raise failed(command, process.returncode, "" if log else errors or out)
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


@contextmanager
def pipe_into(argv: Sequence[str | Path], out: IO[bytes]) -> Iterator[IO[bytes]]:
    """A filter: what the block writes goes through the program into the file `out`.

    Raises `StiefelError` when the program is missing or fails.
    """
    command = [str(word) for word in argv]
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
        try:
            process = subprocess.Popen(
                command, env=environment(), stdin=subprocess.PIPE, stdout=out, stderr=errors
            )
        except OSError as error:
            raise _not_started(command[0], error) from error
        stack.callback(_end, process)
        assert process.stdin is not None
        whole = False
        with suppress(BrokenPipeError):  # then its status tells why it went away
            yield process.stdin
            process.stdin.close()
            whole = True
        if process.wait() != 0:
            errors.seek(0)
            raise failed(command, process.returncode, errors.read())
        if not whole:
            raise StiefelError(f"{shlex.join(command)} ended before it had read everything")


def _let_end(
    process: subprocess.Popen[str], command: Sequence[str], deadline: float | None
) -> None:
    """Wait for a program that we were interrupted in, unless it takes too long.

    It gets no signal from us. Ctrl-C, and the end of a terminal, reach it as they reach us; and
    SIGTERM would end apt-get but not let it finish, with its dpkg in the midst of a package.
    """
    with suppress(OSError):  # the terminal may be gone
        say(f"waiting for {shlex.join(command)} to end; Ctrl-C now kills it, half-way")
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=deadline and max(0.0, deadline - time.monotonic()))


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _not_started(program: str, error: OSError) -> StiefelError:
    if isinstance(error, FileNotFoundError):
        return missing(program)
    return StiefelError(f"cannot run {program}: {error.strerror}")


def missing(program: str) -> StiefelError:
    """The error for a program that is not installed."""
    return StiefelError(
        f"cannot run {program}: there is no such program on this machine",
        hint=f"install the package that contains {Path(program).name}",
    )


def failed(command: Sequence[str], returncode: int, output: str) -> StiefelError:
    """The error for a program that failed, with the last lines of what it said."""
    if returncode < 0:
        names = {number.value: number.name for number in signal.Signals}
        how = f"was ended by {names.get(-returncode, f'signal {-returncode}')}"
    else:
        how = f"failed with status {returncode}"
    last = " / ".join(output.strip().splitlines()[-3:])
    return StiefelError(f"{shlex.join(command)} {how}" + (f": {last}" if last else ""))
