"""What several tiers build, once: they share the demo's workdir and the cache."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stiefelsystem import config, files
from stiefelsystem.config import Config
from stiefelsystem.host import debian, demo, laptop
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.laptop import DEMO, Kind, Laptop
from stiefelsystem.host.stamps import Stamp

REPO = Path(__file__).resolve().parents[1]
WORKDIR = REPO / "workdir/demo"
CACHE = REPO / "cache"
# Other kernels of the distribution, best first: another version, else one for virtual machines.
_KERNELS = rf"^linux-image-[0-9][^-]*-{debian.architecture()}$"
_FALLBACK = f"linux-image-cloud-{debian.architecture()}"
# Debian, too; but its initrds are made by what Fedora and Gentoo have. And what joins a kernel, its
# microcode and its initrd into one EFI program.
DRACUT = Kind("laptop-dracut", "dracut", packages=("systemd-boot-efi", "systemd-ukify"))
# Each of the demo's own waits has its deadline, too.
_WATCHDOG_SECONDS = 1500


@contextmanager
def alone() -> Iterator[None]:
    """One test at a time builds; others wait, since they will want the same."""
    WORKDIR.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _WATCHDOG_SECONDS
    with (WORKDIR.parent / "builds.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < deadline, "another test builds for too long"
                time.sleep(0.5)
        yield


def ramdisk(*options: str) -> Path:
    """Build and pack the ramdisk with the script that users call; quick, if it is there."""
    with alone(), tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(demo.config_text(WORKDIR, CACHE))
        command = [REPO / "create-initrd-nspawn", "--pack", "--config", config, *options]
        subprocess.run(command, check=True)
    return WORKDIR / "stiefel.cpio"


def run_demo(*options: str) -> None:
    """The demo with --check, under a watchdog; its consoles' logs are printed if it fails."""
    command = [REPO / "test-qemu", "demo", "--check", "--yes", *options]
    folders = ["--workdir", WORKDIR, "--cache", CACHE]
    with alone():
        done = subprocess.run(
            [*command, *folders],
            timeout=_WATCHDOG_SECONDS,
            check=False,
            stderr=subprocess.PIPE,
            text=True,
        )
    print(done.stderr)
    if done.returncode != 0:
        for log in sorted(WORKDIR.glob("*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-20_000:]}")
    assert done.returncode == 0, done.stderr[-2000:]


def demo_ramdisk() -> Config:
    """The demo's ramdisk, and its configuration; quick, if it is there."""
    text = demo.config_text(WORKDIR, CACHE)
    settings = config.parse(text, name="demo", base=WORKDIR)
    with alone(), files.locked(WORKDIR):
        demo.prepare_ramdisk(settings, text, mirror=None)
    return settings


def virtual_laptop(kind: Kind = DEMO) -> tuple[Config, Laptop]:
    """The demo's ramdisk and virtual laptop, or one of another kind; quick, if they are there."""
    text = demo.config_text(WORKDIR, CACHE)
    settings = config.parse(text, name="demo", base=WORKDIR)
    with alone(), files.locked(WORKDIR):
        return settings, demo.prepare(settings, text, mirror=None, kind=kind)


def updated_laptop(kind: Kind = DEMO) -> tuple[Config, Laptop]:
    """A virtual laptop with another kernel, which came after the setup, by its package manager and
    nobody else: as an update brings one."""
    settings, made = virtual_laptop(kind)
    folder = WORKDIR / f"{kind.name}-updated"
    updated = replace(
        made,
        tree=folder / "tree",
        image=folder / "disk.img",
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd.img",
    )
    stamp = Stamp(updated.image, made.image.with_name(f"{made.image.name}.stamp"))
    with alone():
        if stamp.is_current():
            return settings, updated
        stamp.remove()
        folder.mkdir(exist_ok=True)
        debian.remove_tree(updated.tree)
        subprocess.run(["cp", "-a", "--reflink=auto", made.tree, updated.tree], check=True)
        debian.install(updated.tree, [_another_kernel(updated.tree)], Supply(CACHE), initrd=True)
        laptop.write_image(updated)
        stamp.write()
    return settings, updated


def run_in(tree: Path, command: list[str], *, binds: dict[Path, str] | None = None) -> str:
    """Run a command in a laptop's tree, which tests share: one at a time is let in. Returns what it
    prints."""
    with alone():
        return debian.nspawn(tree, command, binds=binds, network=False)


def new_kernel(laptop: Laptop) -> str:
    """The version of the kernel that came after the setup; `*` if none did."""
    old, new = (
        {path.name for path in tree.glob("boot/vmlinuz-*")} for tree in (laptop.before, laptop.tree)
    )
    (name,) = new - old or {"vmlinuz-*"}
    return name.removeprefix("vmlinuz-")


def _another_kernel(tree: Path) -> str:
    known = debian.nspawn(tree, ["apt-cache", "search", "--names-only", _KERNELS]).split("\n")
    names = {line.split()[0] for line in known if line}
    there = {f"linux-image-{path.name.removeprefix('vmlinuz-')}" for path in tree.glob("boot/vm*")}
    return max(names - there, default=_FALLBACK)
