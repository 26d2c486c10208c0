"""Which init the system has, and whether its Python is new enough for autokexec."""

from __future__ import annotations

import re

from stiefelsystem.host.preflight import tree
from stiefelsystem.host.preflight.finding import Finding, note, obstacle, ok
from stiefelsystem.host.setup.root import Root

# As pyproject.toml has it.
_PYTHON = (3, 11)


def look(root: Root) -> list[Finding]:
    """The init system, and Python if that is too old."""
    return [_init(root), *_python(root)]


def _init(root: Root) -> Finding:
    program = root.resolve("/sbin/init")
    if program.endswith("/systemd"):
        return ok("init", "systemd")
    if not tree.is_file(root, program):
        return obstacle("init", "none is installed: there is no /sbin/init")
    name = "OpenRC" if tree.is_file(root, "/sbin/openrc") else program
    text = f"{name}: a session does not end cleanly when the desktop shuts down"
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
