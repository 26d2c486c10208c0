"""What several tiers build, once: they share the demo's workdir and the cache."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from stiefelsystem.host import demo

REPO = Path(__file__).resolve().parents[1]
WORKDIR = REPO / "workdir/demo"
CACHE = REPO / "cache"


def ramdisk_tree() -> Path:
    """Build the ramdisk's tree with the script that users call; quick, if there is one."""
    WORKDIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(demo.config_text(WORKDIR, CACHE))
        subprocess.run([REPO / "create-initrd-nspawn", "--config", config], check=True)
    return WORKDIR / "initrd"
