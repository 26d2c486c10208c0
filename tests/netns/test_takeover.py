"""A second desktop asks for a disk that another one has: whoever is at the laptop decides."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.netns.machines import Hub, Machine, fill_laptop
from tests.netns.test_boot import assert_received, nbdinfo, receive
from tests.processes import Program

OPEN = "is open to it, and to nobody else"


@pytest.fixture
def machines(hub: Hub) -> tuple[Machine, Machine, Machine]:
    """A laptop and two desktops."""
    laptop, first, second = (hub.machine(name) for name in ("laptop", "first", "second"))
    fill_laptop(laptop)
    return laptop, first, second


Machines = tuple[Machine, Machine, Machine]


def hold(laptop: Machine, desktop: Machine, server: Program, seconds: float) -> Program:
    """Get the disk, and keep it by a connection that is in use for so many seconds."""
    server.wait_for("serving, waiting for the desktop")
    receive(desktop)
    server.wait_for(OPEN)
    return desktop.script("holding.py", desktop.data / "session", str(seconds))


def type_line(console: Path, text: str) -> None:
    with console.open("w") as keyboard:
        keyboard.write(text + "\n")


def test_yes(machines: Machines) -> None:
    laptop, first, second = machines
    console = laptop.console()
    with laptop.server() as server, hold(laptop, first, server, 600) as holding:
        holding.wait_for("has the disk")
        with second.client() as client:
            server.wait_for("to give the disk to .*, type yes and Enter here")
            asked = server.output
            assert f"{second.address()}%eth0 asks for the disk" in asked
            assert f"{first.address()} has it, and uses it right now" in asked
            assert f"what {first.address()} has not written yet would be lost" in asked
            client.wait_for(f"the disk is in use by {first.address()}; asking again")
            client.wait_for("the laptop asks .*: type yes there")
            assert "has lost the disk" not in holding.output
            type_line(console, "yes")
            server.wait_for("confirmed")
            holding.wait_for("has lost the disk")
            holding.wait_for("does not get it again")
            assert client.wait(60) == 0, client.output
        server.wait_for(OPEN, count=2)
        assert_received(laptop, second)
        assert nbdinfo(second, laptop).returncode == 0
        assert nbdinfo(first, laptop).returncode != 0
        assert server.output.count("asks for the disk") == 1
        assert client.output.count("asking again") == 1


def test_no(machines: Machines) -> None:
    laptop, first, second = machines
    console = laptop.console()
    with laptop.server() as server, hold(laptop, first, server, 0) as holding:
        holding.wait_for("is silent")
        time.sleep(6)  # that it is told how long
        with second.client() as client:
            server.wait_for(f"{first.address()} has it, and has not used it for [0-9]+ s")
            type_line(console, "no")
            server.wait_for("that is not yes")
            client.wait_for("the laptop refuses: the disk is in use by")
            client.wait_for("press Ctrl-Alt-Del on the laptop")
            client.wait_for("trying again in")
            # A yes comes too late, and to no question.
            type_line(console, "yes")
            client.wait_for("the laptop refuses: the disk is in use by", count=2)
        assert "has lost the disk" not in holding.output
        assert "confirmed" not in server.output
        assert server.output.count("asks for the disk") == 1


def test_nobody_is_asked_for_who_has_another_key(hub: Hub, machines: Machines) -> None:
    laptop, first, _ = machines
    stranger = hub.machine("stranger", key=bytes(32))
    laptop.console()
    with laptop.server() as server, hold(laptop, first, server, 600) as holding:
        holding.wait_for("has the disk")
        with stranger.client() as client:
            client.wait_for("a peer with another key", 30, count=2)
        assert "asks for the disk" not in server.output
        assert "has lost the disk" not in holding.output
