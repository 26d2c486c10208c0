"""The one door to other programs: argv lists, a clean environment, failures told apart."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from stiefelsystem.console import StiefelError

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
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its status and output.

    `text` goes to its standard input, which is else empty. With `log`, output goes there instead
    of into the result. `timeout` is in seconds. Raises `StiefelError` when the program is missing,
    runs out of time, or (with `check`) fails.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command,
            env=environment(env),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            pass_fds=pass_fds,
            check=False,
        )
    except OSError as error:
        raise _not_started(command[0], error) from error
    except subprocess.TimeoutExpired as error:
        raise StiefelError(f"{shlex.join(command)} did not end within {timeout:g} s") from error
    if check and done.returncode != 0:
        raise failed(command, done.returncode, "" if log else done.stderr or done.stdout)
    return done


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


def _end(process: subprocess.Popen[bytes]) -> None:
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
