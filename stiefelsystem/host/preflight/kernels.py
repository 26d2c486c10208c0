"""Whether the kernels that are installed can have their disk over the network."""

from __future__ import annotations

import re

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import tree
from stiefelsystem.host.preflight.finding import Finding, note, obstacle, ok
from stiefelsystem.host.setup.root import Root
from stiefelsystem.laptop import served

_TOPIC = "modules"
_FOLDER = "/usr/lib/modules"
# depmod(8) and kbuild: the modules with their dependencies, and what needs no module.
_INDEXES = ("modules.dep", "modules.builtin")


def look(root: Root, config: Config) -> list[Finding]:
    """Which kernels have the modules nbd and, if the link is encrypted, wireguard. The one that the
    desktop gets must; the others would be missed at the next change."""
    wanted = ["nbd", *(["wireguard"] if config.link.encryption == "wireguard" else [])]
    lacking = {version: _lacking(root, version, wanted) for version in _versions(root)}
    if not lacking:
        text = f"no kernel has its modules in {_FOLDER}: what it can do is not known"
        return [note(_TOPIC, text)]
    able = [version for version, names in lacking.items() if not names]
    default = _served(root, config)
    findings = []
    for version, names in lacking.items():
        if names:
            level = obstacle if not able or version == default else note
            text = f"{version} has no module {' and '.join(names)}"
            findings.append(level(_TOPIC, text, _hint(names)))
    if able:
        findings.insert(0, ok(_TOPIC, f"{', '.join(able)}: with {' and '.join(wanted)}"))
    return findings


def _served(root: Root, config: Config) -> str:
    """The version of the kernel that the desktop would get, as far as its path has that."""
    try:
        files = served.find(config, root.path).files
    except StiefelError:  # which `boot` tells
        return ""
    parts = [part.removeprefix("vmlinuz-") for path in files[:1] for part in path.parts]
    return next((part for part in parts if part in _versions(root)), "")


def _hint(names: list[str]) -> str:
    if names == ["wireguard"]:
        return "use a kernel with it, or link: encryption: none on a cable that you trust"
    return "use a kernel with it: CONFIG_BLK_DEV_NBD"


def _versions(root: Root) -> list[str]:
    """The kernels with modules; /lib is a link to /usr/lib, or a folder of its own."""
    folder = _FOLDER if tree.names(root, _FOLDER) else "/lib/modules"
    found = tree.names(root, folder)
    return [name for name in found if tree.is_file(root, f"{folder}/{name}/modules.dep")]


def _lacking(root: Root, version: str, wanted: list[str]) -> list[str]:
    folder = f"{_FOLDER}/{version}"
    if not tree.is_file(root, f"{folder}/modules.dep"):
        folder = f"/lib/modules/{version}"
    indexes = "\n".join(tree.text(root, f"{folder}/{name}") for name in _INDEXES)
    return [
        name
        for name in wanted
        if not re.search(rf"^(\S*/)?{name}\.ko(\.\w+)?(:|$)", indexes, re.MULTILINE)
    ]
