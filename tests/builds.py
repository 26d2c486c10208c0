"""What several tiers build, once: they share the demo's workdir and the cache."""

from __future__ import annotations

import subprocess
import tempfile
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
# Of the same source, under a name that counts as newer, and always there to be installed.
NEWER_KERNEL = f"linux-image-cloud-{debian.architecture()}"
# Debian, too; but its initrds are made by what Fedora and Gentoo have.
DRACUT = Kind("laptop-dracut", "dracut")
# Each of the demo's own waits has its deadline, too.
_WATCHDOG_SECONDS = 1500


def ramdisk(*options: str) -> Path:
    """Build and pack the ramdisk with the script that users call; quick, if it is there."""
    WORKDIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(demo.config_text(WORKDIR, CACHE))
        command = [REPO / "create-initrd-nspawn", "--pack", "--config", config, *options]
        subprocess.run(command, check=True)
    return WORKDIR / "stiefel.cpio"


def run_demo() -> None:
    """The demo with --check, under a watchdog; its consoles' logs are printed if it fails."""
    command = [REPO / "test-qemu", "demo", "--check", "--yes"]
    folders = ["--workdir", WORKDIR, "--cache", CACHE]
    done = subprocess.run([*command, *folders], timeout=_WATCHDOG_SECONDS, check=False)
    if done.returncode != 0:
        for log in sorted(WORKDIR.glob("*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-20_000:]}")
    assert done.returncode == 0


def virtual_laptop(kind: Kind = DEMO) -> tuple[Config, Laptop]:
    """The demo's ramdisk and virtual laptop, or one of another kind; quick, if they are there."""
    WORKDIR.mkdir(parents=True, exist_ok=True)
    text = demo.config_text(WORKDIR, CACHE)
    settings = config.parse(text, name="demo", base=WORKDIR)
    with files.locked(WORKDIR):
        return settings, demo.prepare(settings, text, mirror=None, kind=kind)


def updated_laptop(kind: Kind = DEMO) -> tuple[Config, Laptop]:
    """A virtual laptop whose kernel was updated since, by its package manager and nobody else."""
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
    if not stamp.is_current():
        stamp.remove()
        folder.mkdir(exist_ok=True)
        debian.remove_tree(updated.tree)
        subprocess.run(["cp", "-a", "--reflink=auto", made.tree, updated.tree], check=True)
        debian.install(updated.tree, [NEWER_KERNEL], Supply(CACHE), initrd=True)
        laptop.write_image(updated)
        stamp.write()
    return settings, updated
