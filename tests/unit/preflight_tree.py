"""Trees of systems that are looked at, and configurations to look at them with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stiefelsystem import config
from stiefelsystem.config import Config
from stiefelsystem.host.preflight.finding import Finding


def put(tree: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files into a tree, with the folders that they need."""
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def settings(text: str = "", *, module: str = "system-debian", base: Path = Path("/")) -> Config:
    """A configuration with a disk, and what `text` adds."""
    disk = "" if "boot:" in text else "boot: {disk: /dev/disk/by-id/nvme-one}\n"
    return config.parse(f"modules: [{module}]\n{disk}{text}", name="test", base=base)


def levels(findings: Iterable[Finding]) -> list[str]:
    """Their levels, in order."""
    return [one.level for one in findings]


def texts(findings: Iterable[Finding]) -> str:
    """All that they say, a line for each."""
    return "\n".join(f"{one.level} {one.topic}: {one.text} [{one.hint}]" for one in findings)
