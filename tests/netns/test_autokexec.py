"""stiefel-autokexec hears desktops. Its ramdisk is missing on purpose: this machine stays up."""

from __future__ import annotations

import os

from stiefelsystem import files, keys
from tests.builds import REPO
from tests.netns.machines import Hub, Machine
from tests.processes import Program

CONFIG = """\
modules: [system-debian]
boot: {disk: /dev/vda, part: /dev/vda1, load: {cmdline: ro}}
autokexec: {delay: 7, macs: [02:00:00:00:00:07]}
server-setup:
  stiefelsystem-kernel: /nonexistent/stiefelsystem/vmlinuz
  stiefelsystem-initrd: /nonexistent/stiefelsystem/initrd
"""


MAC = "02:00:00:00:00:07"


def autokexec(laptop: Machine, *, key: bytes, plugged: bool = True) -> Program:
    """The program as it runs on a laptop's OS, on the distribution's own Python."""
    etc = laptop.data / "etc"
    etc.mkdir()
    (etc / "config.yaml").write_text(CONFIG)
    files.write(etc / "autokexec-key", keys.subkey(key, keys.AUTOKEXEC), mode=0o600)
    if plugged:
        laptop.bring_up()
    script = REPO / "autokexec/stiefel-autokexec"
    command = [script, "--etc", etc, "--run", laptop.data / "run"]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"}
    return Program(laptop.namespace_command(*command), env=environment)


def test_an_order_is_heard_and_a_failing_load_leaves_the_os_alone(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    with autokexec(laptop, key=hub.key) as service:
        service.wait_for("listening for a desktop")
        with desktop.client() as client:
            service.wait_for("a desktop on eth0 asks for this machine's disk", 30)
            client.wait_for("found the laptop on eth0; its OS stops in 7 s")
            # And whatever else keeps the machine that runs this test from serving.
            service.wait_for("cannot serve: .*cannot read the ramdisk")
            service.wait_for("listening for a desktop", count=2)
            assert "This OS stops" not in service.output


def test_a_link_that_software_makes_is_no_adapter(hub: Hub) -> None:
    """Whatever its MAC. The event is the kernel's own; an adapter is not to be had here."""
    laptop, desktop = hub.machine("laptop", plugged=False), hub.machine("desktop")
    with autokexec(laptop, key=hub.key, plugged=False) as service:
        service.wait_for(f"waiting for an adapter to be plugged in: {MAC}")
        for count in (1, 2):
            hub.plug_in(laptop, mac=MAC)
            service.wait_for(f"eth0 has the MAC {MAC}, but it is no wired adapter", count=count)
            if count == 1:
                hub.pull_out(laptop)
        # The other trigger is heard as ever, on a NIC that came later.
        laptop.bring_up()
        with desktop.client():
            service.wait_for("a desktop on eth0 asks for this machine's disk", 30)
            service.wait_for("cannot serve")


def test_another_key_is_told_by_both_and_orders_nothing(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop", key=b"\2" * 32)
    with autokexec(laptop, key=hub.key) as service:
        service.wait_for("listening for a desktop")
        with desktop.client() as client:
            client.wait_for("searching for the laptop", 30)
            client.wait_for("a peer with another key on eth0", 5)
            service.wait_for("a peer with another key on eth0", 5)
        assert "asks for this machine's disk" not in service.output


def test_an_order_is_heard_in_a_flood(hub: Hub) -> None:
    """Of questions, and of orders without the key, from many addresses."""
    laptop, desktop, stranger = (hub.machine(name) for name in ("laptop", "desktop", "stranger"))
    stranger.bring_up()
    with autokexec(laptop, key=hub.key) as service:
        service.wait_for("listening for a desktop")
        idle = service.memory("VmRSS")
        with stranger.script("flood.py", laptop.address()) as flood:
            flood.wait_for("flooded 2 times", 60)
            service.wait_for("a peer with another key on eth0")
            assert "asks for this machine's disk" not in service.output
            with desktop.client() as client:
                client.wait_for("found the laptop on eth0", 60)
                service.wait_for("a desktop on eth0 asks for this machine's disk")
        assert service.memory("VmHWM") - idle < 16 << 20
        assert "Traceback" not in service.output
