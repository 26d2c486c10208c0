"""The user's terminal, connected to a VM's console."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty

from stiefelsystem.host.vm import VirtualMachine

LEAVE = b"\x1d"
LEAVE_NAME = "Ctrl-]"


def attach(machine: VirtualMachine) -> None:
    """Let the user type on the console until they leave it, or the machine is off."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    machine.copy_output_to(sys.stdout.fileno())
    try:
        tty.setraw(keyboard)
        while machine.running:
            ready, _, _ = select.select([keyboard], [], [], 0.2)
            if not ready:
                continue
            typed = os.read(keyboard, 1024)
            if not typed or LEAVE in typed:
                break
            machine.type(typed.decode(errors="replace"))
    finally:
        machine.copy_output_to(None)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        print(flush=True)
