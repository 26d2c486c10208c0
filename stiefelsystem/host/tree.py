"""The ramdisk's tree: a small Debian with our programs, from which the image is packed.

It is built in stages: `base` (Debian's packages), `drivers` (what is compiled from sources of its
own), `files` (ours). What a stage has made is known by what it was made of, so a stage that was
interrupted is done again, and nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stiefelsystem import files, keys
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian, modules, sources
from stiefelsystem.host.debian import Supply

SOURCE = Path(__file__).resolve().parents[2]
KEY_PATH = "etc/stiefelsystem/aes-key"
# Records inside the tree, so that they can't outlive it: what was laid over it, and that all is
# done.
_LAID_OVER = "etc/stiefelsystem/laid-over"
_COMPLETE = "etc/stiefelsystem/complete"
# Where Debian's files wait that something was laid over.
_COVERED = "etc/stiefelsystem/covered"
_PACKAGE = "usr/lib/python3/dist-packages/stiefelsystem"
# What no program of the ramdisk imports. Of bootloader/, it takes unified kernel images apart.
ELSEWHERE = (
    *("host", "laptop", "__pycache__", "config.py", "checks.py", "schema.py"),
    *("bls.py", "efi.py", "grub*.py", "loaders.py", "syslinux.py", "systemd_boot.py"),
    *("versions.py", "words.py"),
)
_UNITS = "etc/systemd/system"
_SIDES = ("stiefel-server", "stiefel-client")


def base(config: Config, supply: Supply) -> None:
    """Stage `base`: the tree with all the Debian packages that the configuration wants."""
    wanted = modules.contents(config, debian.architecture())
    packages = [*wanted.packages_in_part, *wanted.packages]
    debian.packaged_tree(config.paths.initrd, packages, supply)


def drivers(config: Config, supply: Supply) -> None:
    """Stage `drivers`: whatever the configured modules compile, into the cache."""
    list(_built(config, supply))


def lay_over(config: Config, supply: Supply) -> None:
    """Stage `files`: our programs and settings in the tree; what an earlier version laid there
    goes. The tree is complete then."""
    tree = config.paths.initrd
    if not tree.exists():
        raise StiefelError(f"there is no tree at {tree}", hint="don't skip the stage base")
    (tree / _COMPLETE).unlink(missing_ok=True)
    keys.create(config.paths.key)
    _remove_laid(tree)
    _lay(tree, config, supply)
    ignored = shutil.ignore_patterns(*ELSEWHERE)
    shutil.copytree(SOURCE / "stiefelsystem", tree / _PACKAGE, ignore=ignored)
    debian.compile_python(tree, f"/{_PACKAGE}")
    _configure(tree, config)
    files.write(tree / _COMPLETE, "")


def _lay(tree: Path, config: Config, supply: Supply) -> None:
    """Lay `initrd/`, what was compiled, and the modules' own files and links over the tree."""
    contents = modules.contents(config, debian.architecture())
    overlays = [SOURCE / "initrd", *_built(config, replace(supply, offline=True))]
    copies = {name: folder / name for folder in overlays for name in _files_below(folder)}
    links = {
        f"{_UNITS}/{side}.service.wants/{unit}": unit for side in _SIDES for unit in contents.start
    }
    laid = sorted((*copies, *contents.files, *links))
    for name in laid:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(tree / name):
            (tree / _COVERED / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).rename(tree / _COVERED / name)
    # Recorded before it is done, so that no half of it outlives an interruption.
    files.write(tree / _LAID_OVER, "".join(f"{name}\n" for name in laid))
    for name, source in copies.items():
        shutil.copy(source, tree / name, follow_symlinks=False)
    for name, text in contents.files.items():
        files.write(tree / name, text)
    for name, unit in links.items():
        (tree / name).symlink_to(f"../{unit}")


def own_files(tree: Path) -> Iterator[str]:
    """What is ours in a complete tree, without what is secret: names without leading slash."""
    yield from (tree / _LAID_OVER).read_text().splitlines()
    yield from ("etc/hostname", "etc/machine-id", "init")
    for path in sorted((tree / _PACKAGE).rglob("*")):
        if path.is_file():
            yield str(path.relative_to(tree))


def require_tree(tree: Path) -> None:
    """Raise `StiefelError` unless there is a complete tree."""
    if not (tree / _COMPLETE).exists():
        raise StiefelError(
            f"there is no complete ramdisk tree at {tree}", hint="run ./create-initrd-nspawn"
        )


def kernel_version(tree: Path) -> str:
    """The one kernel version in the tree that has both an image and modules."""
    found = [path.name for path in (tree / "usr/lib/modules").glob("*")]
    versions = sorted(name for name in found if kernel(tree, name).exists())
    if len(versions) != 1:
        raise StiefelError(
            f"{tree} has {len(versions)} kernels, not one: {' '.join(versions)}",
            hint="run ./create-initrd-nspawn --force base",
        )
    return versions[0]


def kernel(tree: Path, version: str) -> Path:
    """The kernel's image in the tree."""
    return tree / "boot" / f"vmlinuz-{version}"


def _built(config: Config, supply: Supply) -> Iterator[Path]:
    """The folders with what the configured modules compile."""
    for name, source in modules.contents(config, debian.architecture()).sources.items():
        yield sources.built(
            name,
            source,
            kernel=kernel_version(config.paths.initrd),
            workplace=config.paths.initrd_devel,
            supply=supply,
        )


def _remove_laid(tree: Path) -> None:
    record = tree / _LAID_OVER
    for name in record.read_text().splitlines() if record.exists() else ():
        (tree / name).unlink(missing_ok=True)
        if os.path.lexists(tree / _COVERED / name):
            (tree / _COVERED / name).rename(tree / name)
    shutil.rmtree(tree / _PACKAGE, ignore_errors=True)


def _files_below(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    )


def _configure(tree: Path, config: Config) -> None:
    files.write(tree / "etc/hostname", "stiefelsystem\n")
    # Empty, not missing: missing means "first boot", with questions on the console.
    files.write(tree / "etc/machine-id", "")
    # The kernel starts /init of an initramfs.
    (tree / "init").unlink(missing_ok=True)
    (tree / "init").symlink_to("usr/lib/systemd/systemd")
    files.write(tree / KEY_PATH, keys.load(config.paths.key), mode=0o600)
    shell = config.initrd.shell
    if not (tree / str(shell).lstrip("/")).exists():
        raise StiefelError(
            f"initrd.shell: {shell} is not in the ramdisk",
            hint="add its package to initrd.include-packages",
        )
    debian.nspawn(tree, ["usermod", "--shell", str(shell), "root"])
    if config.initrd.password is None:
        debian.nspawn(tree, ["usermod", "--password", "*", "root"])
    else:
        debian.nspawn(tree, ["chpasswd"], text=f"root:{config.initrd.password}\n")
