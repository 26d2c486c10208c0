"""Pack the ramdisk's tree: image, kernel, and a small archive of its own for what is secret."""

from __future__ import annotations

import fnmatch
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from stiefelsystem import cpio, files
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError, say, step, warn
from stiefelsystem.host import kernel_modules, modules, tree
from stiefelsystem.run import pipe_into

# Mount points: their contents are the build's, never the ramdisk's.
_EMPTY = ("/dev/*", "/proc/*", "/run/*", "/sys/*", "/tmp/*")
_QUICK = ("zstd", "-T0", "-3")
_SECRET = (tree.KEY_PATH, "etc/shadow")


def kernel_of(image: Path) -> Path:
    """Where the kernel that belongs to an image lies."""
    return image.with_suffix(".vmlinuz")


def secrets_of(image: Path) -> Path:
    """Where the archive with the key and the password hash that belong to an image lies."""
    return image.with_suffix(".key.cpio")


def compressor(config: Config) -> tuple[str, ...]:
    """The configured compressor; the module `debug` may prefer a quick one."""
    if config.debug and config.debug.faster_compressor:
        return _QUICK
    return config.initrd.packing.compressor_argv


def pack(config: Config, *, image: Path, filter_command: Sequence[str]) -> None:
    """Write `image`, its kernel and its secrets, each replaced as a whole.

    `image` holds nothing secret; the secrets have mode 0600, and both together are the ramdisk.
    """
    source = config.paths.initrd
    tree.require_tree(source)
    version = _kernel_version(source)
    exclusions = modules.exclusions(config)
    files.make_folder(image.parent)
    with tempfile.TemporaryDirectory(prefix="stiefel-modules-") as name:
        chosen = Path(name)
        with step("choose kernel modules"):
            kernel_modules.select(source / "usr/lib/modules" / version, chosen)
        with (
            step(f"pack and compress with {filter_command[0]}"),
            files.replacing(image) as out,
            pipe_into(filter_command, out) as packed,
        ):
            writer = cpio.Writer(packed)
            for path in _included(source, exclusions):
                writer.add_path(str(path.relative_to(source)), path)
            for path in _walk(chosen / "usr/lib/modules"):
                writer.add_path(str(path.relative_to(chosen)), path)
            writer.close()
    with files.replacing(kernel_of(image)) as out, _kernel(source, version).open("rb") as kernel:
        shutil.copyfileobj(kernel, out)
    files.write(secrets_of(image), _secrets(source), mode=0o600)
    files.belongs_to_invoker(image, kernel_of(image), secrets_of(image))
    say(f"{image}: {image.stat().st_size / 1e6:.1f} MB")


def _secrets(source: Path) -> bytes:
    folder = cpio.Entry(name=str(Path(tree.KEY_PATH).parent), mode=0o40755)
    entries = [cpio.Entry(name=n, mode=0o100600, data=(source / n).read_bytes()) for n in _SECRET]
    return cpio.archive([folder, *entries])


def _kernel(source: Path, version: str) -> Path:
    return source / "boot" / f"vmlinuz-{version}"


def _kernel_version(source: Path) -> str:
    """The one kernel version in the tree that has both an image and modules."""
    found = [path.name for path in (source / "usr/lib/modules").glob("*")]
    versions = sorted(name for name in found if _kernel(source, name).exists())
    if len(versions) != 1:
        raise StiefelError(
            f"{source} has {len(versions)} kernels, not one: {' '.join(versions)}",
            hint="remove the tree and run ./create-initrd-nspawn again",
        )
    return versions[0]


def _included(source: Path, exclusions: modules.Exclusions) -> Iterator[Path]:
    """The tree's files in the order of their names, without what is excluded.

    An exclusion that excludes nothing is reported: it is misspelt, or no longer needed.
    """
    patterns = {*exclusions.paths, *_EMPTY, *(f"/{name}" for name in _SECRET)}
    owned, unknown = _owned_by(source, exclusions.packages)
    used: set[str] = set()
    for path in _walk(source, patterns, used):
        if str(path.relative_to(source)) not in owned or path.is_dir():
            yield path
    for pattern in exclusions.paths:
        if pattern not in used:
            warn(f"exclude-paths: nothing in the ramdisk matches {pattern}")
    for name in unknown:
        warn(f"exclude-packages: there is no package {name} in the ramdisk")


def _walk(
    folder: Path, excluded: set[str] | None = None, used: set[str] | None = None, at: str = ""
) -> Iterator[Path]:
    """`folder`'s contents, sorted, a folder before what is in it; matches are noted in `used`."""
    if not at:
        yield folder
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = f"{at}/{entry.name}"
        matching = [pattern for pattern in excluded or () if fnmatch.fnmatchcase(name, pattern)]
        if used is not None:
            used.update(matching)
        if matching:
            continue
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), excluded, used, name)


def _owned_by(source: Path, packages: Sequence[str]) -> tuple[set[str], list[str]]:
    """What dpkg knows as files of `packages` (globs), and the names that it does not know."""
    owned: set[str] = set()
    unknown = []
    info = source / "var/lib/dpkg/info"
    for package in packages:
        lists = [*info.glob(f"{package}.list"), *info.glob(f"{package}:*.list")]
        if not lists:
            unknown.append(package)
        for listing in lists:
            owned.update(_merged(line) for line in listing.read_text().splitlines())
    return owned, unknown


def _merged(path: str) -> str:
    """A path of dpkg's as it stands in a merged-/usr tree, where /bin is a link to /usr/bin."""
    relative = path.lstrip("/")
    first = relative.partition("/")[0]
    return f"usr/{relative}" if first in ("bin", "lib", "lib64", "sbin") else relative
