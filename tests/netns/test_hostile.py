"""Peers that lie, flood, stall and die: an honest desktop gets its disk all the same."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.netns.machines import Hub, Machine, fill_laptop
from tests.netns.test_boot import assert_received, nbdinfo, receive
from tests.processes import Program

MEBIBYTE = 1 << 20


def test_garbage_and_what_is_too_large(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    desktop.bring_up()
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        with desktop.script("garbage.py", laptop.address()) as garbage:
            assert garbage.wait(60) == 0, garbage.output
        receive(desktop)
        assert "Traceback" not in server.output


def test_a_flood_from_many_addresses(hub: Hub) -> None:
    laptop, desktop, stranger = (hub.machine(name) for name in ("laptop", "desktop", "stranger"))
    fill_laptop(laptop)
    stranger.bring_up()
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        idle = server.memory("VmRSS")
        with stranger.script("flood.py", laptop.address()) as flood:
            flood.wait_for("flooded 2 times", 60)
            with desktop.client() as client:
                assert client.wait(90) == 0, client.output
            flood.wait_for("flooded", count=4)
        server.wait_for("is open to it, and to nobody else")
        assert server.memory("VmHWM") - idle < 64 * MEBIBYTE
        assert "Traceback" not in server.output
        # And all of that on a few lines.
        assert server.output.count("\n") < 40
    assert_received(laptop, desktop)


_HOLD = """
import socket, sys, time
many = []
for _ in range(300):
    one = socket.create_connection((sys.argv[1] + "%eth0", 4644), 5)
    many.append(one)
print("holding", flush=True)
while True:
    for one in many:
        try:
            one.send(b"P")
        except OSError:
            pass
    time.sleep(1)
"""


def test_who_holds_connections_open_keeps_nobody_out(hub: Hub) -> None:
    """A trickle of bytes on each, so that none of them is ever idle."""
    laptop, desktop, stranger = (hub.machine(name) for name in ("laptop", "desktop", "stranger"))
    fill_laptop(laptop)
    stranger.bring_up()
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        command = [sys.executable, "-c", _HOLD, laptop.address()]
        with Program(stranger.namespace_command(*command)) as holder:
            holder.wait_for("holding", 60)
            client = receive(desktop)
            assert holder.process.poll() is None
        assert "trying again" not in client.output


_TRICKLE = """
import socket, sys
one = socket.create_connection((sys.argv[1] + "%eth0", 4644), 5)
one.settimeout(0.5)
print("waiting", flush=True)
while True:
    try:
        one.send(b"P")
        if not one.recv(1):
            break
    except TimeoutError:
        continue
    except OSError:
        break
print("hung up on", flush=True)
"""


def test_a_request_that_never_ends_is_hung_up_on(hub: Hub) -> None:
    """Though there is room for it, and it is never idle."""
    laptop, stranger = hub.machine("laptop"), hub.machine("stranger")
    fill_laptop(laptop)
    stranger.bring_up()
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        command = [sys.executable, "-c", _TRICKLE, laptop.address()]
        with Program(stranger.namespace_command(*command)) as trickle:
            trickle.wait_for("waiting")
            trickle.wait_for("hung up on", 30)


def test_a_rogue_server_that_answers_first(hub: Hub) -> None:
    laptop, desktop, rogue = (hub.machine(name) for name in ("laptop", "desktop", "rogue"))
    fill_laptop(laptop)
    rogue.bring_up()
    with rogue.script("rogue.py") as liar, desktop.client() as client:
        liar.wait_for("lying in wait")
        liar.wait_for("has answered", count=3)
        client.wait_for("a peer with another key on eth0")
        with laptop.server() as server:
            assert client.wait(60) == 0, client.output
            server.wait_for("is open to it, and to nobody else")
        assert "somebody has called" not in liar.output
        assert "its OS stops" not in client.output
    assert_received(laptop, desktop)


def test_a_server_that_is_ended_while_it_sends(hub: Hub) -> None:
    """It ends by the signal, and the client starts over."""
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop, initrd_size=200 * MEBIBYTE)
    with desktop.client() as client:
        with laptop.server() as server:
            server.wait_for("sending", 60)
            server.stop()
        assert server.process.returncode == 128 + signal.SIGTERM, server.output
        # What its threads print when Python ends under them, and may not.
        assert "libgcc" not in server.output
        client.wait_for("trying again in")


@pytest.mark.parametrize("step", ["offer", "session", "half", "silent", "received"])
def test_a_client_that_dies(hub: Hub, step: str) -> None:
    """With the key, at every step: its own machine is served again at once; another one too,
    unless the disk is handed to the first already, and then as soon as it shows to be dead."""
    laptop, desktop, other = (hub.machine(name) for name in ("laptop", "desktop", "other"))
    fill_laptop(laptop, initrd_size=40 * MEBIBYTE)
    desktop.bring_up()
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        with desktop.script("dying.py", desktop.data / "key", step) as dying:
            dying.wait_for(f"stops at {step}", 60)
            if step != "received":
                with other.client() as client:
                    assert client.wait(60) == 0, client.output
                assert ("the disk is in use" in client.output) == (step == "silent")
                assert_received(laptop, other)
            else:
                receive(desktop)
                assert_received(laptop, desktop)
        assert "Traceback" not in server.output


def test_a_cable_that_loses_repeats_and_reorders(hub: Hub) -> None:
    laptop, desktop = (hub.machine(name, plugged=False) for name in ("laptop", "desktop"))
    fill_laptop(laptop, initrd_size=8 * MEBIBYTE)
    faults = ["--lose", "0.02", "--repeat", "0.05", "--swap", "0.05"]
    hub.plug_in_by_cable(laptop, desktop, *faults)
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for("is open to it, and to nobody else")
    assert_received(laptop, desktop)


_OTHER_VERSION = """
from stiefelsystem import messages
messages.VERSION = 2
from stiefelsystem.ramdisk import client
client.main()
"""


def test_another_version_is_named_on_both_sides(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    command = desktop.inside("python3", "-I", "-u", "-c", _OTHER_VERSION)
    words = ["--key", "/mnt/key", "--cmdline", "", "--receive", "/mnt"]
    with laptop.server() as server, Program([*command, *words]) as client:
        server.wait_for(
            "eth0: the peer speaks version 2 of the protocol, this program speaks 1", 60
        )
        client.wait_for("eth0: the peer speaks version 1 of the protocol, this program speaks 2")
        client.wait_for("build both sides from the same version")


def test_memory_is_constant(hub: Hub) -> None:
    """However large the archive is, on both sides."""
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop, initrd_size=400 * MEBIBYTE)
    with laptop.server() as server, desktop.client() as client:
        server.wait_for("serving, waiting for the desktop")
        served = server.memory("VmRSS")
        client.wait_for("the laptop serves on eth0", 60)
        received = client.memory("VmRSS")
        peak = received
        while client.process.poll() is None:
            peak = max(peak, client.memory("VmHWM"))
        assert client.wait() == 0, client.output
        assert server.memory("VmHWM") - served < 64 * MEBIBYTE
        assert peak - received < 64 * MEBIBYTE
    assert_received(laptop, desktop)


def sockets(machine: Machine) -> set[tuple[str, str]]:
    """Protocol and local port of all sockets of a machine on which somebody listens."""
    command = machine.namespace_command("ss", "-Hlntu")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    words = [line.split() for line in done.stdout.splitlines()]
    return {(word[0], word[4].rpartition(":")[2]) for word in words}


def test_what_listens(hub: Hub) -> None:
    """Nothing but our two ports, and the disk's once somebody has proved the key."""
    laptop, desktop, stranger = (hub.machine(name) for name in ("laptop", "desktop", "stranger"))
    fill_laptop(laptop)
    stranger.bring_up()
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        ours = {("udp", "61570"), ("tcp", "4644")}
        assert sockets(laptop) == ours
        receive(desktop)
        server.wait_for("is open to it, and to nobody else")
        assert sockets(laptop) == ours | {("tcp", "10809"), ("udp", "61571")}
        assert nbdinfo(stranger, laptop).returncode != 0
