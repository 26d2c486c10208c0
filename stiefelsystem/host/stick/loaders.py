"""The stick's boot loaders, out of packages of the ramdisk's Debian release.

For UEFI they are signed: the firmware trusts Microsoft's key, by which shim is signed; shim trusts
Debian's, by which GRUB and the kernel are. For a BIOS, GRUB's parts are put together here.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError, say, step
from stiefelsystem.host import debian
from stiefelsystem.host.bootstrap import SUITE
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.stick.layout import GRUB

# In the folder of loaders: the files of the stick's filesystem; the parts that lie before it; what
# a network boot needs instead; the packages that they are of.
ESP, NET, PACKAGES = "esp", "net", "packages"
BIOS_BOOT, BIOS_CORE = "bios/boot.img", "bios/core.img"
NET_BIOS_CORE = f"{NET}/{GRUB}/i386-pc/core.0"

_MODULES = f"{GRUB}/i386-pc"
# All that reads the menu. The core has to fit in front of the first partition, wherever that is.
_CORE = ("biosdisk", "part_msdos", "fat")
_NET_CORE = ("pxe", "tftp")
_MENU_MODULES = ("normal", "linux", "configfile", "test", "echo", "serial", "terminal", "halt")
_LISTS = "*.lst"
_BIOS_PACKAGE = "grub-pc-bin"
_SHOW = ("dpkg-query", "--show", "--showformat=${Package} ${Version}\\n")
_TREE = "loaders-tree"
_TOO_OLD = "get a newer stiefelsystem, which knows what Debian's packages have become"


@dataclass(frozen=True)
class Machine:
    """What Debian, GRUB and UEFI call an architecture's boot loaders, and whether it has a BIOS."""

    packages: tuple[str, ...]
    esp: Mapping[str, str]  # UEFI's names for removable media, and the packages'
    net: Mapping[str, str]
    bios: bool


def _machine(debian_name: str, grub: str, efi: str, *, bios: bool) -> Machine:
    folder = f"usr/lib/grub/{grub}-efi-signed"
    loader = f"EFI/BOOT/BOOT{efi.upper()}.EFI"
    shim, manager = (f"usr/lib/shim/{name}{efi}.efi.signed" for name in ("shim", "mm"))
    both = {loader: shim, f"EFI/BOOT/mm{efi}.efi": manager}
    second = f"EFI/BOOT/grub{efi}.efi"
    return Machine(
        packages=(
            f"grub-efi-{debian_name}-signed",
            "shim-signed",
            f"shim-helpers-{debian_name}-signed",
        ),
        esp={**both, second: f"{folder}/grub{efi}.efi.signed"},
        net={**both, second: f"{folder}/grubnet{efi}.efi.signed"},
        bios=bios,
    )


_MACHINES = {
    "amd64": _machine("amd64", "x86_64", "x64", bios=True),
    "arm64": _machine("arm64", "arm64", "aa64", bios=False),
}


def loaders_of(image: Path) -> Path:
    """Where the boot loaders lie that go with a ramdisk."""
    return image.with_suffix(".loaders")


def size(folder: Path) -> int:
    """The bytes that the loaders take in the stick's filesystem."""
    return sum(path.stat().st_size for path in (folder / ESP).rglob("*") if path.is_file())


def digests(folder: Path) -> list[str]:
    """What the boot loaders are: the packages, and SHA-256 and name of each program."""
    lines = (folder / PACKAGES).read_text().splitlines()
    programs = [path for path in sorted((folder / ESP / "EFI").rglob("*")) if path.is_file()]
    programs += [folder / name for name in (BIOS_BOOT, BIOS_CORE) if (folder / name).exists()]
    for path in programs:
        lines.append(f"{files.digest(path)}  {path.relative_to(folder)}")
    return lines


def make(image: Path, workdir: Path, supply: Supply) -> None:
    """The boot loaders beside the ramdisk's image, from the cache if they are there.

    Raises `StiefelError` when the packages cannot be had, or are not as expected.
    """
    machine = _MACHINES[debian.architecture()]
    wanted = repr((SUITE, debian.architecture(), machine, _CORE, _NET_CORE, _MENU_MODULES))
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    place = supply.cache / f"loaders-{SUITE}-{digest}"
    if place.is_dir() and not supply.refresh:
        say("the stick's boot loaders are there already")
    else:
        _make(place, workdir / _TREE, machine, supply)
    target = loaders_of(image)
    if target.exists() and _sums(place) == _sums(target):
        return
    files.make_folder(target.parent)
    new = target.with_suffix(".loaders.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        shutil.copytree(place, new)
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    files.belongs_to_invoker(target, *target.rglob("*"))


def forget(cache: Path) -> None:
    """Have them made anew the next time."""
    for folder in cache.glob("loaders-*"):
        shutil.rmtree(folder)


def _make(place: Path, tree: Path, machine: Machine, supply: Supply) -> None:
    if supply.offline:
        raise StiefelError(
            f"the cache {supply.cache} has no boot loaders for the stick",
            hint="build once without --offline",
        )
    new = place.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        debian.base_tree(tree, supply)
        with step("the stick's boot loaders"):
            versions = debian.unpack(tree, machine.packages)
            if machine.bios:
                debian.install(tree, [_BIOS_PACKAGE], supply)
                versions += debian.nspawn(tree, [*_SHOW, _BIOS_PACKAGE])
            _copy(tree, machine.esp, new / ESP)
            _copy(tree, machine.net, new / NET)
            if machine.bios:
                _put_together(tree, new)
        files.write(new / PACKAGES, versions)
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)
    finally:
        debian.remove_tree(tree)
        shutil.rmtree(new, ignore_errors=True)


def _copy(tree: Path, wanted: Mapping[str, str], target: Path) -> None:
    for name, source in wanted.items():
        if not (tree / source).is_file():
            raise StiefelError(
                f"Debian's packages of boot loaders have no /{source} any more",
                hint=_TOO_OLD,
            )
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / source, target / name)


def _put_together(tree: Path, target: Path) -> None:
    """GRUB for a BIOS: its two parts before the filesystem, and the modules in it."""
    source = tree / "usr/lib/grub/i386-pc"
    modules = [source / f"{name}.mod" for name in _needed(source / "moddep.lst")]
    for side in (ESP, NET):
        folder = target / side / _MODULES
        folder.mkdir(parents=True)
        for path in (*modules, *source.glob(_LISTS)):
            shutil.copyfile(path, folder / path.name)
    (target / BIOS_BOOT).parent.mkdir()
    shutil.copyfile(source / "boot.img", target / BIOS_BOOT)
    # The folder of the menu; without a disk's name, on the disk that GRUB was started from.
    _make_core(tree, "i386-pc", f"(,msdos1)/{GRUB}", _CORE, target / BIOS_CORE)
    _make_core(tree, "i386-pc-pxe", f"(pxe)/{GRUB}", _NET_CORE, target / NET_BIOS_CORE)


def _make_core(tree: Path, kind: str, prefix: str, modules: tuple[str, ...], target: Path) -> None:
    options = [f"--format={kind}", f"--prefix={prefix}", "--output=/core"]
    debian.nspawn(tree, ["grub-mkimage", *options, *modules], network=False)
    shutil.copyfile(tree / "core", target)


def _needed(dependencies: Path) -> list[str]:
    """GRUB's modules for the menu, and what they need: moddep.lst has `module: needed needed`."""
    lines = (line.partition(":") for line in dependencies.read_text().splitlines())
    needs = {name.strip(): others.split() for name, _, others in lines}
    found: dict[str, None] = {}
    left = list(_MENU_MODULES)
    while left:
        name = left.pop()
        if name not in needs:
            raise StiefelError(
                f"{_BIOS_PACKAGE} has no module {name} any more",
                hint=_TOO_OLD,
            )
        if name not in found:
            found[name] = None
            left += needs[name]
    return sorted(found)


def _sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): files.digest(path)
        for path in folder.rglob("*")
        if path.is_file()
    }
