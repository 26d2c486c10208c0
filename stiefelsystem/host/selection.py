"""What of the ramdisk's tree goes into the image, and why; what not, and why not."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.console import warn
from stiefelsystem.host import debian, python_parts
from stiefelsystem.host.modules import Class, Contents, Why
from stiefelsystem.host.packages import Packages, merged

# Mount points: their contents are the build's, never the ramdisk's.
_EMPTY = ("dev", "proc", "run", "sys", "tmp")
# These travel otherwise: chosen one by one, beside the image, or apart since they are secret.
_APART = ("boot", "usr/lib/firmware", "usr/lib/modules")
# Former password hashes, which usermod leaves behind; what takes everything does not take these.
_NEVER = Class(
    reason="what the build's programs keep of former passwords",
    files=("/etc/shadow-", "/etc/gshadow", "/etc/gshadow-"),
)
_EVERYTHING = Class(reason="the module debug leaves nothing out", files=("/*",))


@dataclass(frozen=True)
class Exclusions:
    """What the configuration leaves out, whatever takes it: globs of paths, and of packages."""

    paths: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


class Selection:
    """The files of a tree that are taken, each with its reason.

    Names are paths without a leading slash. `taken` maps the name in the image to its reason,
    `sources` the name to the file in the tree where that has another name. Files of `apart` come
    into the image otherwise, as their texts say.
    """

    def __init__(
        self, tree: Path, contents: Contents, *, apart: dict[str, Why], everything: bool = False
    ) -> None:
        self._tree = tree
        self._contents = contents
        self._apart = apart
        self.packages = Packages(tree)
        self.taken: dict[str, Why] = {}
        self.sources: dict[str, str] = {}
        self.left_out: dict[str, Why] = {}
        self._take_packages()
        self._take_classes((_EVERYTHING,) if everything else contents.take)
        self._take_python()
        self._leave_out((*contents.leave_out, _NEVER))
        self._take_libraries()
        self._take_alternatives()
        self._take_link_targets()

    def exclude(self, exclusions: Exclusions) -> None:
        """Leave out what the configuration says; what excludes nothing is reported."""
        for pattern in exclusions.paths:
            found = [name for name in self.taken if _matches(name, merged(pattern))]
            if not found:
                warn(f"exclude-paths: nothing in the ramdisk matches {pattern}")
            self._drop(found, Why("initrd.packing.exclude-paths", pattern))
        for pattern in exclusions.packages:
            names = fnmatch.filter(self.packages.installed, pattern)
            if not names:
                warn(f"exclude-packages: there is no package {pattern} in the ramdisk")
            for package in names:
                why = Why("initrd.packing.exclude-packages", pattern)
                self._drop(self.packages.files(package), why)

    def entries(self) -> Iterator[tuple[str, Path]]:
        """The image's names in order, each with its file, a folder before what is in it."""
        folders = {str(parent) for name in self.taken for parent in Path(name).parents}
        for name in sorted({*self.taken, *folders, *_EMPTY} - {"."}, key=lambda n: n.split("/")):
            yield name, self._tree / self.sources.get(name, name)

    def take(self, name: str, why: Why) -> None:
        """Take one more; the first reason counts."""
        if name not in self._apart and not _below(name, (*_EMPTY, *_APART)):
            self.taken.setdefault(name, why)

    def _drop(self, names: Iterable[str], why: Why) -> None:
        for name in names:
            if self.taken.pop(name, None) is not None:
                self.left_out[name] = why

    def _take_packages(self) -> None:
        """Packages that are taken whole, and what they depend on; of libraries, only what the
        linker will ask for."""
        in_part = self._contents.packages_in_part
        roots = self._contents.packages
        whole = {
            name
            for name in self.packages.with_dependencies(roots, but=in_part)
            if name in roots or not self.packages.is_library(name)
        }
        wanted = {name: Why("whole packages", name) for name in whole}
        python = self.packages.depends_on("python3", whole)
        libraries = fnmatch.filter(self.packages.installed, "libpython3*") if python else []
        wanted |= {name: Why("the whole Python, for packages that use it") for name in libraries}
        for package, why in sorted(wanted.items()):
            for name in self.packages.files(package):
                path = self._tree / name
                if path.is_symlink() or path.is_file():
                    self.take(name, why)
                    if name.endswith(".py") and (code := python_parts.compiled(name, self._tree)):
                        self.take(code, why)

    def _take_classes(self, classes: Iterable[Class]) -> None:
        for one in classes:
            for pattern in one.files:
                names = list(self._found(pattern))
                if not names:
                    warn(f"{one.reason}: there is no {pattern} in the ramdisk's tree")
                for name in names:
                    self.take(name, Why(one.reason))

    def _found(self, pattern: str) -> Iterator[str]:
        """What a glob names in the tree, and all that lies in the folders that it names."""
        for path in sorted(self._tree.glob(merged(pattern))):
            if path.is_symlink() or not path.is_dir():
                yield str(path.relative_to(self._tree))
                continue
            for folder, folders, files in os.walk(path):
                yield str(Path(folder).relative_to(self._tree))
                links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
                for name in (*files, *links):
                    yield str(Path(folder, name).relative_to(self._tree))

    def _take_python(self) -> None:
        """What our programs import: the byte code alone, but for our own, whose lines are shown
        when it fails."""
        programs = [name for one in self._contents.take for name in one.python]
        for source in python_parts.imported(self._tree, programs):
            why = Why("Python, as our programs import it")
            code = python_parts.compiled(source, self._tree)
            if code is None:
                self.take(source, why)
            elif source not in self.taken and source not in self._apart:
                name = f"{source}c"
                self.take(name, why)
                self.sources[name] = code

    def _leave_out(self, classes: Iterable[Class]) -> None:
        for one in classes:
            for pattern in one.files:
                found = [name for name in self.taken if _matches(name, merged(pattern))]
                self._drop(found, Why(one.reason))

    def _take_libraries(self) -> None:
        """What the linker loads for the programs and libraries that are taken: ldd(1)."""
        programs = [name for name in sorted({*self.taken, *self._apart}) if self._is_elf(name)]
        # With two files at least, ldd says which one it speaks of.
        words = [f"/{self.sources.get(name, name)}" for name in (*programs, *programs[:1])]
        output = debian.nspawn(
            self._tree, ["sh", "-c", 'ldd "$@" 2>/dev/null || true', "sh", *words]
        )
        program = ""
        for line in output.splitlines():
            if not line.startswith("\t"):
                program = line.rstrip(":").lstrip("/")
            elif "not found" in line:
                warn(f"{program} needs {line.split()[0]}, which is not in the ramdisk's tree")
            elif path := next((word for word in line.split() if word.startswith("/")), ""):
                self.take(merged(path), Why("libraries", f"{program} is linked to it"))

    def _is_elf(self, name: str) -> bool:
        path = self._tree / self.sources.get(name, name)
        if not path.exists() or not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"

    def _take_alternatives(self) -> None:
        """The names under which programs are called that Debian's alternatives system manages:
        links by way of /etc/alternatives, which belong to no package."""
        for folder in ("usr/bin", "usr/sbin"):
            for path in sorted((self._tree / folder).iterdir()):
                if path.is_symlink() and str(path.readlink()).startswith("/etc/alternatives/"):
                    choice = self._tree / str(path.readlink()).lstrip("/")
                    target = merged(str(choice.readlink())) if choice.is_symlink() else ""
                    if target in self.taken:
                        self.take(str(path.relative_to(self._tree)), self.taken[target])

    def _take_link_targets(self) -> None:
        """A link is of no use without what it leads to; of a folder, that is the folder alone."""
        left = list(self.taken)
        while left:
            name = left.pop()
            path = self._tree / name
            if not path.is_symlink():
                continue
            target = path.readlink()
            joined = os.path.normpath(Path("/", name).parent / target).lstrip("/")
            found = merged(joined)
            if os.path.lexists(self._tree / found) and found not in self.taken:
                self.take(found, Why(self.taken[name].kind, f"{name} is a link to it"))
                left.append(found)

    def explain(self, path: str) -> str:
        """Why a path is in the image, or why not, in one or two lines."""
        name = merged(os.path.normpath(path))
        package = self.packages.owner(name)
        whose = f" (package {package})" if package else ""
        for candidate in (name, f"{name}c"):
            if candidate in self.taken:
                return f"/{candidate} is in: {self.taken[candidate]}{whose}"
        if name in self.left_out:
            return f"/{name} is left out: {self.left_out[name]}{whose}"
        inside = [one for one in self.taken if one.startswith(f"{name}/")]
        if inside:
            return f"/{name} is in, with {len(inside)} files in it; the first: /{min(inside)}"
        if not os.path.lexists(self._tree / name):
            return f"/{name} is not in the ramdisk's tree: no package that is installed has it"
        if name in self._apart:
            return f"/{name} is in: {self._apart[name]}"
        return (
            f"/{name} is not in: nothing takes it{whose}\n"
            "to have it, name its package in initrd.include-packages"
        )


def _below(name: str, folders: Iterable[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")
