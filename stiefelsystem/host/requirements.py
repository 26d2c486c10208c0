"""Which programs a script needs on the host, and which package has them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from stiefelsystem.console import StiefelError, say
from stiefelsystem.host.consent import ask
from stiefelsystem.host.preflight import distribution
from stiefelsystem.host.setup.root import Root
from stiefelsystem.run import environment, run

# By the names that `distribution.package` knows.
BUILD = ("debootstrap", distribution.KEYRING, "systemd-nspawn", "yaml.", "Cryptodome.")
PACK = ("systemd-nspawn", "zstd", "depmod", "modinfo", "yaml.")
STICK = ("sfdisk", "mkfs.vfat", "mcopy", "yaml.", "Cryptodome.")
VM = ("qemu-system-x86_64",)
IMAGE = ("sfdisk", "mke2fs")


def require_root(what: str) -> None:
    """Raise `StiefelError` unless this process is root."""
    if os.geteuid() != 0:
        raise StiefelError(f"{what} needs root", hint="run it again with sudo, or as root")


def require(names: Iterable[str], *, assume_yes: bool = False, offer: bool = False) -> None:
    """Make sure that the programs and modules are there.

    With `offer`, and on a Debian family host, missing packages are installed after a question
    (`assume_yes` answers it). Else, or if the answer is no, raises `StiefelError` with the names
    of the packages and the command that installs them.
    """
    missing = sorted({name for name in names if not _present(name)})
    if not missing:
        return
    family = distribution.look(Root()).family
    packages = sorted({distribution.package(name, family) for name in missing})
    command = [*(distribution.install_command(family) if family else ["install"]), *packages]
    shown = ", ".join(name.rstrip(".") for name in missing)
    if not (offer and family == "debian" and os.geteuid() == 0):
        raise StiefelError(f"missing on this machine: {shown}", hint=f"run: {' '.join(command)}")
    say(f"missing on this machine: {shown}")
    if not ask(f"run: apt-get update && {' '.join(command)}", assume_yes=assume_yes):
        raise StiefelError(f"cannot go on without {shown}", hint=f"run: {' '.join(command)}")
    _install(command)
    still = [name for name in missing if not _present(name)]
    if still:
        raise StiefelError(f"installed {', '.join(packages)}, but {', '.join(still)} is missing")


def _install(command: Sequence[str]) -> None:
    noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], env=noninteractive)
    run(command, env=noninteractive)
    importlib.invalidate_caches()


def _present(name: str) -> bool:
    if name.startswith("/"):
        return Path(name).exists()
    if not name.endswith("."):
        return shutil.which(name, path=environment()["PATH"]) is not None
    # pycryptodome is `Cryptodome` from Debian's package and `Crypto` from PyPI's.
    names = {"Cryptodome": ("Cryptodome", "Crypto")}.get(name[:-1], (name[:-1],))
    return any(importlib.util.find_spec(module) for module in names)
