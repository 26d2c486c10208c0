"""What nbd-server runs before it serves a connection: the processes of former ones are dead then.

The processes are real ones, by the name of nbd-server's: copies of sleep(1), and of a shell for the
one that runs the script.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import capabilities

SCRIPT = Path(__file__).resolve().parents[2] / "initrd/usr/lib/stiefelsystem/one-writer"


class Server:
    """nbd-server's processes; those that end are waited for at once, as it does."""

    def __init__(self, folder: Path) -> None:
        capabilities.require_tools("sleep", "dash")
        self._folder = folder
        for place, program in (("nbd-server", "sleep"), ("other", "sleep"), ("new", "dash")):
            (folder / place).mkdir()
            name = "other" if place == "other" else "nbd-server"
            shutil.copy(str(shutil.which(program)), folder / place / name)
        self._group = 0
        self._all: list[tuple[subprocess.Popen[bytes], threading.Thread]] = []
        self._group = self.process()

    def process(self, name: str = "nbd-server", *, group: int | None = None) -> int:
        """The pid of one more process, of the server's group."""
        group = self._group if group is None else group
        one = subprocess.Popen([self._folder / name / name, "1000"], process_group=group)
        waiting = threading.Thread(target=one.wait, daemon=True)
        waiting.start()
        self._all.append((one, waiting))
        return one.pid

    def connection(self, command: str) -> int:
        """The status of `command`, run by the process of a new connection."""
        shell = self._folder / "new/nbd-server"
        argv = [shell, "-c", f"{command}; exit $?", "sh", SCRIPT]
        return subprocess.run(argv, process_group=self._group, timeout=60, check=False).returncode

    def alive(self) -> set[int]:
        return {one.pid for one, _ in self._all if one.poll() is None}

    def close(self) -> None:
        for one, waiting in self._all:
            one.kill()
            waiting.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


# By the process itself, and by a shell between them, as system(3) has it.
@pytest.mark.parametrize("command", ['"$1"', """sh -c '"$1"; exit $?' sh "$1" """])
def test_former_connections_are_ended(server: Server, command: str) -> None:
    stay = server.alive()  # the one that listens
    former = {server.process(), server.process()}
    # Another server's, and a program of the same group that is none.
    stay |= {server.process(group=0), server.process("other")}
    assert server.alive() == stay | former
    assert server.connection(command) == 0
    assert server.alive() == stay


def test_the_first_connection(server: Server) -> None:
    before = server.alive()
    assert server.connection('"$1"') == 0
    assert server.alive() == before


def test_of_nobody_that_is_an_nbd_server() -> None:
    """Then nothing is ended, and nothing is served."""
    done = subprocess.run([SCRIPT], start_new_session=True, check=False, timeout=60)
    assert done.returncode == 1
