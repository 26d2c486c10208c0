"""Pack the ramdisk's tree: image, kernel, and a small archive of its own for what is secret."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import cpio, files
from stiefelsystem.config import Config
from stiefelsystem.console import say, step
from stiefelsystem.host import debian, layers, modules, tree, treemap
from stiefelsystem.host import report as tables
from stiefelsystem.host.kernel_modules import KernelModules
from stiefelsystem.host.modules import Why
from stiefelsystem.host.report import Item
from stiefelsystem.host.selection import Exclusions, Selection

_QUICK = ("zstd", "-T0", "-3")
_SECRET = (tree.KEY_PATH, "etc/shadow")
_OWN = "our own files"


def kernel_of(image: Path) -> Path:
    """Where the kernel that belongs to an image lies."""
    return image.with_suffix(".vmlinuz")


def secrets_of(image: Path) -> Path:
    """Where the archive with the key and the password hash that belong to an image lies."""
    return image.with_suffix(".key.cpio")


def packages_of(image: Path) -> Path:
    """Where the list of the Debian packages that an image is made of lies."""
    return image.with_suffix(".packages")


def compressor(config: Config) -> tuple[str, ...]:
    """The configured compressor; the module `debug` may prefer a quick one."""
    if config.debug and config.debug.faster_compressor:
        return _QUICK
    return config.initrd.packing.compressor_argv


@dataclass(frozen=True)
class Parts:
    """All that an image is made of, chosen: the tree's files, and the kernel's modules."""

    selection: Selection
    modules: Path  # the root of the folder where they are laid out
    module_reasons: dict[str, Why]
    own: dict[str, Path]  # files of ours, by their names in the image

    def items(self) -> Iterator[Item]:
        """Every file of the image, with its size, its package and its reason."""
        for name, path in self.selection.entries():
            if path.is_file() and not path.is_symlink():
                package = self.selection.packages.owner(self.selection.sources.get(name, name))
                reason = self.selection.taken[name].kind
                yield Item(name, path.stat().st_size, package or "made here", reason)
        for name, why in self.module_reasons.items():
            package = "firmware" if "/firmware/" in name else "kernel modules"
            yield Item(name, (self.modules / name).stat().st_size, package, why.kind)
        for name, path in self.own.items():
            if path.is_file() and not path.is_symlink():
                yield Item(name, path.stat().st_size, "stiefelsystem", _OWN)


@contextmanager
def chosen(config: Config) -> Iterator[Parts]:
    """Choose what the image is made of; the kernel's modules lie in a folder of their own for as
    long as the block runs."""
    source = config.paths.initrd
    tree.require_tree(source)
    contents = modules.contents(config, debian.architecture())
    debug = config.debug
    if debug and debug.dont_exclude_paths:
        contents = contents.with_nothing_left_out()
    # Kernel modules of ours are chosen with the others.
    own = {
        name: source / name
        for name in tree.own_files(source)
        if not name.startswith("usr/lib/modules/")
    }
    apart = dict.fromkeys(own, Why(_OWN))
    apart |= dict.fromkeys(_SECRET, Why("what is secret", "in the small archive beside the image"))
    packing = config.initrd.packing
    with tempfile.TemporaryDirectory(prefix="stiefel-modules-") as folder:
        with step("choose what is packed"):
            everything = debug is not None and debug.dont_exclude_packages
            selection = Selection(source, contents, apart=apart, everything=everything)
            selection.exclude(Exclusions(packing.exclude_paths, packing.exclude_packages))
        with step("choose kernel modules and their firmware"):
            kernel = KernelModules(source, tree.kernel_version(source), contents.take)
            reasons = kernel.lay_out(Path(folder))
        yield Parts(selection, Path(folder), reasons, own)


def pack(config: Config, *, image: Path, filter_command: Sequence[str]) -> None:
    """Write `image`, its kernel, its secrets and its list of packages, each replaced as a whole.

    `image` holds nothing secret; the secrets have mode 0600, and both together are the ramdisk.
    """
    source = config.paths.initrd
    files.make_folder(image.parent)
    with chosen(config) as parts:
        write_image(parts, image, filter_command, cache=config.paths.cache)
    version = tree.kernel_version(source)
    with (
        files.replacing(kernel_of(image)) as out,
        tree.kernel(source, version).open("rb") as kernel,
    ):
        shutil.copyfileobj(kernel, out)
    files.write(packages_of(image), (source / debian.MANIFEST).read_text())
    files.write(secrets_of(image), _secrets(source), mode=0o600)
    files.belongs_to_invoker(*(f(image) for f in (Path, kernel_of, packages_of, secrets_of)))
    say(f"{image}: {image.stat().st_size / 1e6:.1f} MB")


def write_image(parts: Parts, image: Path, filter_command: Sequence[str], *, cache: Path) -> None:
    """Write the image as layers: what changes seldom first, our own files last."""
    module_entries = [
        (str(path.relative_to(parts.modules)), path)
        for path in sorted(parts.modules.rglob("*"), key=lambda path: path.parts)
    ]
    own_entries = _with_folders(parts.own)
    wanted = {
        "the system": parts.selection.entries(),
        "kernel modules": module_entries,
        _OWN: own_entries,
    }
    made = [
        layers.compressed(name, entries, command=filter_command, cache=cache)
        for name, entries in wanted.items()
    ]
    with files.replacing(image) as out:
        layers.join(made, out)


def explain(config: Config, paths: Iterable[str]) -> list[str]:
    """For each path, why it is in the image, or why not; kernel modules by their name, too."""
    with chosen(config) as parts:
        return [_explain(parts, path) for path in paths]


def _explain(parts: Parts, path: str) -> str:
    for name, why in parts.module_reasons.items():
        if path.lstrip("/") in (name, Path(name).name):
            return f"/{name} is in: {why}"
    return parts.selection.explain(path)


def _with_folders(own: dict[str, Path]) -> list[tuple[str, Path]]:
    """Files of the tree with the folders above them, in the order of an archive."""
    found = dict(own)
    for name, path in own.items():
        parents = zip(Path(name).parents, path.parents, strict=False)
        found |= {str(folder): real for folder, real in parents if str(folder) != "."}
    return sorted(found.items(), key=lambda entry: entry[0].split("/"))


def _secrets(source: Path) -> bytes:
    folder = cpio.Entry(name=str(Path(tree.KEY_PATH).parent), mode=0o40755)
    entries = [cpio.Entry(name=n, mode=0o100600, data=(source / n).read_bytes()) for n in _SECRET]
    return cpio.archive([folder, *entries])


def report(config: Config, *, picture: Path | None) -> str:
    """What makes the image large, as a table, and as a picture where one is wanted."""
    with chosen(config) as parts:
        items = list(parts.items())
    image = config.paths.cpio
    if picture:
        files.write(picture, treemap.svg(items, title=f"the ramdisk {image.name}"))
        files.belongs_to_invoker(picture)
    size = image.stat().st_size if image.exists() else None
    return tables.table(items, compressed=size)
