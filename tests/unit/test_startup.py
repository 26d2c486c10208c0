"""What the ramdisk's programs import before they do their first work: little, and in time."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from stiefelsystem.ramdisk import client, server

# What takes longest to import, of the standard library and of others.
SLOW = {
    "argparse",
    "concurrent.futures",
    "ctypes",
    "email",
    "http.client",
    "inspect",
    "json",
    "logging",
    "random",
    "shutil",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "Crypto",
    "Cryptodome",
}


def imported(code: str) -> set[str]:
    """The modules that an interpreter has when it has run `code`."""
    code += "\nimport sys\nprint(*sys.modules)"
    # -S: what a site's own files import says nothing about us.
    command = [sys.executable, "-S", "-c", f"import sys\nsys.path[:] = {sys.path}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize("side", ["client", "server"])
def test_nothing_slow_is_imported_before_the_links_are_up(side: str) -> None:
    modules = imported(f"import stiefelsystem.ramdisk.{side}")
    assert "stiefelsystem.ramdisk.link" in modules
    assert not modules & SLOW


def test_a_client_has_all_it_needs_when_the_laptop_is_found() -> None:
    """Nothing of ours, and nothing slow, is left to be imported when every second counts."""
    prepared = imported("from stiefelsystem.ramdisk import client\nclient._prepare()")
    modules = {"fetch", "archive", "exchange", "target"}
    assert {f"stiefelsystem.ramdisk.{name}" for name in modules} <= prepared
    assert {"Crypto.Cipher.AES", "Cryptodome.Cipher.AES"} & prepared
    assert {"http.client", "tarfile", "tempfile", "subprocess"} <= prepared
    assert not {"argparse", "http.server", "stiefelsystem.ramdisk.http"} & prepared


@pytest.mark.parametrize("program", [client, server])
def test_defaults_are_the_same_with_and_without_a_parser(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd starts them, there are no arguments, and none are parsed."""
    monkeypatch.setattr(sys, "argv", ["program"])
    bare = program._options()
    monkeypatch.setattr(sys, "argv", ["program", "--cmdline", "x"])
    parsed = program._options()
    if program is server:
        # What is started by hand must not reboot the machine it is on.
        assert (bare.alone, parsed.alone) == (True, False)
        bare = bare._replace(alone=False)
    assert parsed == bare._replace(cmdline="x")
    assert str(bare.key) == "/etc/stiefelsystem/aes-key"
