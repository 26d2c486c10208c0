"""The program as a whole, as far as it goes without a laptop: without any NIC, it waits for one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import capabilities
from tests.keeper.conftest import Probe
from tests.keeper.test_session import PLAIN, WHOLE, text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "own"
    made.mkdir(mode=0o700)
    return made


def call(program: Path, *words: str, beside: int | None = None) -> subprocess.CompletedProcess[str]:
    """Call the program in a namespace of its own, or in that of a process."""
    space = ["nsenter", f"--net=/proc/{beside}/ns/net"] if beside else ["unshare", "--net"]
    command = [*space, str(program), *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for something of which nobody tells."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def keeper_of(folder: Path) -> int | None:
    """The keeper's process, found as systemd does: by an argv[0] that starts with '@'."""
    wanted = f"@stiefel-link\0keep\0{folder}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes() == wanted:
                return int(process.name)
    return None


@contextlib.contextmanager
def started(program: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`run`, which waits for the disk, and its keeper, which waits for a NIC."""
    (folder / "session").write_bytes(text(WHOLE))
    command = ["unshare", "--net", str(program), "run", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as caller:
        try:
            eventually((folder / "status").exists, "no keeper")
            process = keeper_of(folder)
            assert process is not None
            yield caller, process
        finally:
            caller.kill()
            eventually(lambda: keeper_of(folder) is None, "the keeper outlives its caller")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("run",),
        ("run", "a", "b"),
        ("status", "--folder"),
        ("status", "--all"),
        ("end", "--json"),
        ("keep", "/"),
        ("--help",),
    ],
)
def test_usage(program: Path, words: tuple[str, ...]) -> None:
    done = call(program, *words)
    assert (done.returncode, "usage:" in done.stderr) == (2, True)


def test_no_folder(program: Path, folder: Path) -> None:
    done = call(program, "run", str(folder / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot open the folder" in done.stderr


def test_bad_session(program: Path, folder: Path) -> None:
    (folder / "session").write_bytes(text(PLAIN | {"port": "0"}))
    done = call(program, "run", str(folder))
    assert done.returncode == 1
    assert "'port'" in done.stderr
    assert keeper_of(folder) is None


@pytest.mark.parametrize("what", ["status", "end"])
def test_no_keeper(program: Path, folder: Path, what: str) -> None:
    if what == "end" and Path("/dev/nbd0").exists():
        pytest.skip("this machine has an NBD device, which would be flushed")
    done = call(program, what, "--folder", str(folder))
    assert done.returncode == 1
    assert done.stderr.startswith("stiefel-link: ")


def may_be_spared() -> bool:
    """Whether root may do that here: in some containers it may not."""
    script = "echo -1000 >/proc/self/oom_score_adj"
    return subprocess.run(["sh", "-c", script], check=False, capture_output=True).returncode == 0


def test_keeper_is_safe(program: Path, folder: Path) -> None:
    """Locked in memory, ended by nobody's signal nor by the kernel, in a session of its own."""
    with started(program, folder) as (_, process):
        status = Path(f"/proc/{process}/status").read_text()
        locked = next(line for line in status.splitlines() if line.startswith("VmLck:"))
        assert int(locked.split()[1]) > 0
        if may_be_spared():
            assert Path(f"/proc/{process}/oom_score_adj").read_text() == "-1000\n"
        assert os.getsid(process) == process
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
            os.kill(process, number)
        done = call(program, "status", "--folder", str(folder), beside=process)
        assert "connecting" in done.stdout
        streams = [os.readlink(f"/proc/{process}/fd/{number}") for number in range(3)]
        assert streams == ["/dev/null"] * 3


def test_keeper_has_the_session_alone(program: Path, folder: Path) -> None:
    with started(program, folder) as (_, _process):
        assert not (folder / "session").exists()
        done = call(program, "run", str(folder))
        assert done.returncode == 1
        assert "runs already" in done.stderr


def test_status_as_json(program: Path, folder: Path) -> None:
    with started(program, folder) as (_, process):
        done = call(program, "status", "--json", "--folder", str(folder), beside=process)
        status = json.loads(done.stdout)
        assert status["state"] == "connecting"
        assert status["encryption"] == "wireguard"
        assert (status["connections"], status["alive"]) == (4, 0)
        assert not any(secret in done.stdout for secret in ("0f0f", "1111", "2222"))


def test_caller_gives_up(program: Path, folder: Path) -> None:
    """Who waits for the disk is killed: so nobody will use it, and nothing stays."""
    with started(program, folder) as (caller, _process):
        caller.kill()
        eventually(lambda: keeper_of(folder) is None, "the keeper outlives its caller")


def test_interface(probe: Probe) -> None:
    """What the keeper asks of the kernel for its NIC, on one end of a virtual cable."""
    capabilities.require_namespaces()
    space = f"stiefel-keeper-{os.getpid()}"
    inside = ("ip", "netns", "exec", space)

    def run(*words: str) -> str:
        done = subprocess.run([*words], check=True, capture_output=True, text=True, timeout=20)
        return done.stdout

    run("ip", "netns", "add", space)
    try:
        run(*inside, "ip", "link", "add", "one", "type", "veth", "peer", "name", "other")
        run(*inside, "ip", "link", "set", "other", "up")
        words = ("interface", "one", "stiefellink", "fe80::2", "fe80::5054:ff:fe00:1")
        status, said = probe(*words, prefix=inside)
        assert (status, said) == (0, "first=1\nsecond=0\nfamily=16\n")
        (about,) = json.loads(run(*inside, "ip", "-j", "address", "show", "dev", "stiefellink"))
        (address,) = about["addr_info"]
        assert (address["local"], address["prefixlen"]) == ("fe80::2", 64)
        assert "UP" in about["flags"]
        (neighbour,) = json.loads(run(*inside, "ip", "-j", "neigh", "show", "dev", "stiefellink"))
        assert neighbour["dst"] == "fe80::5054:ff:fe00:1"
        assert neighbour["lladdr"] == "52:54:00:00:00:01"
        assert neighbour["state"] == ["PERMANENT"]
    finally:
        run("ip", "netns", "del", space)
