"""What the laptop hands over: kernel, initrds and command line, as its boot loader has them now.

Asked when the laptop is to serve, so that whatever has changed since the setup is in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stiefelsystem import cmdline
from stiefelsystem.bootloader import words
from stiefelsystem.bootloader.entry import OVERRIDE, Entry
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.cmdline import ServerSettings
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import partition
from stiefelsystem.laptop.choice import Choice, choose, default
from stiefelsystem.laptop.partition import Place

# What a stiefeled OS must not look for: a hibernated one, which would wake up on other hardware.
_NEVER_RESUME = "noresume"


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is handed over, and where that is known from."""

    part: Path | None  # None: not known of a tree that is not mounted
    kernel: str  # relative to the partition, as the ramdisk's server looks for it
    initrds: tuple[str, ...]  # the same; that of a unified kernel image is the kernel
    cmdline: str
    dropped: tuple[words.Dropped, ...]  # from the command line
    source: str  # for a person
    notes: tuple[str, ...]
    files: tuple[Path, ...]  # in the tree; none if they are on a partition that is not mounted


def find(settings: Config, root: Path = Path("/")) -> Served:
    """What the system below `root` hands over.

    What boot.load in the configuration names comes first, then the default of the boot loader;
    where that is not understood, what the system module names.
    Raises `StiefelError` if nothing is found, or the ramdisk could not read it.
    """
    part = settings.boot.part
    if part and part.type == "luks":
        raise StiefelError(
            "boot.part.type: this version cannot open an encrypted boot partition",
            hint="put /boot on a plain partition; an encrypted root is no obstacle",
        )
    tree = Tree(root)
    entry = default(root)
    choice = choose(settings, tree, entry)
    text, dropped, instead = _cmdline(settings, tree, entry)
    found, names = _on_partition(settings, tree, choice)
    notes = [*choice.notes]
    if isinstance(entry, Entry) and settings.boot.load.cmdline is None:
        notes += entry.notes
    notes += _taken_instead(entry, choice.source if choice.instead else "", instead)
    if found is None:
        notes.append(f"{root} is no mounted system: the partition is known when it runs")
    return Served(
        part=found,
        kernel=names[0],
        initrds=names[1:],
        cmdline=words.with_word(text, _NEVER_RESUME),
        dropped=dropped,
        source=choice.source,
        notes=tuple(dict.fromkeys(notes)),
        files=tuple(dict.fromkeys(choice.files)),
    )


def server_settings(settings: Config, served: Served) -> ServerSettings:
    """What the ramdisk's server is told. Raises `StiefelError` for what it cannot be told."""
    if served.part is None:
        raise StiefelError(
            "the partition with kernel and initrd is not known",
            hint="name it as boot.part in config.yaml",
        )
    for name in served.initrds:
        if "," in name:
            raise StiefelError(
                f"the initrd {name!r} has a comma in its name, which separates names",
                hint=f"give it another name; or {OVERRIDE}",
            )
    return ServerSettings(
        disk=settings.boot.disk,
        part=served.part,
        kernel=served.kernel,
        initrd=",".join(served.initrds),
        cmdline=served.cmdline,
        encryption=settings.link.encryption,
        swap=settings.boot.swap,
        after=settings.server.after_session,
        wait=settings.server.wait,
    )


def _cmdline(
    settings: Config, tree: Tree, entry: Entry | StiefelError
) -> tuple[str, tuple[words.Dropped, ...], str]:
    """The command line, what was dropped from it, and what it is in place of the boot loader's."""
    if settings.boot.load.cmdline is not None:
        return settings.boot.load.cmdline, (), ""
    instead = ""
    if isinstance(entry, Entry):
        text = entry.cmdline
    elif tree.root == Path("/"):
        text, instead = cmdline.running(), "the running kernel's command line"
    else:
        text, instead = "", "the command line of the kernel that will run"
    text, dropped = words.clean_cmdline(text)
    return text, tuple(dropped), instead


def _taken_instead(entry: Entry | StiefelError, *taken: str) -> list[str]:
    """A note of what is taken, if it is not the boot loader's, and why that is not known."""
    said = ", ".join(what for what in taken if what)
    return [f"{entry}; taken instead: {said}"] if said else []


def _on_partition(
    settings: Config, tree: Tree, choice: Choice
) -> tuple[Path | None, tuple[str, ...]]:
    """The partition, and the choice's names there. Without a name in the configuration, there is
    none of a tree that is not mounted."""
    part = settings.boot.part.block if settings.boot.part else None
    if not choice.files or not os.path.ismount(tree.root):
        return part, choice.names
    places = [partition.place(tree.real(path)) for path in choice.files]
    if part is None:
        part = partition.common(places, choice.files)
    elif not all(partition.is_same(place.device, part) for place in places):
        return part, choice.names
    return part, _names(choice, places)


def _names(choice: Choice, places: Sequence[Place]) -> tuple[str, ...]:
    """The names on the partition, with the `*` of the choice's names where all have that name."""
    names = []
    for path, name, place in zip(choice.files, choice.names, places, strict=True):
        end = "/".join(path.parts[-len(PurePosixPath(name).parts) :])
        if place.name != end and not place.name.endswith(f"/{end}"):
            return tuple(place.name for place in places)
        names.append(place.name.removesuffix(end) + name)
    return tuple(names)
