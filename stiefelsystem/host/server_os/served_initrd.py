"""Whether the initrd that a desktop will get was made anew, with the hook in it.

The generator's own command makes those that it knows of. What the boot loader starts may be
another: a unified image, one under a name of the user's, one that updates are told to leave alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from stiefelsystem.bootloader.places import Tree
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError, warn
from stiefelsystem.host.server_os.parts import LIBRARY
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Step, WriteFiles
from stiefelsystem.laptop import served

# FAT knows even seconds only, and an initrd on it may seem to be older than it is.
_FAT_SECONDS = 2.0
_LIBRARY = f"{LIBRARY}/nbd-hook-lib"


def check(plan: Sequence[Step], *, root: Root, config: Config) -> None:
    """Warn if the initrd that is served is older than the hook that was to go into it."""
    hook = [
        file.path
        for step in plan
        if step.id == "hook" and isinstance(step, WriteFiles)
        for file in step.files
    ]
    places = [root.place(root.resolve(path)) for path in (*hook, _LIBRARY)]
    written = [place.stat().st_mtime for place in places if place.is_file()]
    if len(written) < len(places):
        return  # skipped, and that was said
    try:
        found = served.find(config, root.path)
    except StiefelError as error:
        warn(f"what a desktop would get is not found: {error}")
        return
    if not found.files:
        warn(f"{found.part} is not mounted: make sure that {found.initrds[-1]} there was made anew")
        return
    # Microcode comes before it, and has no hook.
    initrd = found.files[-1]
    made = Tree(root.path).real(initrd).stat().st_mtime
    if made < max(written) - _FAT_SECONDS:
        warn(
            f"{initrd} was not made anew: a desktop that boots it would find no disk; make it by"
            " what makes it on your system"
        )
