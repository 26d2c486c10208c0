"""What several tiers build, once: they share the demo's workdir and the cache."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from stiefelsystem import config, files
from stiefelsystem.config import Config
from stiefelsystem.host import demo
from stiefelsystem.host.laptop import Laptop

REPO = Path(__file__).resolve().parents[1]
WORKDIR = REPO / "workdir/demo"
CACHE = REPO / "cache"
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


def virtual_laptop() -> tuple[Config, Laptop]:
    """The demo's ramdisk and virtual laptop; quick, if they are there."""
    WORKDIR.mkdir(parents=True, exist_ok=True)
    text = demo.config_text(WORKDIR, CACHE)
    settings = config.parse(text, name="demo", base=WORKDIR)
    with files.locked(WORKDIR):
        return settings, demo.prepare(settings, text, mirror=None)
