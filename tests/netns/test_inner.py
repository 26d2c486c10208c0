"""What listens inside of the tunnel is not reached past it, though the ramdisk has no firewall: a
socket at a link-local address hears its own interface alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.netns.machines import Hub, Machine, fill_laptop
from tests.processes import Program


def ip(machine: Machine, *words: str) -> None:
    subprocess.run(["ip", "-n", machine.name, *words], check=True)


def make_tunnel(laptop: Machine) -> None:
    ip(laptop, "link", "add", "stiefeltun", "type", "bridge")
    ip(laptop, "link", "set", "stiefeltun", "up")
    ip(laptop, "address", "add", "fe80::1/64", "dev", "stiefeltun", "nodad")


def listening(laptop: Machine, client: str) -> Program:
    code = Path(__file__).with_name("inside.py").read_text()
    return Program(laptop.inside("python3", "-I", "-u", "-c", code, client))


def knock(machine: Machine, senders: list[str], *addresses: str) -> Program:
    return machine.script("knocking.py", ",".join(senders), *addresses)


def test_nobody_gets_in_past_the_tunnel(hub: Hub) -> None:
    laptop, attacker = hub.machine("laptop"), hub.machine("attacker")
    fill_laptop(laptop)
    for machine in (laptop, attacker):
        machine.bring_up()
    make_tunnel(laptop)
    ip(attacker, "address", "add", "fe80::2/64", "dev", "eth0", "nodad")
    senders = [attacker.address(), "fe80::2"]
    with listening(laptop, "fe80::2") as inside:
        inside.wait_for("listening inside")
        # Nobody says on the cable that the address is here.
        with knock(attacker, senders, "fe80::1") as knocking:
            knocking.wait_for("done", 60)
        assert "to fe80::1 port" not in inside.output
        # So the attacker tells itself.
        ip(attacker, "neigh", "replace", "fe80::1", "lladdr", laptop.mac(), "dev", "eth0")
        with knock(attacker, senders, "fe80::1", laptop.address()) as knocking:
            knocking.wait_for("done", 60)
        # It is not that nothing arrives.
        for sender in senders:
            for to in ("fe80::1", laptop.address()):
                for port in (10809, 61571):
                    assert f"came from {sender} to {to} port {port}" in inside.output
        assert knocking.output.count(": not connected") == 4
        assert knocking.output.count(": not answered") == 4
        assert "CONNECTED" not in knocking.output
        assert "ANSWERED" not in knocking.output
        assert "heard a farewell" not in inside.output


def test_who_is_inside_gets_in(hub: Hub) -> None:
    """The same knocks, from where they may come."""
    laptop, desktop = hub.machine("laptop", plugged=False), hub.machine("desktop")
    fill_laptop(laptop)
    make_tunnel(laptop)
    # The desktop's cable ends in what stands for the tunnel.
    ip(desktop, "link", "delete", "eth0")
    hub.join((laptop, "tocable"), (desktop, "eth0"))
    hub.plug_in(laptop)
    laptop.bring_up()
    laptop.bring_up("tocable")
    ip(laptop, "link", "set", "tocable", "master", "stiefeltun")
    desktop.bring_up()
    ip(desktop, "address", "add", "fe80::2/64", "dev", "eth0", "nodad")
    with listening(laptop, "fe80::2") as inside:
        inside.wait_for("listening inside")
        with knock(desktop, ["fe80::2"], "fe80::1") as knocking:
            knocking.wait_for("done", 60)
        assert "fe80::2 to fe80::1: CONNECTED, and told b'NBDMAGIC" in knocking.output
        assert "fe80::2 to fe80::1: ANSWERED" in knocking.output
        assert "heard a farewell" in inside.output
