"""setup-server-os on a real Debian: a kernel's update needs nobody; all of it can be taken back.

What it installs is booted by the other tests of this tier: by `test_demo` as it was set up, by
`test_target` after the update of the kernel, and by `test_dracut`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from stiefelsystem.host import debian
from stiefelsystem.host.laptop import DEMO, Kind, Laptop, set_up
from tests import builds, capabilities

# What remembers by its nature: databases of packages, caches, logs.
_REMEMBER = ("var/lib/dpkg/", "var/lib/apt/", "var/lib/systemd/deb-", "var/cache/", "var/log/")
# What Debian's kernels leave, whoever removes one: linux-update-symlinks(1).
_LINKS = {"initrd.img", "initrd.img.old"}
# What lists an initrd's contents.
_LISTERS = {"initramfs-tools": "lsinitramfs", "dracut": "lsinitrd"}
_OURS = "stiefelsystem/nbd-hook-lib"


def snapshot(tree: Path) -> dict[str, tuple[object, ...]]:
    """All that is in a tree, but for what remembers, and what is in initrds."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = Path(folder, name)
            inside = str(path.relative_to(tree))
            if not f"{inside}/".startswith(_REMEMBER):
                found[inside] = _state(path)
    return found


def _state(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    about = (oct(status.st_mode), status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return (*about, os.readlink(path))
    if not stat.S_ISREG(status.st_mode) or path.name.startswith("initrd.img-"):
        return about
    with path.open("rb") as file:
        return (*about, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


def contents(tree: Path, initrd: Path, kind: Kind) -> list[str]:
    """The names in an initrd."""
    listed = builds.run_in(tree, [_LISTERS[kind.generator], f"/boot/{initrd.name}"])
    names = (line.split()[-1] for line in listed.splitlines() if "/" in line)
    return sorted(names)


def initrds(tree: Path) -> list[Path]:
    return sorted((tree / "boot").glob("initrd.img-*"))


def whole_life(kind: Kind, folder: Path) -> None:
    """Set up, run through a kernel's update, taken back: nothing is left but the new kernel."""
    _, laptop = builds.virtual_laptop(kind)
    _, updated = builds.updated_laptop(kind)
    (old,) = initrds(laptop.before)
    new = next(path for path in initrds(updated.tree) if path.name != old.name)
    assert any(name.endswith(_OURS) for name in contents(updated.tree, new, kind))

    tree = folder / "tree"
    subprocess.run(["cp", "-a", "--reflink=auto", updated.tree, tree], check=True)
    kernels = _packages(tree) - _packages(laptop.before)
    set_up(tree, "", "--uninstall", log=folder / "uninstall.log")
    print((folder / "uninstall.log").read_text())
    assert not any(name.endswith(_OURS) for name in contents(tree, tree / "boot" / new.name, kind))
    debian.nspawn(tree, ["apt-get", "purge", "--yes", *sorted(kernels)])
    compare(laptop, tree, kind)


def compare(laptop: Laptop, tree: Path, kind: Kind) -> None:
    before, after = snapshot(laptop.before), snapshot(tree)
    different = {name for name in before.keys() | after if before.get(name) != after.get(name)}
    assert not {name: (before.get(name), after.get(name)) for name in different - _LINKS}
    for initrd in initrds(laptop.before):
        assert contents(tree, initrd, kind) == contents(laptop.before, initrd, kind)


def _packages(tree: Path) -> set[str]:
    shown = debian.nspawn(tree, ["dpkg-query", "--show", "--showformat=${Package}\\n"])
    return set(shown.split())


@pytest.mark.parametrize("kind", (DEMO, builds.DRACUT), ids=lambda kind: kind.generator)
def test_whole_life(kind: Kind, tmp_path: Path) -> None:
    capabilities.require_root()
    capabilities.require_tools("debootstrap", "systemd-nspawn")
    whole_life(kind, tmp_path)


def test_all_drivers_whatever_modules_says(tmp_path: Path) -> None:
    """MODULES=dep needs a root device, which a tree has not; `list` has even less by itself."""
    capabilities.require_root()
    capabilities.require_tools("debootstrap", "systemd-nspawn")
    _, laptop = builds.virtual_laptop()
    tree = tmp_path / "tree"
    subprocess.run(["cp", "-a", "--reflink=auto", laptop.tree, tree], check=True)
    (most,) = initrds(tree)
    version = most.name.removeprefix("initrd.img-")
    debian.nspawn(tree, ["mkinitramfs", "-m", "list", "-o", "/boot/list", version])
    drivers = [_drivers(tree, name) for name in (most.name, "list")]
    assert drivers[0] == drivers[1]
    assert any("/nbd.ko" in name for name in drivers[0])


def _drivers(tree: Path, name: str) -> set[str]:
    return {path for path in contents(tree, Path(name), DEMO) if ".ko" in path}
