"""What of our package is laid into the ramdisk's tree: what its programs import."""

from __future__ import annotations

import modulefinder
import shutil
import sys
from pathlib import Path

from stiefelsystem.host import tree


def test_all_that_the_programs_import_and_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "stiefelsystem"
    ignored = shutil.ignore_patterns(*tree.ELSEWHERE)
    shutil.copytree(tree.SOURCE / "stiefelsystem", package, ignore=ignored)
    laid = {path.relative_to(tmp_path) for path in package.rglob("*.py")}
    finder = modulefinder.ModuleFinder(path=[str(tree.SOURCE), *sys.path])
    for side in ("client", "rescue", "server"):
        finder.import_hook(f"stiefelsystem.ramdisk.{side}")
    files = [module.__file__ for module in finder.modules.values() if module.__file__]
    ours = {Path(file) for file in files if file.startswith(str(tree.SOURCE / "stiefelsystem"))}
    imported = {path.relative_to(tree.SOURCE) for path in ours}
    assert Path("stiefelsystem/bootloader/uki.py") in imported
    assert imported == laid, "what no program imports is named in tree.ELSEWHERE"
