"""The root of the system that is changed: `/`, or the tree of one that is mounted there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from stiefelsystem.console import StiefelError
from stiefelsystem.run import run

# The kernel's own limit: path_resolution(7).
_LINKS = 40
# Programs of a system find there what they need of a running one, but for /run, by which they would
# talk to this one's services. The mounts are in a namespace that ends with the command.
_ENTER = (
    'for name in dev proc sys; do mount --rbind "/$name" "$0/$name"; done; '
    'mount -t tmpfs -o mode=0755,nosuid,nodev run "$0/run"; exec chroot "$0" "$@"'
)


class Root:
    """Paths and commands inside of a tree.

    `enter` makes of a command the one that runs it inside; by default, a chroot with what a system
    needs. It is not asked where the tree is `/`, and not for systemctl, which knows trees itself.
    """

    def __init__(
        self,
        path: Path = Path("/"),
        *,
        enter: Callable[[Sequence[str]], Sequence[str | Path]] | None = None,
    ) -> None:
        self.path = path.resolve()
        self._enter = enter or self._chroot

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """The path inside, without links on its way; `follow` is for its last part.

        Absolute links and `..` stay inside, as after a chroot. Raises `StiefelError` for a circle.
        """
        left = _parts(path)[::-1]
        here: list[str] = []
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                here[-1:] = []
                continue
            spot = self.path.joinpath(*here, part)
            if not (left or follow) or not spot.is_symlink():
                here.append(part)
                continue
            links += 1
            if links > _LINKS:
                raise StiefelError(f"cannot resolve {path} in {self.path}: its links form a circle")
            target = os.readlink(spot)
            if target.startswith("/"):
                here = []
            left += _parts(target)[::-1]
        return "/" + "/".join(here)

    def place(self, path: str) -> Path:
        """Where a path inside is from outside; the last part is not followed."""
        return self.path / self.resolve(path, follow=False).lstrip("/")

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside."""
        if self.path == Path("/"):
            return list(argv)
        if argv[0] == "systemctl" and shutil.which("systemctl"):
            return [argv[0], f"--root={self.path}", *argv[1:]]
        return [str(word) for word in self._enter(argv)]

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60.0,
        log: IO[str] | None = None,
        let_end: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; everything else is as for `stiefelsystem.run.run`."""
        return run(self.command(argv), check=check, timeout=timeout, log=log, let_end=let_end)

    def _chroot(self, argv: Sequence[str]) -> list[str | Path]:
        alone = ["unshare", "--mount", "--propagation", "private", "sh", "-ec"]
        return [*alone, _ENTER, self.path, *argv]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
