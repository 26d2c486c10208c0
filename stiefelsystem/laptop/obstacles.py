"""What keeps this OS from being stopped now, though nothing is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stiefelsystem import cmdline
from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import inhibitors, updates

# Where the hook in the target's initrd has put the keeper.
_KEEPER = Path("/run/initramfs/stiefelsystem")


def look(*, root: Path = Path("/"), proc: Path = Path("/proc")) -> list[StiefelError]:
    """All that is in the way now, each with its reason."""
    found = [
        StiefelError(f"at work: {one}", hint="wait until it is done")
        for one in updates.running(root, proc)
    ]
    try:
        found += inhibitors.blocking()
    except StiefelError as error:
        found.append(error)
    return found


def refuse(found: Sequence[StiefelError]) -> None:
    """Raise one `StiefelError` for all that were found, if any."""
    if len(found) == 1:
        raise found[0]
    if found:
        raise StiefelError(
            "; ".join(f"{error} ({error.hint})" if error.hint else str(error) for error in found)
        )


def require_own_disk(*, words: str | None = None, keeper: Path = _KEEPER) -> None:
    """Raise `StiefelError` on a target: it runs from another machine's disk, and has none to give.

    `words` is the kernel's command line, by default the running one's.
    """
    running = cmdline.running() if words is None else words
    if keeper.exists() or any(word.startswith("stiefel_link=") for word in running.split()):
        raise StiefelError(
            "this OS is stiefeled: it runs from a disk that another machine serves",
            hint="start it on the machine that has the disk",
        )
