"""What dpkg knows of a tree: its packages, what they depend on, and whose each file is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.host import debian

_FORMAT = "\\t".join(("${Package}", "${Section}", "${Provides}", "${Pre-Depends}, ${Depends}\\n"))


@dataclass(frozen=True)
class Package:
    """An installed package; `depends` has all alternatives, by their names alone."""

    name: str
    section: str
    provides: frozenset[str]
    depends: frozenset[str]


class Packages:
    """The packages of a tree."""

    def __init__(self, tree: Path) -> None:
        self._info = tree / "var/lib/dpkg/info"
        listed = debian.nspawn(tree, ["dpkg-query", "--show", f"--showformat={_FORMAT}"])
        self.installed: dict[str, Package] = {}
        for line in listed.splitlines():
            name, section, provides, depends = line.split("\t")
            self.installed[name] = Package(name, section, _names(provides), _names(depends))
        self._owners: dict[str, str] = {}
        for listing in self._info.glob("*.list"):
            package = listing.stem.partition(":")[0]
            for path in listing.read_text().splitlines():
                self._owners[merged(path)] = package

    def owner(self, name: str) -> str:
        """The package of a file (a path without leading slash), "" if it is nobody's.

        What Python compiled belongs to the source's package.
        """
        if name not in self._owners and "/__pycache__/" in name:
            folder, _, file = name.partition("/__pycache__/")
            name = f"{folder}/{file.partition('.')[0]}.py"
        return self._owners.get(name, "")

    def files(self, package: str) -> list[str]:
        """The paths, without leading slash, that a package owns."""
        return [path for path, owner in self._owners.items() if owner == package]

    def with_dependencies(self, roots: Iterable[str], *, but: Iterable[str]) -> set[str]:
        """`roots` and all that they depend on, going no further at packages of `but`."""
        providers = {
            provided: package.name
            for package in self.installed.values()
            for provided in package.provides
        }
        found: set[str] = set()
        left = set(roots)
        stop = set(but)
        while left:
            name = left.pop()
            name = name if name in self.installed else providers.get(name, "")
            if name and name not in found and name not in stop:
                found.add(name)
                left |= self.installed[name].depends
        return found

    def is_library(self, package: str) -> bool:
        """Whether a package holds nothing but libraries: Debian's section says so."""
        return self.installed[package].section.endswith("libs")

    def depends_on(self, package: str, names: Iterable[str]) -> bool:
        """Whether one of `names` depends on `package`, directly."""
        return any(package in self.installed[name].depends for name in names)


def merged(path: str) -> str:
    """A path of dpkg's as it stands in a merged-/usr tree, where /bin is a link to /usr/bin."""
    relative = path.lstrip("/")
    first, slash, _ = relative.partition("/")
    return f"usr/{relative}" if slash and first in ("bin", "lib", "lib64", "sbin") else relative


def _names(relations: str) -> frozenset[str]:
    """The names in a relation field: deb-src-control(5), `a (>= 1) | b:any, c [arch]`."""
    found = (re.match(r"[a-z0-9][a-z0-9+.-]*", one.strip()) for one in re.split("[,|]", relations))
    return frozenset(match.group() for match in found if match)
