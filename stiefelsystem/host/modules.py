"""The modules of `config.yaml`: files that say what each puts into the ramdisk, and why.

Ours lie in `modules/`; a user's own has the same form, and stands in the list by its path. What a
file may say are the dataclasses below; docs/ramdisk.md tells it to users.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

from stiefelsystem import checks
from stiefelsystem.checks import Absolute, Glob
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.sources import Source
from stiefelsystem.schema import Rule, read

_FOLDER = Path(__file__).resolve().parents[2] / "modules"
# Some packages have the architecture in their name.
_ARCHITECTURE = "{architecture}"
_BETTER_SHELL = ("bash-completion", "less", "nano")


def _wanted(text: str) -> str:
    checks.package(text.replace(_ARCHITECTURE, "amd64"))
    return text


Wanted = Annotated[str, Rule(_wanted, literal=True)]


@dataclass(frozen=True, kw_only=True)
class Class:
    """Files that are in the ramdisk, or left out of it, for one `reason`.

    `files` are globs of absolute paths, `kernel_modules` globs below the kernel's module folder; a
    folder stands for all that is in it. `python` are modules of which all imports are followed.
    """

    reason: str
    files: tuple[Glob, ...] = ()
    kernel_modules: tuple[Annotated[str, Rule(checks.relative)], ...] = ()
    python: tuple[str, ...] = ()


class Why(NamedTuple):
    """Why a file is in the ramdisk, or not: a class of files, and what of it this one is."""

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A small file that a module brings along: a unit, a setting."""

    path: Absolute
    text: Annotated[str, Rule(str)]


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module's file.

    `packages` are packed whole, with all that they depend on; of `packages_in_part` only what is
    taken. `start` are units that server and client start with.
    """

    description: str
    packages: tuple[Wanted, ...] = ()
    packages_in_part: tuple[Wanted, ...] = ()
    take: tuple[Class, ...] = ()
    leave_out: tuple[Class, ...] = ()
    files: tuple[TextFile, ...] = ()
    start: tuple[str, ...] = ()
    source: Source | None = None
    works_without_source: bool = False


@dataclass(frozen=True)
class Contents:
    """What all the modules of a configuration together say."""

    packages: tuple[str, ...]
    packages_in_part: tuple[str, ...]
    take: tuple[Class, ...]
    leave_out: tuple[Class, ...]
    files: dict[str, str]
    start: tuple[str, ...]
    sources: dict[str, Source]

    def with_nothing_left_out(self) -> Contents:
        """The same, but for the classes of files that are left out."""
        return replace(self, leave_out=())


def contents(config: Config, architecture: str) -> Contents:
    """What the configuration's modules, and its own settings, put into the ramdisk."""
    loaded = {name: _configured(config, name, _load(name)) for name in _names(config)}
    whole: set[str] = {package for module in loaded.values() for package in module.packages}
    whole.update(config.initrd.include_packages)
    if config.debug:
        whole.update(config.debug.extra_packages)
        whole.update(_BETTER_SHELL if config.debug.better_shell else ())
    in_part = {package for module in loaded.values() for package in module.packages_in_part}
    return Contents(
        packages=_for(architecture, whole),
        packages_in_part=_for(architecture, in_part),
        take=tuple(one for module in loaded.values() for one in module.take),
        leave_out=tuple(one for module in loaded.values() for one in module.leave_out),
        files={str(f.path).lstrip("/"): f.text for m in loaded.values() for f in m.files},
        start=tuple(unit for module in loaded.values() for unit in module.start),
        sources={name: module.source for name, module in loaded.items() if module.source},
    )


def _names(config: Config) -> list[str]:
    """The modules that are files; what a system module says is no matter of the ramdisk."""
    names = [name for name in config.modules if name != config.system]
    if config.boot.part and config.boot.part.type == "luks":
        names.append("luks")
    return names


def _load(name: str) -> Module:
    return read_module(Path(name) if name.endswith(".yaml") else _FOLDER / f"{name}.yaml")


def read_module(path: Path) -> Module:
    """Read a module's file. Raises `StiefelError` for what is wrong with it, with its line."""
    try:
        text = path.read_text()
    except OSError as error:
        raise StiefelError(
            f"cannot read the module {path}: {error.strerror}",
            hint="modules in config.yaml names it; a path is relative to that file",
        ) from error
    return read(text, Module, name=str(path))


def _configured(config: Config, name: str, module: Module) -> Module:
    """Where the source of one of our modules comes from is said in the configuration."""
    if module.source is None or name not in config.sources:
        return module
    place = config.sources[name]
    if place.url is not None and place.sha256 is None:
        raise StiefelError(
            f"module-configs.{name}.url: {place.url} is not built without its sha256",
            hint="download it, see that it is what you want, and enter what sha256sum prints",
        )
    if place.url is not None:
        return replace(module, source=replace(module.source, url=place.url, sha256=place.sha256))
    if module.works_without_source:
        return replace(module, source=None)
    raise StiefelError(
        f"modules: {name} is compiled from a source, and none is named",
        hint=f"set module-configs.{name}.url and its sha256, or remove {name} from modules",
    )


def _for(architecture: str, packages: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name.replace(_ARCHITECTURE, architecture) for name in packages))
