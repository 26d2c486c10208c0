"""All that setup-server-os does, in its order."""

from __future__ import annotations

from collections.abc import Callable

from stiefelsystem.config import Config
from stiefelsystem.host.preflight import distribution
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.server_os import (
    dracut,
    initramfs_tools,
    mkinitcpio,
    network,
    parts,
    service,
)
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Packages, Step

_GENERATORS: dict[str, Callable[[Root, Distribution], list[Step]]] = {
    "initramfs-tools": lambda root, system: initramfs_tools.steps(),
    "mkinitcpio": lambda root, system: mkinitcpio.steps(root),
    "dracut": lambda root, system: dracut.steps(system.family),
}


def make(
    config: Config, text: str, *, root: Root, system: Distribution, generator: str
) -> list[Step]:
    """The steps for a system: `config` is what `text` says, `generator` makes its initrds.

    Raises `StiefelError` if the ramdisk or the key is not there.
    """
    return [
        _packages(config, root, system),
        parts.programs(),
        *parts.settings(config, text),
        parts.ramdisk(config),
        *network.steps(root),
        parts.generator(),
        *_GENERATORS[generator](root, system),
        *service.steps(root),
    ]


def _packages(config: Config, root: Root, system: Distribution) -> Step:
    return Packages(
        id="packages",
        purpose="what autokexec needs",
        names=distribution.laptop_packages(system.family, config),
        installed=lambda name: distribution.is_installed(root, system.family, name),
        install=distribution.install_command(system.family),
        remove=lambda names: distribution.remove_command(root, system.family, names),
        with_others=lambda names: distribution.to_install(root, system.family, names),
    )
