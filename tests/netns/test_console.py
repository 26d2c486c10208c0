"""How the server's unit has it at the console, in a container that boots the tree."""

from __future__ import annotations

from pathlib import Path

from stiefelsystem.host import debian
from tests.processes import Program

_FOLDER = "/etc/systemd/system/stiefel-server.service.d"
# In the place of the server, as systemd starts that.
_INSTEAD = f"""[Service]
ExecStart=
ExecStart=/usr/bin/python3 -I -u {_FOLDER}/look.py
"""
# What the server does to say and to hear something. Field 7 of proc_pid_stat(5) is the controlling
# terminal.
_LOOK = """
import time
from pathlib import Path
from stiefelsystem.console import say
from stiefelsystem.ramdisk import consoles
from stiefelsystem.ramdisk.keyboards import Keyboards

consoles.take_over()
where = consoles.inputs()
with Keyboards(where) as typed:
    controlled = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[4]
    say(f"heard at {where if typed else 'nothing'}, controlled by {controlled}")
    time.sleep(1000)
"""


def test_the_console_is_read_but_does_not_control(tree: Path, tmp_path: Path) -> None:
    """Else Ctrl-C at the laptop would end a session."""
    (tmp_path / "instead.conf").write_text(_INSTEAD)
    (tmp_path / "look.py").write_text(_LOOK)
    command = debian.boot_command(tree)
    command += [f"--bind-ro={tmp_path}:{_FOLDER}", "systemd.unit=stiefel-server.service"]
    with Program(["script", "-qec", " ".join(command), "/dev/null"]) as container:
        found = container.wait_for(r"heard at (.*), controlled by (\d+)", 120)
    assert found.group(1) == "[PosixPath('/dev/console')]"
    assert found.group(2) == "0"
