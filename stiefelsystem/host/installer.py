"""The laptop's side of stiefelsystem, laid into the tree of a Debian that is not running.

For now this serves the demo's virtual laptop, whose tree is ours. On somebody's machine every one
of these steps has to be shown and asked first.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stiefelsystem import files, keys
from stiefelsystem.config import Config
from stiefelsystem.host import debian, pack
from stiefelsystem.host.tree import SOURCE

_LIBRARY = "usr/local/lib/stiefelsystem"
_UNIT = "stiefel-autokexec.service"
_NETWORK = {
    "00-stiefellink.network": "etc/systemd/network/00-stiefellink.network",
    "00-stiefellink-networkmanager.conf": "etc/NetworkManager/conf.d/00-stiefellink.conf",
}
# What the OS does otherwise while it is stiefeled.
_GENERATOR = "usr/local/lib/systemd/system-generators/stiefelsystem"


def install(tree: Path, *, config: Config, config_text: str) -> None:
    """Install into a Debian tree; `config` is what `config_text` says. Makes its initrds anew."""
    _programs(tree)
    _hook(tree)
    _network_rules(tree)
    _ramdisk(tree, config)
    files.write(tree / "etc/stiefelsystem/config.yaml", config_text, mode=0o600)
    debian.nspawn(tree, ["systemctl", "enable", _UNIT])
    debian.nspawn(tree, ["update-initramfs", "-c", "-k", "all"])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _programs(tree: Path) -> None:
    package = tree / _LIBRARY / "stiefelsystem"
    shutil.rmtree(package, ignore_errors=True)
    for module in sorted((SOURCE / "stiefelsystem").glob("*.py")):
        _copy(module, package / module.name)
    _copy(SOURCE / "autokexec/stiefel-autokexec", tree / _LIBRARY / "stiefel-autokexec")
    _copy(SOURCE / "autokexec" / _UNIT, tree / "etc/systemd/system" / _UNIT)


def _hook(tree: Path) -> None:
    hook = SOURCE / "nbd-hook"
    _copy(hook / "lib", tree / _LIBRARY / "nbd-hook-lib")
    adapter = hook / "initramfs-tools"
    _copy(adapter / "hook", tree / "etc/initramfs-tools/hooks/stiefelsystem")
    _copy(adapter / "local-top", tree / "etc/initramfs-tools/scripts/local-top/stiefelsystem")
    _copy(hook / "systemd-generator", tree / _GENERATOR)


def _network_rules(tree: Path) -> None:
    for name, place in _NETWORK.items():
        _copy(SOURCE / "autokexec/network" / name, tree / place)


def _ramdisk(tree: Path, config: Config) -> None:
    """The ramdisk's kernel and image, and its secrets apart, where only root can read them."""
    image = config.paths.cpio
    setup = config.server_setup
    _copy(pack.kernel_of(image), tree / str(setup.stiefelsystem_kernel).lstrip("/"))
    _copy(image, tree / str(setup.stiefelsystem_initrd).lstrip("/"))
    etc = tree / "etc/stiefelsystem"
    files.write(etc / "ramdisk.key.cpio", pack.secrets_of(image).read_bytes(), mode=0o600)
    key = keys.load(config.paths.key)
    files.write(etc / "autokexec-key", keys.subkey(key, keys.AUTOKEXEC), mode=0o600)
