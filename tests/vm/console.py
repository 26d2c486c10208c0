"""A person at a virtual machine's console, who logs in and asks."""

from __future__ import annotations

import re

from stiefelsystem.host.laptop import PASSWORD
from stiefelsystem.host.vm import VirtualMachine

_SECONDS = 300.0
_PROMPT = r"root@laptop:.*# "


def log_in(machine: VirtualMachine, *, after: int = 0) -> None:
    """As root, at the login prompt that comes behind position `after`."""
    machine.wait_for("laptop login: ", _SECONDS, after=after)
    at = machine.position
    machine.type("root\n")
    machine.wait_for("Password: ", _SECONDS, after=at)
    machine.type(f"{PASSWORD}\n")
    machine.wait_for(_PROMPT, _SECONDS, after=at)


def ask(machine: VirtualMachine, command: str) -> str:
    """What a command prints, in one line."""
    at = machine.position
    # Quoted in two ways, so that the echo of what is typed is not taken for its result.
    machine.type(f"echo \"beg\"'in'$({command} 2>&1)\"e\"'nd'\n")
    found = machine.wait_for(r"begin([^\x1b]*?)end", _SECONDS, after=at)
    return re.sub(r"\s+", " ", found.group(1).decode()).strip()
