"""The laptop's adapter is pulled out, and comes back in another port: a new interface, its MAC."""

from __future__ import annotations

from tests.netns.machines import Hub, fill_laptop
from tests.netns.test_boot import nbdinfo, receive
from tests.netns.test_end import DONE, OPEN, farewell


def test_the_disk_follows_the_adapter(hub: Hub) -> None:
    laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
    fill_laptop(laptop)
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        receive(desktop)
        server.wait_for(OPEN)
        assert nbdinfo(desktop, laptop).returncode == 0
        for time in (1, 2):
            with desktop.script("holding.py", desktop.data / "session", "600") as holding:
                holding.wait_for("has the disk")
                hub.plug_in(laptop, mac=hub.pull_out(laptop))
                server.wait_for("the adapter is in another port", count=time)
            # By the same address and name, which is all that the desktop's keeper knows.
            assert nbdinfo(desktop, laptop).returncode == 0, server.output
        assert "has died" not in server.output
        # It has rebooted, and is still who it was.
        receive(desktop)
        server.wait_for(OPEN, count=2)
        hub.plug_in(laptop, mac=hub.pull_out(laptop))
        server.wait_for("the adapter is in another port", count=3)
        assert farewell(desktop) == "confirmed"
        assert DONE in server.output
