"""A person at a virtual machine's screen and keyboard."""

from __future__ import annotations

import time
from pathlib import Path

from stiefelsystem.host.vm import VirtualMachine

# Of text mode: each character is followed by its colours (IBM, VGA Function, "Video Memory
# Organization"). The screen moves within it as it scrolls.
_START = 0xB8000
_SIZE = 0x8000
_KEYS = {"\n": "ret", " ": "spc"}
_PAUSE = 0.2


def text(machine: VirtualMachine, folder: Path) -> str:
    """What stands on the screen, and what has scrolled out of it lately."""
    memory = folder / "screen"
    machine.order("pmemsave", val=_START, size=_SIZE, filename=str(memory))
    return memory.read_bytes()[::2].decode("cp437")


def press(machine: VirtualMachine, keys: str) -> None:
    """Press keys: small letters, digits, spaces and Enter."""
    for key in keys:
        machine.order("send-key", keys=[{"type": "qcode", "data": _KEYS.get(key, key)}])


def press_until(machine: VirtualMachine, keys: str, wanted: str, folder: Path) -> None:
    """Press keys, again and again, until something stands on the screen.

    Memory tells nobody that it changes, and sulogin(8) forgets what is pressed before it reads.
    """
    for _ in range(20):
        press(machine, keys)
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            if wanted in text(machine, folder):
                return
            time.sleep(_PAUSE)
    raise AssertionError(f"{wanted!r} does not come to the screen: {text(machine, folder)}")
