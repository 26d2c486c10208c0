"""Which programs a script needs on the host, and which package has them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from stiefelsystem.console import StiefelError, say
from stiefelsystem.host.consent import ask
from stiefelsystem.run import environment, run

# How each family of distributions installs packages.
_INSTALL = {
    "debian": ("apt-get", "install", "--yes", "--no-install-recommends"),
    "arch": ("pacman", "-S", "--needed"),
    "fedora": ("dnf", "install"),
    "gentoo": ("emerge", "--noreplace"),
}
# Without it, debootstrap would believe whoever answers for the mirror.
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Program, file, or Python module with its trailing dot, and its package in each family.
_PACKAGES = {
    "debootstrap": ("debootstrap", "debootstrap", "debootstrap", "dev-util/debootstrap"),
    _KEYRING: (
        "debian-archive-keyring",
        "debian-archive-keyring",
        "debian-keyring",
        "app-crypt/debian-archive-keyring",
    ),
    "systemd-nspawn": ("systemd-container", "systemd", "systemd-container", "sys-apps/systemd"),
    "qemu-system-x86_64": ("qemu-system-x86", "qemu-base", "qemu-system-x86", "app-emulation/qemu"),
    "zstd": ("zstd", "zstd", "zstd", "app-arch/zstd"),
    "depmod": ("kmod", "kmod", "kmod", "sys-apps/kmod"),
    "modinfo": ("kmod", "kmod", "kmod", "sys-apps/kmod"),
    "sfdisk": ("fdisk", "util-linux", "util-linux", "sys-apps/util-linux"),
    "mke2fs": ("e2fsprogs", "e2fsprogs", "e2fsprogs", "sys-fs/e2fsprogs"),
    "yaml.": ("python3-yaml", "python-yaml", "python3-pyyaml", "dev-python/pyyaml"),
    "Cryptodome.": (
        "python3-pycryptodome",
        "python-pycryptodomex",
        "python3-pycryptodomex",
        "dev-python/pycryptodome",
    ),
}

BUILD = ("debootstrap", _KEYRING, "systemd-nspawn", "yaml.", "Cryptodome.")
PACK = ("systemd-nspawn", "zstd", "depmod", "modinfo", "yaml.")
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
    family = _family()
    packages = sorted({_package(name, family) for name in missing})
    command = [*_INSTALL.get(family, ("install",)), *packages]
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


def _package(name: str, family: str) -> str:
    families = list(_INSTALL)
    return _PACKAGES[name][families.index(family) if family in families else 0]


def _family() -> str:
    """The family of this distribution, by ID and ID_LIKE of os-release(5); "" if unknown."""
    fields: dict[str, str] = {}
    release = Path("/etc/os-release")
    for line in release.read_text().splitlines() if release.exists() else []:
        key, _, value = line.partition("=")
        fields[key] = value.strip("\"'")
    names = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    names = ["debian" if name == "ubuntu" else name for name in names]
    return next((name for name in names if name in _INSTALL), "")
