"""What is the same on every distribution: programs, settings, keys, the ramdisk, the service."""

from __future__ import annotations

from pathlib import Path

from stiefelsystem import keys
from stiefelsystem.config import Config
from stiefelsystem.host import pack
from stiefelsystem.host.setup.steps import Command, File, Step, WriteFiles
from stiefelsystem.host.tree import SOURCE

LIBRARY = "/usr/local/lib/stiefelsystem"
ETC = "/etc/stiefelsystem"
# What of the package the laptop's own OS runs.
_PACKAGES = ("", "bootloader", "laptop")
COMMAND = "/usr/local/bin/stiefel-autokexec"
# Found by a name without a folder, since the announcement tells users to type it. -B: Python is to
# leave nothing in the folder that we would not know of.
_COMMAND = f"""\
#!/bin/sh
exec /usr/bin/python3 -B {LIBRARY}/stiefel-autokexec "$@"
"""


def copy(source: str, target: str, *, mode: int = 0o644) -> File:
    """A file of the checkout, and where it goes."""
    return File(path=target, content=SOURCE / source, mode=mode, ours=True)


def programs() -> WriteFiles:
    """autokexec, with what it imports, and the shell library of the initrd's hooks."""
    sources = [
        path.relative_to(SOURCE)
        for package in _PACKAGES
        for path in sorted((SOURCE / "stiefelsystem" / package).glob("*.py"))
    ]
    return WriteFiles(
        id="programs",
        purpose="what runs on this OS, and the library of the initrd's hooks",
        files=(
            *(copy(str(source), f"{LIBRARY}/{source}") for source in sources),
            copy("autokexec/stiefel-autokexec", f"{LIBRARY}/stiefel-autokexec", mode=0o755),
            copy("nbd-hook/lib", f"{LIBRARY}/nbd-hook-lib"),
            File(
                path="/usr/local/bin/stiefel-autokexec",
                content=_COMMAND.encode(),
                mode=0o755,
                ours=True,
            ),
        ),
    )


def settings(config: Config, text: str) -> list[Step]:
    """config.yaml, and what autokexec needs of the key."""
    subkey = keys.subkey(keys.load(config.paths.key), keys.AUTOKEXEC)
    image = pack.secrets_of(config.paths.cpio)
    password = config.initrd.password is not None
    config_file = File(
        path=f"{ETC}/config.yaml", content=text.encode(), mode=0o600, secret=password, ours=True
    )
    return [
        WriteFiles(id="settings", purpose="your config.yaml, for autokexec", files=(config_file,)),
        WriteFiles(
            id="keys",
            purpose="a subkey by which it knows your desktops, and the key for the ramdisk",
            files=(_secret("autokexec-key", subkey), _secret("ramdisk.key.cpio", image)),
        ),
    ]


def _secret(name: str, content: bytes | Path) -> File:
    return File(path=f"{ETC}/{name}", content=content, mode=0o600, secret=True, ours=True)


def ramdisk(config: Config) -> WriteFiles:
    """What this machine reboots into to serve: nothing in it is secret."""
    image, setup = config.paths.cpio, config.server_setup
    return WriteFiles(
        id="ramdisk",
        purpose="what this machine kexecs into to serve its disk",
        files=(
            File(path=str(setup.stiefelsystem_kernel), content=pack.kernel_of(image), mode=0o644),
            File(path=str(setup.stiefelsystem_initrd), content=image, mode=0o644),
        ),
    )


def hook(*files: File) -> WriteFiles:
    """What goes into all initrds that a generator makes."""
    return WriteFiles(
        id="hook",
        purpose="so that each initrd can have its disk over the network",
        needs=("programs",),
        files=files,
    )


def initrds(*argv: str) -> Command:
    """The command that makes all initrds anew, with the hook; and without it, when it is gone."""
    return Command(
        id="initrd",
        purpose="make the initrds of all kernels anew",
        needs=("programs", "hook"),
        argv=argv,
        again=True,
    )


def generator() -> WriteFiles:
    """What the OS does otherwise while it is stiefeled."""
    target = "/usr/local/lib/systemd/system-generators/stiefelsystem"
    return WriteFiles(
        id="generator",
        purpose="no sleep, no watchdogs, and nothing in the keeper's place while it is stiefeled",
        files=(copy("nbd-hook/systemd-generator", target, mode=0o755),),
    )
