"""A tree that is like a system of one family, its plan, and a configuration for it.

What makes initrds stands in: a script that puts the files of the family's hook folders into one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stiefelsystem import config, keys
from stiefelsystem.config import Config
from stiefelsystem.host.preflight import distribution
from stiefelsystem.host.server_os import plan
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Step
from stiefelsystem.host.setup.undo import undo

FAMILIES = {
    "initramfs-tools": ("debian", "boot/initrd.img-1", "etc/initramfs-tools"),
    "mkinitcpio": ("arch", "boot/initramfs-stiefel.img", "etc/initcpio"),
    "dracut": ("fedora", "boot/initramfs-1.img", "usr/lib/dracut/modules.d"),
}
# Each of them makes an initrd of what is in its folder.
COMMANDS = ("update-initramfs", "mkinitcpio", "dracut")
MAKE = """\
#!/bin/sh
cd "$(dirname "$0")/.." && find {folder} -type f | sort | xargs cat >{initrd}
"""
REMOVE = """\
#!/bin/sh
cd "$(dirname "$0")/.." && rm "$1" ".$2"
"""
# A line of shell finds what stands in, too; nothing runs in a tree that could be stopped.
SHELL = """\
#!/bin/sh
PATH="$(dirname "$0"):$PATH" exec /bin/sh "$@"
"""
SYSTEMCTL = """\
#!/bin/sh
PATH=/usr/bin:/bin
[ "$1" = stop ] || exec systemctl --root="${0%/bin/systemctl}" "$@"
"""
INSTALLED = {
    "debian": "".join(
        f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n"
        for name in ("kexec-tools", "python3-yaml", "python3-pycryptodome")
    ),
    "arch": ("kexec-tools-2.0.31-1", "python-yaml-6.0.2-3", "python-pycryptodomex-3.23.0-1"),
}


@pytest.fixture
def settings(tmp_path: Path) -> tuple[Config, str]:
    """A configuration whose ramdisk and key are there."""
    (tmp_path / "workdir").mkdir()
    for name in ("stiefel.cpio", "stiefel.vmlinuz", "stiefel.key.cpio"):
        (tmp_path / "workdir" / name).write_text(name)
    keys.create(tmp_path / "aes-key")
    paths = {"workdir": str(tmp_path / "workdir"), "key": str(tmp_path / "aes-key")}
    text = f"modules: [system-debian]\nboot: {{disk: /dev/vda}}\npaths: {json.dumps(paths)}\n"
    return config.parse(text, name="test"), text


class System:
    """A tree that is like one of a family, and its plan."""

    def __init__(self, tree: Path, generator: str, settings: tuple[Config, str]) -> None:
        self.tree, self.generator = tree, generator
        self.config, self.text = settings
        family, initrd, folder = FAMILIES[generator]
        self.initrd = tree / initrd
        for name in (
            "boot",
            "etc/systemd/system",
            "usr/lib",
            "bin",
            "usr/lib/systemd/system",
            folder,
        ):
            (tree / name).mkdir(parents=True, exist_ok=True)
        (tree / "etc/os-release").write_text(f"ID={family}\n")
        (tree / folder / "theirs").write_text("their hook\n")
        self.command(*COMMANDS, text=MAKE.format(folder=folder, initrd=initrd))
        self.command("rm", text=REMOVE)
        self.command("sh", text=SHELL)
        self.command("systemctl", text=SYSTEMCTL)
        self._database(family)
        self.root = Root(tree, enter=lambda argv: [tree / "bin" / argv[0], *argv[1:]])
        if generator != "mkinitcpio":
            self.root.run([COMMANDS[0]])
        self.family = distribution.look(self.root)

    def command(self, *names: str, text: str) -> None:
        for name in names:
            (self.tree / "bin" / name).write_text(text)
            (self.tree / "bin" / name).chmod(0o755)

    def _database(self, family: str) -> None:
        if family == "debian":
            (self.tree / "var/lib/dpkg").mkdir(parents=True)
            (self.tree / "var/lib/dpkg/status").write_text(str(INSTALLED["debian"]))
        elif family == "arch":
            for name in INSTALLED["arch"]:
                (self.tree / "var/lib/pacman/local" / name).mkdir(parents=True)
        else:
            self.command("rpm", text="#!/bin/sh\necho 1-1\n")

    def plan(self) -> list[Step]:
        return plan.make(
            self.config, self.text, root=self.root, system=self.family, generator=self.generator
        )

    def set_up(self) -> bool:
        return execute(self.plan(), root=self.root, yes=True)

    def take_back(self) -> bool:
        return undo(root=self.root, yes=True)
