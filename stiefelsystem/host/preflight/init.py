"""Which init the system has, and whether its Python is new enough for autokexec."""

from __future__ import annotations

import re

from stiefelsystem.host.preflight import tree
from stiefelsystem.host.preflight.finding import Finding, note, obstacle, ok
from stiefelsystem.host.setup.root import Root

# As pyproject.toml has it.
_PYTHON = (3, 11)
SYSTEMD, OPENRC = "systemd", "OpenRC"


def look(root: Root) -> list[Finding]:
    """The init system, and Python if that is too old."""
    return [_init(root), *_python(root)]


def name(root: Root) -> str:
    """What /sbin/init starts: systemd, OpenRC, or else the program's path; empty if it is missing.

    OpenRC has other programs as init, too; beside systemd, it is installed and not used.
    """
    program = root.resolve("/sbin/init")
    if program.endswith("/systemd"):
        return SYSTEMD
    if not tree.is_file(root, program):
        return ""
    return OPENRC if tree.is_file(root, "/sbin/openrc") else program


def _init(root: Root) -> Finding:
    found = name(root)
    if found == SYSTEMD:
        return ok("init", found)
    if not found:
        return obstacle("init", "none is installed: there is no /sbin/init")
    text = f"{found}: a session does not end cleanly when the desktop shuts down"
    return note("init", text, "docs/dracut.md, Shutdown with OpenRC, tells what that means")


def _python(root: Root) -> list[Finding]:
    """/usr/bin/python3 leads to the program, which has its version in its name."""
    match = re.fullmatch(
        r"python([0-9]+)\.([0-9]+)", root.resolve("/usr/bin/python3").rpartition("/")[2]
    )
    if match is None or (int(match[1]), int(match[2])) >= _PYTHON:
        return []  # none is installed yet, or one whose version cannot be told
    wanted = ".".join(map(str, _PYTHON))
    text = f"/usr/bin/python3 is Python {match[1]}.{match[2]}, and autokexec needs {wanted}"
    return [obstacle("Python", text, "upgrade the distribution")]
