"""One boot over a real link: discovery, archive, and the disk for the right client alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import capabilities
from tests.netns.machines import Hub, Machine, fill_laptop
from tests.processes import Program

NBD_PORT = 10809
# Of several connections, the laptop ends all but the last one.
ONE = ["--connections=1"]


def nbd_uri(laptop: Machine) -> str:
    return f"nbd://[{laptop.address()}%25eth0]:{NBD_PORT}/{laptop.export()}"


def nbdinfo(machine: Machine, laptop: Machine, *options: str) -> subprocess.CompletedProcess[str]:
    """A foreign NBD client's view of the export."""
    command = machine.namespace_command("nbdinfo", *options, nbd_uri(laptop))
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def receive(desktop: Machine) -> Program:
    with desktop.client() as client:
        assert client.wait(60) == 0, client.output
    return client


def test_desktop_gets_kernel_initrd_and_disk(hub: Hub) -> None:
    laptop, desktop, stranger = (hub.machine(name) for name in ("laptop", "desktop", "stranger"))
    fill_laptop(laptop)
    stranger.bring_up()
    desktop.bring_up()
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        assert nbdinfo(desktop, laptop).returncode != 0, "the disk is open before anyone proved"
        receive(desktop)
        for name, original in (("kernel", "vmlinuz-6.12"), ("initrd", "initrd.img-6.12")):
            assert (desktop.data / name).read_bytes() == (
                laptop.data / "boot" / original
            ).read_bytes()
        words = (desktop.data / "cmdline").read_text().split()
        assert words == ["root=X", "ro", f"stiefel_link={desktop.mac()}", "systemd.swap=0"]
        session = desktop.session()
        assert (session["mac"], session["encryption"]) == (desktop.mac(), "none")
        assert session["server"] == laptop.address()
        assert session["address"] == desktop.address()
        assert (desktop.data / "session").stat().st_mode & 0o777 == 0o600

        server.wait_for("is open to it, and to nobody else")
        size = (laptop.data / "disk.img").stat().st_size
        assert nbdinfo(desktop, laptop, "--size").stdout.strip() == str(size)
        assert nbdinfo(desktop, laptop, "--can", "flush").returncode == 0
        refused = nbdinfo(stranger, laptop)
        assert refused.returncode != 0, refused.stdout
        copy = desktop.data / "copy"
        command = desktop.namespace_command("nbdcopy", *ONE, nbd_uri(laptop), copy)
        subprocess.run(command, check=True, timeout=60)
        assert copy.read_bytes() == (laptop.data / "disk.img").read_bytes()


def test_written_through_nbd_is_in_the_image(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    written = desktop.data / "written"
    written.write_bytes(bytes(range(256)) * (8 << 12))
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for("is open to it, and to nobody else")
        command = desktop.namespace_command("nbdcopy", *ONE, "--flush", written, nbd_uri(laptop))
        subprocess.run(command, check=True, timeout=60)
        assert (laptop.data / "disk.img").read_bytes() == written.read_bytes()


def test_disk_is_closed_when_the_server_ends(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for("is open to it, and to nobody else")
        assert nbdinfo(desktop, laptop).returncode == 0
    assert nbdinfo(desktop, laptop).returncode != 0


def test_wrong_key_is_told_by_both_and_nothing_else_happens(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop", key=b"\1" * 32)
    fill_laptop(laptop)
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        with desktop.client() as client:
            client.wait_for("searching for the laptop", 20)
            client.wait_for("a peer with another key on eth0", 5)
            server.wait_for("a peer with another key on eth0", 5)
            # Several more rounds of discovery bring no more than that.
            client.wait_for("a peer with another key on eth0", 30, count=2)
        assert "the laptop serves" not in client.output
        assert "sending" not in server.output
        assert nbdinfo(desktop, laptop).returncode != 0
    assert not (desktop.data / "kernel").exists()


def test_second_desktop_is_told_and_waits(hub: Hub) -> None:
    laptop, first, second = (hub.machine(name) for name in ("laptop", "first", "second"))
    fill_laptop(laptop)
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        receive(first)
        server.wait_for("is open to it, and to nobody else")
        with second.client() as client:
            client.wait_for("the disk is in use")
            client.wait_for("trying again in")
            client.wait_for("the disk is in use", count=2)
        assert nbdinfo(first, laptop).returncode == 0
        assert nbdinfo(second, laptop).returncode != 0


def test_rebooted_desktop_gets_a_new_session(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for("is open to it, and to nobody else")
        with stale_connection(desktop, laptop) as stale:
            stale.wait_for("connected")
            receive(desktop)
            server.wait_for("is open to it, and to nobody else", count=2)
            # The session before it was fenced off first.
            stale.wait_for("ended by the server")
        assert nbdinfo(desktop, laptop).returncode == 0


_STALE = """
import socket, sys
one = socket.create_connection((sys.argv[1] + "%eth0", int(sys.argv[2])))
one.recv(18)
print("connected", flush=True)
one.settimeout(60)
while one.recv(4096):
    pass
print("ended by the server", flush=True)
"""


def stale_connection(desktop: Machine, laptop: Machine) -> Program:
    """An NBD connection that has been greeted, and then stays silent."""
    command = [sys.executable, "-c", _STALE, laptop.address(), str(NBD_PORT)]
    return Program(desktop.namespace_command(*command))


def test_missing_disk_is_named_on_both_consoles(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    with laptop.server(disk="/dev/disk/by-id/none") as server:
        server.wait_for("serving, waiting for the desktop")
        with desktop.client() as client:
            # Its driver may still find it; the client asks until that is over.
            client.wait_for("not ready yet: /dev/disk/by-id/none is not there yet", 20)
            server.wait_for("cannot serve: there is no /dev/disk/by-id/none on this machine", 60)
            server.wait_for("check boot.disk")
            client.wait_for("the laptop cannot serve: there is no /dev/disk/by-id/none", 60)
            client.wait_for("trying again in")
            assert client.output.count("not ready yet") == 1


def test_a_disk_that_comes_late_is_waited_for(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    late = (laptop.data / "disk.img").rename(laptop.data / "late.img")
    with laptop.server() as server, desktop.client() as client:
        client.wait_for("not ready yet: /mnt/disk.img is not there yet", 20)
        late.rename(laptop.data / "disk.img")
        assert client.wait(30) == 0, client.output
        server.wait_for("is open to it, and to nobody else")
        assert nbdinfo(desktop, laptop).returncode == 0
        assert "cannot serve" not in server.output
        # All of that is one attempt, and one line about it.
        assert client.output.count("not ready yet") == 1
        assert client.output.count("the laptop serves on") == 1
        assert "trying again" not in client.output
    assert_received(laptop, desktop)


def test_missing_kernel_is_named(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    (laptop.data / "boot/initrd.img-6.12").unlink()
    with laptop.server() as server, desktop.client() as client:
        client.wait_for(r"has no vmlinuz-\* with its initrd.img-\*", 60)
        server.wait_for(r"has no vmlinuz-\* with its initrd.img-\*")
        assert nbdinfo(desktop, laptop).returncode != 0


def test_client_waits_for_an_interface_and_a_cable(hub: Hub) -> None:
    laptop = hub.machine("laptop")
    desktop = hub.machine("desktop", plugged=False)
    fill_laptop(laptop)
    with laptop.server() as server, desktop.client() as client:
        server.wait_for("serving, waiting for the desktop")
        client.wait_for("waiting for a wired network interface: there is none")
        other = hub.plug_in(desktop)
        assert client.wait(60) == 0
        assert other and (desktop.data / "kernel").exists()


def test_client_names_an_interface_without_cable(hub: Hub) -> None:
    desktop = hub.machine("desktop", plugged=False)
    other = hub.plug_in(desktop)
    subprocess.run(["ip", "-n", hub.name, "link", "set", other, "down"], check=True)
    with desktop.client() as client:
        client.wait_for("no cable is plugged in: eth0")
        subprocess.run(["ip", "-n", hub.name, "link", "set", other, "up"], check=True)
        client.wait_for("searching for the laptop on eth0")


def test_killed_server_leaves_a_truncated_archive_and_the_client_starts_over(hub: Hub) -> None:
    laptop = hub.machine("laptop", plugged=False)
    desktop = hub.machine("desktop", plugged=False)
    # It takes longer than a request may: that limit is not one for the answer.
    fill_laptop(laptop, initrd_size=60 << 20)
    hub.plug_in_by_cable(laptop, desktop, "--bytes-per-second", "5e6")
    with desktop.client() as client:
        with laptop.server() as server:
            client.wait_for("receiving ", 60)
            server.process.kill()
        client.wait_for("trying again in", 60)
        assert "the stream ended before its last frame" in client.output
        with laptop.server():
            assert client.wait(120) == 0, client.output
    assert_received(laptop, desktop)


def test_altered_archive_is_noticed_and_the_client_starts_over(hub: Hub) -> None:
    laptop = hub.machine("laptop", plugged=False)
    desktop = hub.machine("desktop", plugged=False)
    fill_laptop(laptop)
    cable = hub.plug_in_by_cable(laptop, desktop, "--flip-at", "1000000")
    with laptop.server() as server, desktop.client() as client:
        cable.wait_for("flipped a bit", 60)
        client.wait_for("was altered")
        client.wait_for("trying again in")
        assert client.wait(60) == 0, client.output
        server.wait_for("is open to it, and to nobody else")
    assert_received(laptop, desktop)


def assert_received(laptop: Machine, desktop: Machine) -> None:
    expected = (laptop.data / "boot/initrd.img-6.12").read_bytes()
    assert (desktop.data / "initrd").read_bytes() == expected
    left_over = [path for path in desktop.data.iterdir() if path.name.startswith("stiefel-")]
    assert not left_over


def test_a_served_disk_is_claimed(hub: Hub) -> None:
    """Nothing on the laptop can mount it meanwhile; with a loop device for the disk."""
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    attach = ["losetup", "--find", "--show", laptop.data / "disk.img"]
    done = subprocess.run(attach, capture_output=True, text=True, check=False)
    capabilities.require(done.returncode == 0, f"no loop devices: {done.stderr}")
    device = done.stdout.strip()
    try:
        with laptop.server(disk=device) as server:
            server.wait_for("serving, waiting for the desktop")
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
            receive(desktop)
            server.wait_for("is open to it, and to nobody else")
            with pytest.raises(OSError, match="busy"):
                os.open(device, os.O_RDONLY | os.O_EXCL)
        claimed = os.open(device, os.O_RDONLY | os.O_EXCL)
        with laptop.server(disk=device) as server, desktop.client() as client:
            client.wait_for(f"{device} is in use on this machine and cannot be served", 60)
            os.close(claimed)
            assert client.wait(60) == 0, client.output
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
