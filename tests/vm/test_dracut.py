"""A real Debian on the desktop whose initrd was made by dracut, with systemd in it."""

from __future__ import annotations

from pathlib import Path

from tests import builds
from tests.vm import two
from tests.vm.console import ask, log_in

_FILE = "/root/written"


def test_a_session(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    parts = two.parts(builds.DRACUT)
    with two.both(parts, disk) as (server, desktop):
        desktop.wait_for("the laptop's disk is /dev/nbd0", two.SECONDS)
        log_in(desktop)
        assert ask(desktop, "uname -r") == builds.new_kernel(parts[1])
        keeper = two.look_at_keeper(desktop)
        # It has outlived the unit that started it, and dracut has no last program of its own.
        assert ask(desktop, f"cat /proc/{keeper}/cgroup") == "0::/init.scope"
        assert ask(desktop, "systemctl is-enabled dracut-shutdown.service") == "masked-runtime"
        ask(desktop, f"echo from the desktop >{_FILE}")
        desktop.type("systemctl poweroff\n")
        desktop.wait_until_off(two.SECONDS)
        server.wait_for(two.ENDED, two.SECONDS)
        server.press_ctrl_alt_delete()
        server.wait_until_off(two.SECONDS)
    two.verify(disk, _FILE, "from the desktop\n")
    disk.unlink()
