"""Which kernel and initrds the laptop hands over, as they are named by whoever knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stiefelsystem import boot_files
from stiefelsystem.bootloader import loaders, uki
from stiefelsystem.bootloader.entry import Entry, misunderstood
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import presets

_PRESET = Path(presets.OURS)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A kernel and its initrds; a unified kernel image is both.

    `names` has a name for each, of one or more parts at the end of its path; a `*` in it stands for
    the version.
    """

    files: tuple[Path, ...]  # in the tree, the kernel first; none where they are not mounted
    names: tuple[str, ...]
    source: str  # for a person
    instead: bool = False  # of what the boot loader would boot, which is not known
    notes: tuple[str, ...] = ()


def default(root: Path) -> Entry | StiefelError:
    """What the boot loader boots by default, or why that is not known."""
    try:
        entry = loaders.default(root)
    except StiefelError as error:
        return error
    if not entry.initrds and entry.kind != "uki":
        return misunderstood(
            str(entry.source),
            f"the default {entry.title!r} has no initrd, and without one the desktop would find no"
            " disk",
        )
    return entry


def choose(settings: Config, tree: Tree, entry: Entry | StiefelError) -> Choice:
    """What boot.load names, else our own preset of mkinitcpio, else the boot loader's `entry`, else
    the newest of what the system module names. Raises `StiefelError` if nothing is found."""
    if settings.boot.load.kernel or settings.boot.load.initrd:
        return _written(settings, tree)
    if settings.system == "system-arch":
        return _by_preset(settings, tree, entry)
    if isinstance(entry, Entry):
        return _by_entry(settings, tree, entry)
    try:
        files, names = _look(tree, settings.usual_names)
    except StiefelError:
        raise entry from None
    return Choice(files=files, names=names, source=f"the newest {names[0]}", instead=True)


def _written(settings: Config, tree: Tree) -> Choice:
    kernel, initrds = settings.load_names
    wanted = (kernel, *initrds.split(","))
    source = "boot.load in config.yaml"
    try:
        files, names = _look(tree, wanted)
    except StiefelError:
        if settings.boot.part is None:
            raise
        return Choice(files=(), names=wanted, source=source)
    return Choice(files=files, names=names, source=source)


def _look(tree: Tree, wanted: tuple[str, ...]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The files that names on the boot partition stand for, and the names in plain spelling."""
    kernel, *initrds = wanted
    for folder in ("/boot", "/"):
        try:
            found = boot_files.find(tree.real(Path(folder)), kernel, initrds)
        except StiefelError:
            continue
        files = (found.kernel, *found.initrds)
        names = tuple(str(PurePosixPath(name.lstrip("/"))) for name in wanted)
        return tuple(Path("/") / path.relative_to(tree.root) for path in files), names
    raise StiefelError(
        f"there is no {kernel} with its {' and '.join(initrds)} in {tree.root / 'boot'}",
        hint="mount the boot partition, or name it as boot.part; or check boot.load in config.yaml",
    )


def _by_preset(settings: Config, tree: Tree, entry: Entry | StiefelError) -> Choice:
    """mkinitcpio's image for desktops is made for one kernel, whatever the boot loader boots."""
    if not tree.is_file(_PRESET):
        files, names = _look(tree, settings.usual_names)
        return Choice(
            files=files,
            names=names,
            source=f"the module {settings.system}",
            notes=_other_kernel(tree, entry, files[0]),
        )
    text = tree.text(_PRESET)
    kernel = presets.kernel_of_ours(text)
    image = presets.value(text, "stiefel_image")
    if not (kernel.startswith("/") and image.startswith("/")):
        raise misunderstood(str(_PRESET), "the paths of kernel and image are not plainly told")
    for name in (kernel, image):
        if not tree.is_file(Path(name)):
            raise StiefelError(
                f"{_PRESET} names {name}, which is not there",
                hint="mount /boot; or run setup-server-os again, which makes the image anew",
            )
    return _exactly(
        tree,
        (Path(kernel), Path(image)),
        source=str(_PRESET),
        notes=_other_kernel(tree, entry, Path(kernel)),
    )


def _other_kernel(tree: Tree, entry: Entry | StiefelError, kernel: Path) -> tuple[str, ...]:
    """A note, if the boot loader boots another one."""
    if isinstance(entry, StiefelError):
        return ()
    booted = entry.kernel.name
    if entry.kind == "uki":
        version = uki.parse(tree, entry.kernel).version
        # Arch's kernel packages have their names there: mkinitcpio(8).
        package = Path("/usr/lib/modules", version, "pkgbase")
        if not tree.is_file(package):
            return ()
        booted = f"vmlinuz-{tree.text(package).strip()}"
    if booted == kernel.name:
        return ()
    return (
        f"the boot loader's default is {booted}, but the image for desktops is made for"
        f" {kernel.name} ({_PRESET})",
    )


def _by_entry(settings: Config, tree: Tree, entry: Entry) -> Choice:
    initrds = (entry.kernel,) if entry.kind == "uki" else entry.initrds
    exact = _exactly(
        tree,
        (entry.kernel, *initrds),
        source=f"{entry.loader}'s default entry {entry.title!r} ({entry.source})",
        notes=entry.notes,
    )
    return _as_pattern(settings, tree, exact)


def _exactly(tree: Tree, files: tuple[Path, ...], *, source: str, notes: tuple[str, ...]) -> Choice:
    """These files, links resolved, by their own names from where their filesystem may begin."""
    real = tuple(Path("/") / tree.real(path).relative_to(tree.root) for path in files)
    points = sorted(tree.boot_points, key=lambda point: len(point.parts), reverse=True)
    names = []
    for path in real:
        top = next((point for point in points if path.is_relative_to(point)), Path("/"))
        names.append(str(path.relative_to(top)))
    return Choice(files=real, names=tuple(names), source=source, notes=notes)


def _as_pattern(settings: Config, tree: Tree, exact: Choice) -> Choice:
    """The choice by the system module's pattern, if that has the same as its newest.

    The ramdisk then finds a kernel that was installed on the desktop, too.
    """
    kernel, initrd = settings.usual_names
    try:
        newest = boot_files.find(tree.real(exact.files[0].parent), kernel, (initrd,))
    except StiefelError:
        return exact
    first, last = exact.files[0], exact.files[-1]
    if newest != (tree.real(first), (tree.real(last),)):
        return exact
    names = list(exact.names)
    for position, pattern in ((0, kernel), (-1, initrd)):
        names[position] = str(PurePosixPath(names[position]).with_name(pattern))
    return Choice(files=exact.files, names=tuple(names), source=exact.source, notes=exact.notes)
