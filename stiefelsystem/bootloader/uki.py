"""Unified kernel images: one EFI program with kernel, initrd and command line as its sections.

systemd-stub(7) and UAPI.5 (Unified Kernel Image) tell what the sections mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stiefelsystem.bootloader import pe
from stiefelsystem.bootloader.entry import OVERRIDE, Entry, misunderstood
from stiefelsystem.bootloader.pe import Section
from stiefelsystem.bootloader.places import BOOT_POINTS, Tree
from stiefelsystem.console import StiefelError

_MAX_TEXT = 64 << 10  # of the sections that are text
_EXTRA = ".extra.d"
# What systemd-stub makes initrds of, which we do not.
_COMPANIONS = (".cred", ".raw")


@dataclass(frozen=True, kw_only=True)
class Image:
    """A unified kernel image in its first profile, the one that is booted by default."""

    path: Path
    kernel: Section
    initrds: tuple[Section, ...]  # microcode first
    cmdline: str
    release: dict[str, str]  # os-release(5)
    version: str  # the kernel's, as `uname -r` has it; empty where it is not told
    profiles: int


def parse(tree: Tree, path: Path) -> Image:
    """Read the image's sections. Raises `StiefelError` for what is no unified kernel image, and for
    one without an initrd."""
    with _open(tree, path) as file:
        found = pe.sections(file, str(path))
        base, profiles = _profiles(path, found)
        chosen = base | (profiles[0] if profiles else {})
        if ".linux" not in chosen:
            raise misunderstood(str(path), "is no unified kernel image: it has no .linux section")
        if ".initrd" not in chosen:
            raise misunderstood(
                str(path),
                "has no .initrd section, and without an initrd the desktop would find no disk",
            )
        return Image(
            path=path,
            kernel=chosen[".linux"],
            initrds=tuple(chosen[name] for name in (".ucode", ".initrd") if name in chosen),
            cmdline=_text(file, path, chosen.get(".cmdline")),
            release=_release(_text(file, path, chosen.get(".osrel"))),
            version=_text(file, path, chosen.get(".uname")),
            profiles=len(profiles),
        )


def is_image(tree: Tree, path: Path) -> bool:
    """Whether an EFI program is a unified kernel image, and not another loader."""
    try:
        with _open(tree, path) as file:
            return ".linux" in {section.name for section in pe.sections(file, str(path))}
    except StiefelError:
        return False


def entry(tree: Tree, image: Image, *, source: Path | None = None) -> Entry:
    """The image as an entry of a boot menu. Raises `StiefelError` for an add-on that is broken."""
    added, notes = _companions(tree, image.path)
    if image.profiles > 1:
        notes.append(f"of the {image.profiles} profiles of {image.path}, the first is taken")
    release = image.release
    return Entry(
        title=release.get("PRETTY_NAME") or release.get("ID") or image.path.name,
        kernel=image.path,
        cmdline=" ".join(part for part in (image.cmdline, *added) if part),
        source=source or image.path,
        kind="uki",
        notes=tuple(notes),
    )


def _profiles(
    path: Path, found: Iterable[Section]
) -> tuple[dict[str, Section], list[dict[str, Section]]]:
    """The sections of all profiles, and those of each; `.profile` begins one."""
    base: dict[str, Section] = {}
    profiles: list[dict[str, Section]] = []
    for section in found:
        if section.name == ".profile":
            profiles.append({})
        current = profiles[-1] if profiles else base
        if section.name in current and section.name in (".linux", ".initrd", ".cmdline"):
            raise misunderstood(str(path), f"is malformed: it has two {section.name} sections")
        current[section.name] = section
    return base, profiles


def _companions(tree: Tree, path: Path) -> tuple[list[str], list[str]]:
    """What add-ons append to the command line, and notes about what cannot be taken over."""
    own = path.with_name(path.name + _EXTRA)
    point = next((point for point in reversed(BOOT_POINTS) if path.is_relative_to(point)), None)
    shared = point / "loader" if point else None
    folders = [shared / "addons"] if shared else []
    added, notes = [], []
    for addon in [file for folder in (*folders, own) for file in tree.files(folder, ".addon.efi")]:
        words, others = _addon(tree, addon)
        added.append(words)
        if others:
            notes.append(f"{addon} has {' and '.join(others)}, which the desktop does not get")
    for folder in (own, *([shared / "credentials", shared / "extensions"] if shared else [])):
        for suffix in _COMPANIONS:
            for file in tree.files(folder, suffix):
                notes.append(f"the desktop does not get {file}")
    return added, notes


def _addon(tree: Tree, path: Path) -> tuple[str, list[str]]:
    """An add-on's command line, and the names of its sections that we cannot apply."""
    with _open(tree, path) as file:
        found = {section.name: section for section in pe.sections(file, str(path))}
        words = _text(file, path, found.get(".cmdline"))
    return words, [name for name in (".initrd", ".ucode", ".dtb", ".dtbauto") if name in found]


@contextmanager
def _open(tree: Tree, path: Path) -> Iterator[IO[bytes]]:
    if not tree.is_file(path):
        raise StiefelError(f"cannot read {path}: it is no file", hint=OVERRIDE)
    try:
        file = tree.real(path).open("rb")
    except OSError as error:
        raise StiefelError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file


def _text(file: IO[bytes], path: Path, section: Section | None) -> str:
    if section is None:
        return ""
    if section.size > _MAX_TEXT:
        raise misunderstood(str(path), f"is malformed: {section.name} has {section.size} bytes")
    file.seek(section.offset)
    text = file.read(section.size).decode("utf-8", errors="replace")
    return text.partition("\0")[0].strip()


def _release(text: str) -> dict[str, str]:
    pairs = (line.strip().partition("=") for line in text.splitlines())
    return {name: value.strip("\"' ") for name, _, value in pairs if not name.startswith("#")}
