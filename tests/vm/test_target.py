"""What the laptop's OS is like on the desktop, and how its sessions end: a real Debian.

In one go: it kexecs the desktop's own ramdisk, which opens a second session, and reboots then. The
laptop waits each time, as its configuration says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem import cmdline
from stiefelsystem.host.laptop import Laptop
from stiefelsystem.host.vm import VirtualMachine
from tests import builds
from tests.vm import two
from tests.vm.console import ask, log_in

# Into the ramdisk that the laptop has for itself, as the desktop's: both are one.
_LOAD = f"""\
import shutil, sys
from pathlib import Path
sys.path.insert(0, "/usr/local/lib/stiefelsystem")
from stiefelsystem import cpio, kexec
with open("/run/ramdisk", "w+b") as out:
    with open("/boot/stiefelsystem/initrd", "rb") as image:
        shutil.copyfileobj(image, out)
    cpio.append(out, Path("/etc/stiefelsystem/ramdisk.key.cpio").read_bytes())
    out.flush()
    kexec.load(Path("/boot/stiefelsystem/vmlinuz"), out, "{cmdline.CLIENT_UNIT} {two.CONSOLE}")
"""


def look_around(desktop: VirtualMachine) -> None:
    """Swap, sleep, watchdogs, the keeper's place and rank: on a disk at the end of a cable."""
    two.look_at_keeper(desktop)
    # Not the disk's swap partition, though /etc/fstab names it.
    assert ask(desktop, "swapon --noheadings --show=NAME") == "/dev/zram0"
    masked = ask(desktop, "systemctl is-enabled suspend.target hibernate.target")
    assert masked == "masked-runtime masked-runtime"
    for unit in ("systemd-journald", "systemd-udevd"):
        assert ask(desktop, f"systemctl show -P WatchdogUSec {unit}") in ("0", "infinity")
    assert ask(
        desktop, "networkctl --no-legend list stiefellink | tr -s ' ' '\\n' | tail -n 1"
    ) == ("unmanaged")
    assert ask(desktop, "cat /sys/block/nbd0/queue/write_cache") == "write back"
    # The secrets are in the keeper's memory, and nowhere else.
    places = "/stiefelsystem/session /run/initramfs/stiefelsystem/session"
    assert ask(desktop, f"ls {places} 2>/dev/null | wc -l") == "0"


@pytest.fixture
def parts() -> tuple[Path, Laptop]:
    return two.parts()


def test_two_sessions(parts: tuple[Path, Laptop], tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    two.copy_disk(parts[1], disk)
    with two.both(parts, disk) as (server, desktop):
        log_in(desktop)
        assert ask(desktop, "uname -r") == builds.new_kernel(parts[1])
        look_around(desktop)
        ask(desktop, "echo first >/root/twice")
        desktop.type(f"python3 - <<'END'\n{_LOAD}END\n")
        desktop.type("systemctl kexec\n")
        server.wait_for(two.ENDED, two.SECONDS)

        at, seen = server.position, desktop.position
        desktop.wait_for("the laptop serves on", two.SECONDS, after=seen)
        log_in(desktop, after=seen)
        assert ask(desktop, "cat /root/twice") == "first"
        ask(desktop, "echo second >>/root/twice")
        desktop.type("systemctl reboot\n")
        desktop.wait_until_off(two.SECONDS)
        server.wait_for(two.ENDED, two.SECONDS, after=at)
        server.press_ctrl_alt_delete()
        server.wait_until_off(two.SECONDS)
    two.verify(disk, "/root/twice", "first\nsecond\n")
    disk.unlink()
