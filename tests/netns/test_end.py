"""The end of a session, and of the server: when the desktop is done, and when nobody comes."""

from __future__ import annotations

import secrets
import subprocess

import pytest

from tests.netns.machines import Hub, Machine, fill_laptop
from tests.netns.test_boot import ONE, nbd_uri, nbdinfo, receive

OPEN = "is open to it, and to nobody else"
DONE = "is done; the disk is closed, and has everything"


def farewell(desktop: Machine, *words: str) -> str:
    """What the desktop's keeper hears when it says that it is done."""
    with desktop.script("farewell.py", desktop.data / "session", *words) as script:
        assert script.wait(30) == 0, script.output
    return script.output.strip()


def machines(hub: Hub, *names: str) -> list[Machine]:
    laptop, *desktops = (hub.machine(name) for name in ("laptop", *names))
    fill_laptop(laptop)
    return [laptop, *desktops]


@pytest.mark.parametrize("after", ["reboot", "poweroff"])
def test_a_desktop_that_is_done(hub: Hub, after: str) -> None:
    laptop, desktop = machines(hub, "desktop")
    written = desktop.data / "written"
    written.write_bytes(secrets.token_bytes(8 << 20))
    with laptop.server(f"stiefel_after={after}") as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for(OPEN)
        # What it ends with, the kernel's client does in its own way: here, no flush comes before.
        command = desktop.namespace_command("nbdcopy", *ONE, written, nbd_uri(laptop))
        subprocess.run(command, check=True, timeout=60)
        assert farewell(desktop) == "confirmed"
        assert DONE in server.output
        assert nbdinfo(desktop, laptop).returncode != 0
        # Its answer may have been lost.
        assert farewell(desktop) == "confirmed"
        assert server.output.count(DONE) == 1
        # By hand, it only ends: the machine is not the server's alone.
        assert server.wait(30) == 0, server.output
        assert f"the session is over: {after}" in server.output
    assert (laptop.data / "disk.img").read_bytes() == written.read_bytes()


def test_who_does_not_know_the_secret_ends_nothing(hub: Hub) -> None:
    laptop, desktop = machines(hub, "desktop")
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for(OPEN)
        for wrong in (secrets.token_hex(32), desktop.session()["ended"], ""):
            assert farewell(desktop, wrong) == "not confirmed"
        assert nbdinfo(desktop, laptop).returncode == 0
        assert DONE not in server.output


def test_waiting_for_the_next_desktop(hub: Hub) -> None:
    laptop, first, second = machines(hub, "first", "second")
    with laptop.server("stiefel_after=wait") as server:
        server.wait_for("serving, waiting for the desktop")
        receive(first)
        server.wait_for(OPEN)
        assert farewell(first) == "confirmed"
        # At once, not only after the time that a desktop has to come back.
        receive(second)
        server.wait_for(OPEN, count=2)
        assert nbdinfo(second, laptop).returncode == 0
        assert nbdinfo(first, laptop).returncode != 0
        assert farewell(first) == "not confirmed"
        assert "the session is over" not in server.output
        assert nbdinfo(second, laptop).returncode == 0


def test_nobody_comes(hub: Hub) -> None:
    (laptop,) = machines(hub)
    with laptop.server("stiefel_wait=2") as server:
        assert server.wait(60) == 0, server.output
    assert "no desktop for 2 s: back to this machine's own OS" in server.output


def test_somebody_has_the_disk_for_longer_than_that(hub: Hub) -> None:
    """The time counts from the end of a session; then nobody comes."""
    laptop, desktop = machines(hub, "desktop")
    with laptop.server("stiefel_wait=3 stiefel_after=wait") as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for(OPEN)
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(5)
        assert farewell(desktop) == "confirmed"
        assert server.wait(30) == 0, server.output
    assert "no desktop for 3 s" in server.output
