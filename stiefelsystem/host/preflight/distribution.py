"""Which distribution this is, and how its packages are called, installed and looked up."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import tree
from stiefelsystem.host.setup.root import Root

# How each family of distributions installs packages. Who is to do it has been asked before.
_INSTALL = {
    "debian": ("apt-get", "install", "--yes", "--no-install-recommends"),
    "arch": ("pacman", "-S", "--needed", "--noconfirm"),
    "fedora": ("dnf", "install", "--assumeyes"),
    "gentoo": ("emerge", "--noreplace"),
}
# And how it removes them, or refuses where another package depends on one: apt-get and dnf would
# remove that, too.
_REMOVE = {
    "debian": ("dpkg", "--remove"),
    "arch": ("pacman", "-R", "--noconfirm"),
    "fedora": ("rpm", "--erase"),
    "gentoo": ("emerge", "--depclean"),
}
# On Debian, the settings of a package stay, those that it has made itself, too, unless they are to
# go; the others keep only what was changed.
_PURGE = {**_REMOVE, "debian": ("dpkg", "--purge")}
# Without it, debootstrap would believe whoever answers for the mirror.
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Program, file, or Python module with its trailing dot, and its package in each family.
_PACKAGES = {
    "debootstrap": ("debootstrap", "debootstrap", "debootstrap", "dev-util/debootstrap"),
    KEYRING: (
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
    "mkfs.vfat": ("dosfstools", "dosfstools", "dosfstools", "sys-fs/dosfstools"),
    "mcopy": ("mtools", "mtools", "mtools", "sys-fs/mtools"),
    "mke2fs": ("e2fsprogs", "e2fsprogs", "e2fsprogs", "sys-fs/e2fsprogs"),
    "kexec": ("kexec-tools", "kexec-tools", "kexec-tools", "sys-apps/kexec-tools"),
    "yaml.": ("python3-yaml", "python-yaml", "python3-pyyaml", "dev-python/pyyaml"),
    "Cryptodome.": (
        "python3-pycryptodome",
        "python-pycryptodomex",
        "python3-pycryptodomex",
        "dev-python/pycryptodome",
    ),
    "pyudev.": ("python3-pyudev", "python-pyudev", "python3-pyudev", "dev-python/pyudev"),
}
# What autokexec needs of the laptop's OS beyond util-linux and udev, which every one has.
_LAPTOP = ("kexec", "yaml.", "Cryptodome.")
# Derivatives whose ID_LIKE does not always lead to the family.
_ALIASES = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora"}
# dpkg's states of what is not there, but for settings.
_GONE = ("not-installed", "config-files")


@dataclass(frozen=True)
class Distribution:
    """A distribution by os-release(5); `family` is one of "debian", "arch", "fedora", "gentoo",
    or empty."""

    family: str
    id: str
    name: str
    version: str


def look(root: Root) -> Distribution:
    """The distribution that is installed in a tree; all empty where nothing tells."""
    fields = _release(tree.text(root, "/etc/os-release") or tree.text(root, "/usr/lib/os-release"))
    identity = fields.get("ID", "")
    kin = [_ALIASES.get(name, name) for name in (identity, *fields.get("ID_LIKE", "").split())]
    return Distribution(
        family=next((name for name in kin if name in _INSTALL), ""),
        id=identity,
        name=fields.get("PRETTY_NAME") or fields.get("NAME") or identity,
        version=fields.get("VERSION_ID") or fields.get("BUILD_ID", ""),
    )


def install_command(family: str) -> tuple[str, ...]:
    """The command that installs the packages which are appended to it.

    Raises `StiefelError` if the family is none that is known; so does `remove_command`.
    """
    return _of_family(_INSTALL, family)


def to_install(root: Root, family: str, names: Sequence[str]) -> tuple[str, ...]:
    """`names`, and on Debian what would be new with them: apt-get(8), --simulate.

    If apt cannot tell, it will not install them either, and say why.
    """
    if family != "debian":
        return tuple(names)
    done = root.run([*install_command(family), "--simulate", *names], check=False)
    # What is only updated has its former version in brackets there.
    new = re.findall(r"^Inst (\S+) \(", done.stdout, re.MULTILINE)
    return tuple(dict.fromkeys((*names, *new)))


def remove_command(root: Root, family: str, names: Sequence[str]) -> tuple[str, ...]:
    """The command that removes packages, unless others depend on them, when they are installed.

    It also removes settings that come with them, if there are none of an earlier life of theirs.
    """
    earlier = family == "debian" and any(_has_settings(root, name) for name in names)
    return _of_family(_REMOVE if earlier else _PURGE, family)


def package(name: str, family: str) -> str:
    """The package with a program, file or Python module (`yaml.`); Debian's if the family is not
    known."""
    families = list(_INSTALL)
    return _PACKAGES[name][families.index(family) if family in families else 0]


def laptop_packages(family: str, config: Config) -> tuple[str, ...]:
    """The packages that autokexec needs on the laptop's own OS."""
    macs = config.autokexec.mac_detection and config.autokexec.macs
    return tuple(package(name, family) for name in (*_LAPTOP, *(["pyudev."] if macs else [])))


def is_installed(root: Root, family: str, name: str) -> bool:
    """Whether a package is installed in a tree, by the package manager's own database."""
    return bool(installed_version(root, family, name))


def is_there(root: Root, family: str, name: str) -> bool:
    """Whether anything of a package is there that is to be removed: one that dpkg was interrupted
    in is, though it is not installed."""
    if family == "debian":
        return any(_state(fields) not in _GONE for fields in _dpkg_status(root, name))
    return is_installed(root, family, name)


def installed_version(root: Root, family: str, name: str) -> str:
    """A package's version; empty if it is not installed."""
    if family == "fedora":
        query = ["rpm", "--query", "--queryformat", "%{VERSION}-%{RELEASE}", name]
        done = root.run(query, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    versions = {"debian": _of_dpkg, "arch": _of_pacman, "gentoo": _of_portage}.get(family)
    return next(versions(root, name), "") if versions else ""


def _of_dpkg(root: Root, name: str) -> Iterator[str]:
    for fields in _dpkg_status(root, name):
        if _state(fields) == "installed":
            yield fields.get("Version") or "?"


def _has_settings(root: Root, name: str) -> bool:
    """Whether a package was removed, and its settings were not."""
    return any(_state(fields) == "config-files" for fields in _dpkg_status(root, name))


def _dpkg_status(root: Root, name: str) -> Iterator[dict[str, str]]:
    """dpkg's status of a package, for each architecture: deb822(5), where the last word of `Status`
    is `installed` or another state of dpkg(1)."""
    for stanza in tree.text(root, "/var/lib/dpkg/status").split("\n\n"):
        if f"\nPackage: {name}\n" in f"\n{stanza}\n":
            yield dict(re.findall(r"^(Status|Version): *(.*)$", stanza, re.MULTILINE))


def _state(fields: dict[str, str]) -> str:
    return fields.get("Status", "").rpartition(" ")[2]


def _of_pacman(root: Root, name: str) -> Iterator[str]:
    """pacman's local database: a folder `NAME-VERSION-RELEASE` for each package."""
    for folder in tree.names(root, "/var/lib/pacman/local"):
        # The version and the release have no hyphens.
        found, _, version = folder.rpartition("-")[0].rpartition("-")
        if found == name:
            yield version


def _of_portage(root: Root, name: str) -> Iterator[str]:
    """Portage's database of what is installed: a folder `CATEGORY/NAME-VERSION` for each."""
    category, _, short = name.partition("/")
    for folder in tree.names(root, f"/var/db/pkg/{category}"):
        if match := re.fullmatch(rf"{re.escape(short)}-([0-9].*)", folder):
            yield match[1]


def _of_family(commands: dict[str, tuple[str, ...]], family: str) -> tuple[str, ...]:
    if family not in commands:
        raise StiefelError(
            "how this distribution handles packages is not known",
            hint=f"what is known is: {', '.join(commands)}",
        )
    return commands[family]


def _release(text: str) -> dict[str, str]:
    """os-release(5): assignments as in a shell, of single words."""
    fields = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or not re.fullmatch(r"[A-Z0-9_]+", key):
            continue
        try:
            fields[key] = "".join(shlex.split(value, comments=True)[:1])
        except ValueError:  # a quote that is not closed
            fields[key] = value.strip("\"'")
    return fields
