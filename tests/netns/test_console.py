"""What the server's unit gives it for a console, in a container that boots the tree."""

from __future__ import annotations

from pathlib import Path

from stiefelsystem.host import debian
from tests.processes import Program

# In the place of the server: where its standard input leads, and field 7 of proc_pid_stat(5), the
# controlling terminal.
_INSTEAD = r"""[Service]
ExecStart=
ExecStart=/usr/bin/sh -c 'set -- $$(cat /proc/self/stat); \
    echo "input $$(readlink /proc/self/fd/0)"; \
    echo "output $$(readlink /proc/self/fd/2), controlled by $$7"; \
    sleep 1000'
"""


def test_the_console_is_read_but_does_not_control(tree: Path, tmp_path: Path) -> None:
    """Else Ctrl-C at the laptop would end a session."""
    (tmp_path / "instead.conf").write_text(_INSTEAD)
    to = "/etc/systemd/system/stiefel-server.service.d"
    command = debian.boot_command(tree)
    command += [f"--bind-ro={tmp_path}:{to}", "systemd.unit=stiefel-server.service"]
    with Program(["script", "-qec", " ".join(command), "/dev/null"]) as container:
        found = container.wait_for(r"input (\S+)\s+output (\S+), controlled by (\d+)", 120)
    assert found.group(1) == found.group(2)
    assert found.group(1).startswith("/dev/")
    assert found.group(1) != "/dev/null"
    assert found.group(3) == "0"
