"""The modules of `config.yaml`: what each puts into the ramdisk, and what is left out of it."""

from __future__ import annotations

from dataclasses import dataclass

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError

# Packages that the build needs, or that Debian insists on, but not what runs in the ramdisk.
# A name ends in `*` where a version follows.
EXCLUDE_PACKAGES = (
    "apt",
    "base-passwd",
    "cpio",
    "debconf",
    "debian-archive-keyring",
    "dpkg",
    "dracut-install",
    "initramfs-tools",
    "initramfs-tools-bin",
    "initramfs-tools-core",
    "klibc-utils",
    "libapt-pkg7.0",
    "linux-base",
    "linux-image-*",
    "passwd",
    "perl-base",
    "sqv",
    "sysvinit-utils",
    "tar",
)
EXCLUDE_PATHS = (
    "/boot/*",
    "/etc/resolv.conf",
    "/etc/shadow",
    "/etc/shadow-",
    "/usr/lib/python3/dist-packages/Cryptodome/SelfTest",
    "/usr/lib/python3.*/pydoc_data",
    "/usr/lib/python3.*/test",
    "/usr/lib/udev/hwdb.bin",
    "/usr/lib/udev/hwdb.d",
    "/usr/share/bash-completion",
    "/usr/share/bug",
    "/usr/share/doc",
    "/usr/share/doc-base",
    "/usr/share/info",
    "/usr/share/initramfs-tools",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/share/perl5",
    "/usr/share/zoneinfo",
    "/usr/share/zsh",
    "/var/cache/*",
    "/var/lib/apt/*",
    "/var/lib/dpkg/*",
    "/var/log/*",
)

_PACKAGES = {
    "base": (
        "dmsetup",
        "linux-image-{architecture}",
        "mount",
        "nbd-server",
        "procps",
        "python3-requests",
    ),
    "nbd": ("nbd-server",),
    "lvm": ("lvm2",),
    "debug": ("libnbd-bin", "strace", "tcpdump"),
}
_BETTER_SHELL = ("bash-completion", "less", "nano")
# In the schema, since users' files name them; their drivers are built by a later version.
_NOT_BUILT_YET = ("clevo-fancontrol",)


@dataclass(frozen=True)
class Exclusions:
    """What create-initrd-cpio leaves out."""

    paths: tuple[str, ...]
    packages: tuple[str, ...]


def packages(config: Config, architecture: str) -> list[str]:
    """The Debian packages of the ramdisk, beyond the base tree's.

    Raises `StiefelError` for a module that this version cannot build.
    """
    for name in _NOT_BUILT_YET:
        if name in config.modules:
            raise StiefelError(
                f"modules: {name} cannot be built by this version", hint="remove it from modules"
            )
    names = {package for module in config.modules for package in _PACKAGES.get(module, ())}
    if config.debug:
        names.update(config.debug.extra_packages)
        names.update(_BETTER_SHELL if config.debug.better_shell else ())
    names.update(config.initrd.include_packages)
    return sorted(name.format(architecture=architecture) for name in names)


def exclusions(config: Config) -> Exclusions:
    """What to leave out of the image: our own lists and the configuration's."""
    debug = config.debug
    own_packages = () if debug and debug.dont_exclude_packages else EXCLUDE_PACKAGES
    own_paths = () if debug and debug.dont_exclude_paths else EXCLUDE_PATHS
    # Modules are chosen one by one, and secrets travel apart, whatever the configuration says.
    always = ("/usr/lib/modules", "/etc/shadow", "/etc/shadow-", "/boot/*", "/var/cache/*")
    packing = config.initrd.packing
    return Exclusions(
        paths=(
            *always,
            *(path for path in own_paths if path not in always),
            *packing.exclude_paths,
        ),
        packages=(*own_packages, *packing.exclude_packages),
    )
