"""Which program makes this system's initrds, and how it is set up."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import distribution, tree
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.setup.root import Root

Name = Literal["initramfs-tools", "mkinitcpio", "dracut"]

# The program of each generator. update-initramfs is none of them: dracut brings one of its own.
_PROGRAMS: dict[Name, tuple[str, ...]] = {
    "initramfs-tools": ("/usr/sbin/mkinitramfs", "/usr/bin/mkinitramfs"),
    "mkinitcpio": ("/usr/bin/mkinitcpio",),
    "dracut": ("/usr/bin/dracut", "/usr/sbin/dracut"),
}
# The packages, where there is no package of the generator's own name.
_PACKAGES = {("gentoo", "dracut"): "sys-kernel/dracut"}
_UNSUPPORTED = {
    "booster": ("/usr/bin/booster",),
    "genkernel": ("/usr/bin/genkernel",),
    "tiny-initramfs": ("/usr/sbin/mktirfs", "/usr/bin/mktirfs"),
    "ugrd": ("/usr/bin/ugrd",),
}
# The generator that goes with each system module of config.yaml, where a family has several. On
# Debian, the packages exclude each other.
_CHOSEN: dict[str, Name] = {"system-arch": "mkinitcpio", "system-arch-dracut": "dracut"}
_MODULES = {
    "debian": ("system-debian",),
    "arch": ("system-arch", "system-arch-dracut"),
    # Both name kernels by their versions, beside initramfs-*.img.
    "fedora": ("system-gentoo",),
    "gentoo": ("system-gentoo",),
}


@dataclass(frozen=True)
class Generator:
    """What makes the initrds: the program at `path`; `detail` is how it is set up, in words."""

    name: Name
    version: str
    path: str
    detail: str


def check_module(config: Config, system: Distribution) -> None:
    """Raise `StiefelError` if the system module of config.yaml is another system's."""
    fitting = _MODULES.get(system.family)
    if fitting and config.system not in fitting:
        raise StiefelError(
            f"config.yaml has the module {config.system}, but this is {system.name}",
            hint=f"modules: {' or '.join(fitting)}; then build the ramdisk again",
        )


def look(root: Root, system: Distribution, *, module: str = "") -> Generator:
    """The generator that makes the initrds; `module` is config.yaml's system module, which tells
    where several are installed.

    Raises `StiefelError` if there is none, or none that is supported, or one that is set up in a
    way that cannot work.
    """
    found = {
        name: path
        for name, paths in _PROGRAMS.items()
        if (path := next((path for path in paths if tree.is_file(root, path)), ""))
    }
    name = _used(root, system, found, module)
    version = distribution.installed_version(root, system.family, _package(system, name))
    details: dict[Name, Callable[[Root], str]] = {
        "initramfs-tools": _initramfs_tools,
        "mkinitcpio": _mkinitcpio,
        "dracut": _dracut,
    }
    return Generator(name, version, found[name], details[name](root))


def _used(root: Root, system: Distribution, found: dict[Name, str], module: str) -> Name:
    wanted = _CHOSEN.get(module)
    if wanted and system.family == "arch":
        if wanted in found:
            return wanted
        others = " and ".join(found) or "nothing that is supported"
        raise StiefelError(
            f"config.yaml has the module {module}, but {wanted} is not installed: {others} is",
            hint="choose system-arch for mkinitcpio, or system-arch-dracut for dracut",
        )
    if system.family == "debian" and len(found) > 1:
        # mkinitramfs alone, from initramfs-tools-core, may lie beside dracut.
        found = {
            name: path
            for name, path in found.items()
            if distribution.is_installed(root, system.family, name)
        } or found
    if len(found) == 1:
        return next(iter(found))
    if found:
        raise StiefelError(
            f"several programs that make initrds are installed: {', '.join(found.values())}",
            hint="remove those that are not used",
        )
    others = ", ".join(
        name for name, paths in _UNSUPPORTED.items() if any(tree.is_file(root, p) for p in paths)
    )
    raise StiefelError(
        f"the initrds are made by {others}, which is not supported"
        if others
        else "nothing is installed that makes initrds",
        hint=f"supported are: {', '.join(_PROGRAMS)}",
    )


def _package(system: Distribution, name: str) -> str:
    return _PACKAGES.get((system.family, name), name)


def _initramfs_tools(root: Root) -> str:
    """initramfs.conf(5), and conf.d, which comes later."""
    files = ["/etc/initramfs-tools/initramfs.conf", *_in(root, "/etc/initramfs-tools/conf.d")]
    return f"MODULES={' '.join(_last(root, 'MODULES', files)) or 'most'}"


def _mkinitcpio(root: Root) -> str:
    """mkinitcpio.conf(5): the flavour of its images, by HOOKS."""
    files = ["/etc/mkinitcpio.conf", *_in(root, "/etc/mkinitcpio.conf.d", ".conf")]
    hooks = _last(root, "HOOKS", files)
    if "systemd" in hooks:
        return "with systemd in the image"
    if "udev" in hooks:
        return "with busybox in the image"
    raise StiefelError(
        f"HOOKS in /etc/mkinitcpio.conf has neither udev nor systemd: {' '.join(hooks)!r}",
        hint="add one of them: nothing else would load the drivers of a desktop",
    )


def _dracut(root: Root) -> str:
    """dracut.conf(5): what is in /etc hides what has the same name in /usr/lib."""
    folders = ("/usr/lib/dracut/dracut.conf.d", "/etc/dracut.conf.d")
    found = [path for folder in folders for path in _in(root, folder, ".conf")]
    by_name = {path.rpartition("/")[2]: path for path in found}
    files = ["/etc/dracut.conf", *(by_name[name] for name in sorted(by_name))]
    omitted = _last(root, "omit_dracutmodules", files)
    systemd = tree.is_file(root, "/usr/lib/systemd/systemd") and "systemd" not in omitted
    kind = f"{'with' if systemd else 'without'} systemd in the initrd"
    return f"{kind}, hostonly" if _last(root, "hostonly", files) == ["yes"] else kind


def _in(root: Root, folder: str, suffix: str = "") -> list[str]:
    """The files in a folder, as sorted as programs read them."""
    return [f"{folder}/{name}" for name in tree.names(root, folder) if name.endswith(suffix)]


def _last(root: Root, name: str, files: Iterable[str]) -> list[str]:
    """The words that a variable has when files of shell assignments were read, one by one."""
    value: list[str] = []
    for file in files:
        value = assigned(tree.text(root, file), name, value)
    return value


def assigned(text: str, name: str, before: list[str]) -> list[str]:
    """The words of a bash variable after `text` was sourced; it had those of `before`.

    Reads what such files have: `name=word`, `name="words"`, `name=(an array)` over several lines,
    `+=`, and comments. Whatever is computed is taken as it stands there, or left out.
    """
    value = before
    for match in _assignments(name).finditer(text):
        words = _words(match["array"] if match["array"] is not None else match["plain"])
        value = value + words if match["more"] else words
    return value


def _assignments(name: str) -> re.Pattern[str]:
    quoted = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*')"""
    return re.compile(
        rf"^[ \t]*(?:export[ \t]+)?{name}(?P<more>\+?)="
        rf"(?:\((?P<array>(?:{quoted}|\#[^\n]*|[^()\"'\#])*+)\)"
        rf"|(?P<plain>(?:{quoted}|[^\s\"'\#;(])*))",
        re.MULTILINE | re.DOTALL,
    )


def _words(text: str) -> list[str]:
    try:
        return " ".join(shlex.split(text, comments=True)).split()
    except ValueError:  # a quote that is not closed
        return text.split()
