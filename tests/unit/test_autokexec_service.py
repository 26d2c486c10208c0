"""From an order to the end of the laptop's OS, or to the reason why it goes on.

A real program with real signals; what it would do to this machine is stood in for: see
one_autokexec.py.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stiefelsystem import config, files
from stiefelsystem.laptop import cancel
from stiefelsystem.laptop.service import _adapters
from tests.builds import REPO
from tests.processes import Program
from tests.unit import one_autokexec
from tests.unit.standin_commands import Commands

ANNOUNCED = r"This OS stops in \d+ s, to run on another machine: a desktop asks. To cancel: \S+ --c"
WAITING = "waiting for an order"


class Laptop:
    """A machine's parts, and the programs that run on it."""

    def __init__(self, folder: Path, commands: Commands, stack: ExitStack) -> None:
        self.folder, self.commands, self._stack = folder, commands, stack
        self.loaded = folder / "kexec_loaded"
        self.loaded.write_text("0\n")
        for name in ("kernel", "initrd", "ramdisk.key.cpio"):
            (folder / name).write_bytes(name.encode())
        files.write(folder / "autokexec-key", bytes(32), mode=0o600)
        (folder / "run/systemd/system").mkdir(parents=True)
        os.mkfifo(folder / "orders")
        commands.add("wall", reads=True)
        # The mark of what is loaded is there before.
        commands.add(
            "kexec",
            f'case "$*" in *--unload*) echo 0 ;; *) [ -e "{folder}/run/loaded" ] && echo 1 ;; esac'
            f" >'{self.loaded}'",
        )
        # As systemd does, and soon: it ends the service that has called.
        commands.add("systemctl", "kill -TERM $PPID")
        self.delay(30)

    def delay(self, seconds: int) -> None:
        text = one_autokexec.CONFIG.replace("FOLDER", str(self.folder))
        (self.folder / "config.yaml").write_text(text.replace("DELAY", str(seconds)))

    def program(self, *options: str) -> Program:
        script = Path(one_autokexec.__file__)
        argv = [sys.executable, "-u", str(script), str(self.folder), *options]
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        return self._stack.enter_context(Program(argv, env=environment))

    def service(self) -> Program:
        program = self.program()
        program.wait_for(WAITING)
        return program

    def order(self, who: str = "desktop") -> None:
        (self.folder / "orders").write_text(f"{who}\n")

    def told(self) -> list[str]:
        """What everyone who is logged in has been told."""
        return [line for line in self.commands.calls("wall") if not line.startswith("wall")]

    def is_loaded(self) -> bool:
        return self.loaded.read_text() == "1\n"


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    with ExitStack() as stack:
        yield Laptop(tmp_path, Commands(tmp_path / "bin", monkeypatch), stack)


def test_an_order_stops_this_os(laptop: Laptop) -> None:
    laptop.delay(1)
    service = laptop.service()
    laptop.order()
    assert service.wait() == 0, service.output
    service.wait_for(ANNOUNCED)
    service.wait_for("stopping this OS")
    assert laptop.commands.calls("systemctl") == ["systemctl kexec"]
    (load,) = laptop.commands.calls("kexec")
    assert "--command-line=the words" in load
    assert laptop.is_loaded()
    assert len(laptop.told()) == 1


def test_what_is_loaded_is_image_and_secrets(laptop: Laptop) -> None:
    copy = laptop.folder / "copy"
    script = f"cat /proc/$PPID/fd/${{3##*/}} >'{copy}'; echo 1 >'{laptop.loaded}'"
    laptop.commands.add("kexec", script)
    laptop.delay(0)
    service = laptop.service()
    laptop.order()
    assert service.wait() == 0, service.output
    assert copy.read_bytes().rstrip(b"\0").startswith(b"initrd")
    assert copy.read_bytes().rstrip(b"\0").endswith(b"ramdisk.key.cpio")


def test_anyone_can_cancel(laptop: Laptop) -> None:
    service = laptop.service()
    laptop.order()
    service.wait_for(ANNOUNCED)
    assert laptop.is_loaded()
    assert (laptop.folder / "run/cancel").stat().st_mode & 0o777 == 0o666
    assert cancel.ask(laptop.folder / "run")
    service.wait_for("This OS goes on: cancelled by ")
    service.wait_for(WAITING, count=2)
    assert "the desktop fe80::1%2 is not answered until" in service.output
    assert "cannot serve" not in service.output
    assert not laptop.is_loaded()
    assert not (laptop.folder / "run/loaded").exists()
    assert not (laptop.folder / "run/cancel").exists()
    assert laptop.commands.calls("systemctl") == []
    assert [line.partition(":")[0].split(" in ")[0] for line in laptop.told()] == [
        "This OS stops",
        "This OS goes on",
    ]


def test_an_adapter_that_was_cancelled_is_no_desktop(laptop: Laptop) -> None:
    service = laptop.service()
    laptop.order("hand")
    service.wait_for("This OS stops in 30 s, to run on another machine: the adapter was plugged in")
    assert cancel.ask(laptop.folder / "run")
    service.wait_for(WAITING, count=2)
    assert "is not answered" not in service.output


def test_there_is_nothing_to_cancel(laptop: Laptop) -> None:
    assert not cancel.ask(laptop.folder / "run")
    laptop.service()
    assert not cancel.ask(laptop.folder / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_to_end_the_service_cancels_too(laptop: Laptop, number: signal.Signals) -> None:
    service = laptop.service()
    laptop.order()
    service.wait_for(ANNOUNCED)
    service.stop(number)
    service.wait_for("Cancelled: stiefel-autokexec was ended")
    assert not laptop.is_loaded()
    assert laptop.commands.calls("systemctl") == []
    # It may have been ended while it announced.
    assert laptop.told()[-1] == "Cancelled: stiefel-autokexec was ended"


def test_what_a_killed_program_has_loaded_is_forgotten(laptop: Laptop) -> None:
    service = laptop.service()
    laptop.order()
    service.wait_for(ANNOUNCED)
    service.stop(signal.SIGKILL)
    assert laptop.is_loaded()
    assert not cancel.ask(laptop.folder / "run")  # its socket is still there
    following = laptop.service()
    assert "a ramdisk was still loaded" in following.output
    assert not laptop.is_loaded()
    laptop.order()
    following.wait_for(ANNOUNCED)


def test_what_somebody_else_has_loaded_stays(laptop: Laptop) -> None:
    laptop.loaded.write_text("1\n")
    service = laptop.service()
    laptop.order()
    service.wait_for("cannot serve: somebody else has loaded a kernel")
    service.wait_for(WAITING, count=2)
    assert laptop.is_loaded()
    assert laptop.commands.calls("kexec") == []


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_failing_load_leaves_this_os_alone(laptop: Laptop, by_hand: bool) -> None:
    laptop.commands.add("kexec", "echo refused >&2; exit 1")
    service = laptop.service()
    laptop.order("hand" if by_hand else "desktop")
    service.wait_for("cannot serve: the running kernel refuses to load .*refused")
    service.wait_for(WAITING, count=2)
    assert "This OS" not in service.output
    assert laptop.commands.calls("systemctl") == []
    # Who has plugged something in looks at this machine, and not into its journal.
    assert len(laptop.told()) == by_hand


def test_all_obstacles_are_told_before_anyone_is_alarmed(laptop: Laptop) -> None:
    (laptop.folder / "busy").touch()
    (laptop.folder / "initrd").unlink()
    (laptop.folder / "run/systemd/system").rmdir()
    service = laptop.service()
    laptop.order()
    service.wait_for(
        "cannot serve: at work: apt .*; cannot tell how this OS is stopped .*; "
        "cannot read the ramdisk"
    )
    service.wait_for(WAITING, count=2)
    assert laptop.told() == laptop.commands.calls("kexec") == []


def test_an_update_that_begins_during_the_countdown(laptop: Laptop) -> None:
    laptop.delay(1)
    # Once it is loaded, all has been looked at; then the countdown begins.
    script = f"echo 1 >'{laptop.loaded}'; touch '{laptop.folder}/busy'"
    laptop.commands.add("kexec", f"[ $1 != --unload ] || exec echo 0 >'{laptop.loaded}'; {script}")
    service = laptop.service()
    laptop.order()
    service.wait_for("This OS goes on: at work: apt")
    service.wait_for(WAITING, count=2)
    assert laptop.commands.calls("systemctl") == []
    assert len(laptop.told()) == 2
    assert not laptop.is_loaded()


def test_what_was_unloaded_meanwhile(laptop: Laptop) -> None:
    laptop.delay(2)
    service = laptop.service()
    laptop.order()
    service.wait_for(ANNOUNCED)
    laptop.loaded.write_text("0\n")
    service.wait_for("This OS goes on: somebody has unloaded the ramdisk")
    assert laptop.commands.calls("systemctl") == []


def test_an_order_that_is_refused_by_the_init(laptop: Laptop) -> None:
    laptop.delay(0)
    laptop.commands.add("systemctl", "echo busy >&2; exit 1")
    service = laptop.service()
    laptop.order()
    service.wait_for("This OS goes on: systemctl kexec failed with status 1: busy")
    service.wait_for(WAITING, count=2)
    assert not laptop.is_loaded()
    assert service.process.poll() is None
    service.stop()


@pytest.mark.parametrize("number", ["TERM", "HUP", "INT"])
def test_now(laptop: Laptop, number: str) -> None:
    """Whichever signal the end of this OS sends first, the ramdisk stays loaded."""
    laptop.commands.add("systemctl", f"kill -{number} $PPID")
    program = laptop.program("--now")
    if os.geteuid() != 0:
        assert program.wait() == 1
        program.wait_for("--now needs root")
        return
    assert program.wait() == 0, program.output
    (told,) = laptop.told()
    assert told.startswith("This OS stops now")
    assert laptop.is_loaded()


def test_now_while_the_service_counts_down(laptop: Laptop) -> None:
    service = laptop.service()
    laptop.order()
    service.wait_for(ANNOUNCED)
    program = laptop.program("--now")
    assert program.wait() == 1
    if os.geteuid() == 0:
        program.wait_for("another program of stiefelsystem works in")
    assert laptop.is_loaded()
    assert laptop.commands.calls("systemctl") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_check(laptop: Laptop) -> None:
    program = laptop.program("--check")
    assert program.wait() == 0, program.output
    assert "this machine could serve now" in program.output
    assert len(laptop.commands.calls("kexec")) == 2
    assert not laptop.is_loaded()
    assert laptop.told() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda laptop: (laptop.folder / "busy").touch(), "at work: apt"),
        (lambda laptop: laptop.commands.add("kexec", "exit 1"), "refuses to load"),
        (lambda laptop: (laptop.folder / "kernel").unlink(), "cannot read the ramdisk"),
    ],
)
def test_check_says_why_not(laptop: Laptop, spoil: Callable[[Laptop], None], reason: str) -> None:
    spoil(laptop)
    program = laptop.program("--check")
    assert program.wait() == 1
    program.wait_for(reason)
    assert not laptop.is_loaded()


@pytest.mark.parametrize(
    ("settings", "missing", "there", "said"),
    [
        ("mac_detection: false, macs: [00:11:22:aa:bb:cc]", False, False, "mac_detection is off"),
        ("macs: []", False, False, ""),
        ("macs: [00:11:22:aa:bb:cc]", False, True, ""),
        ("macs: [00:11:22:aa:bb:cc]", True, False, "needs pyudev.*python3-pyudev"),
    ],
    ids=["switched off", "no MAC", "a MAC", "no pyudev"],
)
def test_when_adapters_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    settings: str,
    missing: bool,
    there: bool,
    said: str,
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, "pyudev", None)
    text = f"modules: [system-debian]\nboot: {{disk: /dev/vda}}\nautokexec: {{{settings}}}\n"
    found = _adapters(config.parse(text, name="test"))
    assert bool(found) is there
    assert re.search(said, capsys.readouterr().err)


def test_two_at_once(laptop: Laptop) -> None:
    service = laptop.service()
    with files.locked(laptop.folder / "run"):
        laptop.order()
        service.wait_for("cannot serve: another program of stiefelsystem works in")
    assert laptop.told() == []
