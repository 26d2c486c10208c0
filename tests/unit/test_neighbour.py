"""A neighbour that stays, in the real kernel's table."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import capabilities

PROGRAM = """
import socket, subprocess, sys
from stiefelsystem.ramdisk import neighbour
subprocess.run(["ip", "link", "add", "cable", "type", "veth"], check=True)
subprocess.run(["ip", "link", "set", "cable", "up"], check=True)
index = socket.if_nametoindex("cable")
for _ in range(2):
    neighbour.pin(sys.argv[1], index)
subprocess.run(["ip", "-6", "neigh", "show", "nud", "permanent", "dev", "cable"], check=True)
"""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("fe80::5054:ff:fe00:2", "fe80::5054:ff:fe00:2 lladdr 52:54:00:00:00:02 PERMANENT"),
        ("fe80::1", ""),  # not made of a MAC
        ("fe80::5354:ff:fe00:2", ""),  # that of many
    ],
)
def test_pinned(address: str, shown: str) -> None:
    command = [sys.executable, "-c", PROGRAM, address]
    enter = capabilities.as_root_of_a_namespace("--net")
    done = subprocess.run([*enter, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == shown
    assert not done.stderr
