"""What keeps the laptop's OS from being stopped: updates, inhibitors, that it is stiefeled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import inhibitors, obstacles, updates
from tests.unit.standin_commands import Commands

# Holds a lock by fcntl(2), as apt, dpkg and rpm do, until its input ends.
_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
# What `busctl --json=short call … ListInhibitors` prints: org.freedesktop.login1(5), busctl(1).
LOCKS = [
    ["shutdown:idle", "backup", "a backup runs", "block", 1000, 4711],
    ["shutdown", "Unattended Upgrades", "stop the upgrade first", "delay", 0, 801],
    ["sleep", "a player", "music", "block", 1000, 900],
    ["handle-lid-switch", "a desktop", "two screens", "block", 1000, 901],
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("var/lib/dpkg", "var/lib/apt/lists", "var/lib/rpm", "var/lib/pacman"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine on which nothing runs."""
    (tmp_path / "proc/sys").mkdir(parents=True)
    return tmp_path / "proc"


def process(proc: Path, pid: int, *words: str, namespaces: str = "") -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_text("".join(f"{word}\0" for word in words))
    (folder / "comm").write_text(f"{Path(words[0]).name[:15] if words else 'kworker'}\n")
    (folder / "status").write_text(f"Name:\tx\nNSpid:\t{pid}{namespaces}\n")


@contextmanager
def held(lock: Path) -> Iterator[int]:
    """A lock that another process holds; its PID."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder.pid


@pytest.mark.parametrize(
    "lock", ["var/lib/dpkg/lock-frontend", "var/lib/apt/lists/lock", "var/lib/rpm/.rpm.lock"]
)
def test_a_lock_that_is_held(root: Path, proc: Path, lock: str) -> None:
    (root / lock).touch(mode=0o640)
    assert updates.running(root, proc) == []
    with held(root / lock) as pid:
        process(proc, pid, "/usr/bin/something")
        assert updates.running(root, proc) == [f"something (process {pid}) has the lock /{lock}"]
    assert updates.running(root, proc) == []


def test_a_lock_of_a_process_that_cannot_be_seen(root: Path, proc: Path) -> None:
    with held(root / "var/lib/dpkg/lock") as pid:
        (said,) = updates.running(root, proc)
    assert f"(process {pid}) has the lock /var/lib/dpkg/lock" in said


def test_pacmans_lock(root: Path, proc: Path) -> None:
    lock = root / "var/lib/pacman/db.lck"
    lock.touch()
    (said,) = updates.running(root, proc)
    assert "pacman" in said
    assert "remove /var/lib/pacman/db.lck" in said


def test_pacmans_lock_from_before_this_boot(root: Path, proc: Path) -> None:
    lock = root / "var/lib/pacman/db.lck"
    lock.touch()
    os.utime(lock, (0, 0))
    assert updates.running(root, proc) == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/usr/bin/apt-get", "install", "x"], "apt-get"),
        (["/bin/sh", "/usr/sbin/update-initramfs", "-u"], "update-initramfs"),
        (["/bin/bash", "-e", "/usr/bin/mkinitcpio", "-P"], "mkinitcpio"),
        (["/usr/bin/python3.13", "-b", "/usr/lib/python-exec/python3.13/emerge", "x"], "emerge"),
        (["/usr/bin/python3", "/usr/bin/dnf", "upgrade"], "dnf"),
        (["depmod", "-a"], "depmod"),
        (["/bin/bash", "/usr/bin/dracut", "--force"], "dracut"),
        (["kernel-install", "add"], "kernel-install"),
        (["/usr/bin/python3", "./setup-server-os"], "setup-server-os"),
    ],
)
def test_a_program_at_work(root: Path, proc: Path, words: list[str], name: str) -> None:
    process(proc, 42, *words)
    assert updates.running(root, proc) == [f"{name} (process 42)"]


@pytest.mark.parametrize(
    "words",
    [
        [],  # a kernel thread
        ["/usr/bin/vim", "/usr/sbin/update-initramfs"],
        ["/usr/bin/python3", "/usr/share/unattended-upgrades/unattended-upgrade-shutdown"],
        ["/bin/sh"],
        ["/usr/lib/packagekitd"],
    ],
)
def test_a_program_that_may_be_stopped(root: Path, proc: Path, words: list[str]) -> None:
    process(proc, 42, *words)
    assert updates.running(root, proc) == []


def test_a_containers_package_manager_may_be_stopped(root: Path, proc: Path) -> None:
    process(proc, 42, "apt-get", "install", namespaces="\t7")
    assert updates.running(root, proc) == []


def test_a_process_that_has_just_ended(root: Path, proc: Path) -> None:
    (proc / "42").mkdir()
    assert updates.running(root, proc) == []


def test_this_machine_can_be_asked() -> None:
    updates.running()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(inhibitors, "SYSTEMD", tmp_path)
    return Commands(tmp_path / "bin", monkeypatch)


def listed(commands: Commands, locks: list[list[str | int]]) -> None:
    answer = json.dumps({"type": "a(ssssuu)", "data": [locks]}, separators=(",", ":"))
    commands.add("busctl", f"cat <<'END'\n{answer}\nEND")


def test_who_blocks_a_shutdown_is_named(commands: Commands) -> None:
    listed(commands, LOCKS)
    (error,) = inhibitors.blocking()
    assert str(error) == "backup (process 4711, user 1000) inhibits a shutdown: a backup runs"
    (call,) = commands.calls("busctl")
    assert "--auto-start=no call org.freedesktop.login1" in call


def test_a_weak_lock_is_respected_too(commands: Commands) -> None:
    listed(commands, [["shutdown", "who", "why", "block-weak", 0, 1]])
    assert len(inhibitors.blocking()) == 1


def test_nobody_inhibits(commands: Commands) -> None:
    listed(commands, [])
    assert inhibitors.blocking() == []


def test_without_logind_nobody_can_inhibit(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.add("busctl", "echo 'Call failed: no such name' >&2; exit 1")
    assert inhibitors.blocking() == []
    assert "cannot ask logind who inhibits a shutdown: Call failed" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["", "{}", '{"data":[[["shutdown"]]]}', '{"data":[[1]]}', "[]"])
def test_an_answer_that_is_none(commands: Commands, answer: str) -> None:
    commands.add("busctl", f"echo '{answer}'")
    with pytest.raises(StiefelError, match="cannot understand"):
        inhibitors.blocking()


def test_without_systemd_nobody_is_asked(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inhibitors, "SYSTEMD", Path("/nonexistent"))
    commands.add("busctl", "exit 1")
    assert inhibitors.blocking() == []
    assert commands.calls("busctl") == []


def test_all_is_told_at_once(root: Path, proc: Path, commands: Commands) -> None:
    listed(commands, LOCKS)
    process(proc, 42, "dpkg", "-i")
    with pytest.raises(StiefelError) as caught:
        obstacles.refuse(obstacles.look(root=root, proc=proc))
    assert str(caught.value) == (
        "at work: dpkg (process 42) (wait until it is done); backup (process 4711, user 1000) "
        "inhibits a shutdown: a backup runs (systemd-inhibit --list shows who does)"
    )


def test_a_single_obstacle_keeps_its_hint() -> None:
    with pytest.raises(StiefelError, match=r"^what$") as caught:
        obstacles.refuse([StiefelError("what", hint="the way out")])
    assert caught.value.hint == "the way out"


def test_nothing_is_in_the_way(root: Path, proc: Path, commands: Commands) -> None:
    listed(commands, [])
    obstacles.refuse(obstacles.look(root=root, proc=proc))


def test_an_os_that_is_stiefeled_has_no_disk(tmp_path: Path) -> None:
    obstacles.require_own_disk(words="root=/dev/sda1 quiet", keeper=tmp_path / "none")
    for words, keeper in (
        ("root=/dev/nbd0p2 stiefel_link=52:54:00:00:00:01", tmp_path / "none"),
        ("quiet", tmp_path),
    ):
        with pytest.raises(StiefelError, match="this OS is stiefeled"):
            obstacles.require_own_disk(words=words, keeper=keeper)
