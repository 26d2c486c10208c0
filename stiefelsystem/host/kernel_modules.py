"""The kernel's modules for the ramdisk: some classes, with their dependencies and firmware."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterable
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.host.modules import Class, Why
from stiefelsystem.run import run

_UPDATES = "updates"
# Of these indexes, modprobe reads the binary forms.
_TEXT = ("modules.alias", "modules.dep", "modules.order", "modules.symbols")


class KernelModules:
    """The modules of one kernel in the ramdisk's tree, with the reason for each that is chosen.

    Names are paths below the kernel's module folder, compressed or not: `kernel/fs/xfs/xfs.ko.xz`.
    """

    def __init__(self, tree: Path, version: str, classes: Iterable[Class]) -> None:
        self._tree = tree
        self._folder = tree / "usr/lib/modules" / version
        self._version = version
        self._dependencies = self._read_dependencies()
        self.reasons = self._choose(classes)

    def lay_out(self, to: Path) -> dict[str, Why]:
        """Copy the chosen modules below `to`, with their firmware; returns the reason of each file.

        Modules are stored uncompressed, since the ramdisk is compressed as a whole, much better
        than file by file. Their signatures, which Secure Boot wants, stay. `to` becomes the root of
        a tree with the same paths.
        """
        target = to / "usr/lib/modules" / self._version
        reasons = {}
        for name, reason in sorted(self.reasons.items()):
            copy = target / name.removesuffix(".xz").removesuffix(".zst")
            _copy(self._folder / name, copy)
            reasons[str(copy.relative_to(to))] = reason
        reasons |= self._copy_firmware(to, [to / name for name in reasons])
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            if (self._folder / name).exists():
                shutil.copy(self._folder / name, target / name)
        # depmod looks below BASE/lib/modules.
        (to / "lib").symlink_to("usr/lib")
        run(["depmod", "-b", to, self._version])
        (to / "lib").unlink()
        for name in _TEXT:
            (target / name).unlink(missing_ok=True)
        for index in target.glob("modules.*"):
            reasons[str(index.relative_to(to))] = Why("the index of the kernel's modules")
        return reasons

    def _choose(self, classes: Iterable[Class]) -> dict[str, Why]:
        """The reason of each chosen module; the first class that names it counts."""
        chosen: dict[str, Why] = {}
        for file in sorted((self._folder / _UPDATES).rglob("*.ko*")):
            chosen[str(file.relative_to(self._folder))] = Why("built for this ramdisk")
        built = {_stem(name) for name in chosen}
        for one in classes:
            for pattern in one.kernel_modules:
                for name in self._found(pattern):
                    if _stem(name) not in built:
                        chosen.setdefault(name, Why(one.reason))
        if not chosen:
            raise StiefelError(
                f"no kernel modules in {self._folder}", hint="build the ramdisk's tree again"
            )
        for name in list(chosen):
            for dependency in self._dependencies.get(name, []):
                if _stem(dependency) not in built:
                    chosen.setdefault(
                        dependency, Why("what other modules need", f"{_stem(name)} does")
                    )
        return chosen

    def _found(self, pattern: str) -> list[str]:
        """The modules that a glob names, or that lie in the folders that it names."""
        found = []
        for path in sorted((self._folder / "kernel").glob(pattern)):
            files = sorted(path.rglob("*.ko*")) if path.is_dir() else [path]
            found += [str(file.relative_to(self._folder)) for file in files]
        return found

    def _read_dependencies(self) -> dict[str, list[str]]:
        """modules.dep: depmod(8), `module: dependency …`, the dependencies' own included."""
        found = {}
        for line in (self._folder / "modules.dep").read_text().splitlines():
            module, _, dependencies = line.partition(":")
            found[module] = dependencies.split()
        # What was built for the ramdisk is in no index yet.
        by_name = {_stem(module): module for module in found}
        for file in (self._folder / _UPDATES).rglob("*.ko"):
            names = run(["modinfo", "--field=depends", file]).stdout.strip().split(",")
            direct = [by_name[_stem(name)] for name in names if _stem(name) in by_name]
            indirect = [module for name in direct for module in found[name]]
            found[str(file.relative_to(self._folder))] = [*direct, *indirect]
        return found

    def _copy_firmware(self, to: Path, modules: list[Path]) -> dict[str, Why]:
        """Copy what the modules say that they load, as far as a package of the tree has it."""
        reasons = {}
        firmware = self._tree / "usr/lib/firmware"
        for module in modules:
            wanted = run(["modinfo", "--field=firmware", module]).stdout.split()
            for pattern in wanted:
                for source in sorted(firmware.glob(pattern)):
                    copy = to / source.relative_to(self._tree)
                    _copy(source, copy)
                    reasons[str(copy.relative_to(to))] = Why("firmware", f"for {module.stem}")
        return reasons


def _stem(name: str) -> str:
    return Path(name).name.partition(".")[0].replace("-", "_")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".xz" and ".ko" in source.name:
        with lzma.open(source) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
    else:
        shutil.copyfile(source, target)
    target.chmod(0o644)
