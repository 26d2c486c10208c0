"""autokexec as a service: started with each boot, and now, if this is the OS that runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stiefelsystem.host.preflight import init
from stiefelsystem.host.server_os.parts import copy
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Command, Step, WriteFiles, unit

NAME = "stiefel-autokexec"
UNIT = f"{NAME}.service"
# With the hook and the initrd: without these, this OS would stop for a desktop that cannot boot it.
_NEEDS = ("packages", "programs", "settings", "keys", "ramdisk", "hook", "initrd")
# Also where this system does not run, as in a tree; and what was not started by us is ended, too.
_STOP = f"if [ -d /run/systemd/system ]; then systemctl stop {UNIT}; fi"
_STOP_OPENRC = f"if [ -d /run/openrc ]; then rc-service {NAME} stop; fi"
_PURPOSES = {
    "service": "what waits for a desktop",
    "enable": "start it with each boot",
    "start": "start it now",
}


def steps(root: Root) -> list[Step]:
    """The service is written, enabled, and started."""
    running = root.path == Path("/")
    if init.name(root) == init.OPENRC:
        return _openrc(root, started=running and Path("/run/openrc").is_dir())
    return _systemd(root, started=running and Path("/run/systemd/system").is_dir())


def _systemd(root: Root, *, started: bool) -> list[Step]:
    steps: list[Step] = [
        WriteFiles(
            id="service",
            purpose=_PURPOSES["service"],
            needs=_NEEDS,
            files=(copy(f"autokexec/{UNIT}", f"/etc/systemd/system/{UNIT}"),),
        ),
        replace(
            unit(UNIT, root=root, id="enable", purpose=_PURPOSES["enable"], needs=("service",)),
            take_back=("sh", "-ec", f"systemctl disable {UNIT}; {_STOP}"),
        ),
    ]
    if started:
        # A unit that was changed has to be read again first.
        restart = f"systemctl daemon-reload && systemctl restart {UNIT}"
        steps.append(_start(("sh", "-c", restart), ("sh", "-ec", _STOP)))
    return steps


def _openrc(root: Root, *, started: bool) -> list[Step]:
    steps: list[Step] = [
        WriteFiles(
            id="service",
            purpose=_PURPOSES["service"],
            needs=_NEEDS,
            files=(copy(f"autokexec/{NAME}.openrc", f"/etc/init.d/{NAME}", mode=0o755),),
        ),
        Command(
            id="enable",
            purpose=_PURPOSES["enable"],
            needs=("service",),
            argv=("rc-update", "add", NAME, "default"),
            take_back=("sh", "-ec", f"rc-update --all delete {NAME}; {_STOP_OPENRC}"),
            needed=lambda: not root.place(f"/etc/runlevels/default/{NAME}").is_symlink(),
        ),
    ]
    if started:
        steps.append(_start(("rc-service", NAME, "restart"), ("sh", "-ec", _STOP_OPENRC)))
    return steps


def _start(argv: tuple[str, ...], take_back: tuple[str, ...]) -> Command:
    """Also after each change of what it runs."""
    return Command(
        id="start",
        purpose=_PURPOSES["start"],
        needs=(*_NEEDS, "service", "enable"),
        argv=argv,
        take_back=take_back,
    )
