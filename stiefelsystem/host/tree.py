"""The ramdisk's tree: a small Debian with our programs in it, from which the image is packed."""

from __future__ import annotations

import shutil
from pathlib import Path

from stiefelsystem import files, keys
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError, step
from stiefelsystem.host import debian, modules

SOURCE = Path(__file__).resolve().parents[2]
KEY_PATH = "etc/stiefelsystem/aes-key"
# Records inside the tree, so that they can't outlive it: what was laid over it, and that all is
# done.
_LAID_OVER = "etc/stiefelsystem/laid-over"
_COMPLETE = "etc/stiefelsystem/complete"
_PACKAGE = "usr/lib/python3/dist-packages/stiefelsystem"


def build(config: Config, *, mirror: str | None) -> None:
    """Build the tree at `paths.workdir-subpaths.initrd`, or bring an existing one up to date."""
    tree = config.paths.initrd
    keys.create(config.paths.key)
    packages = modules.packages(config, debian.architecture())
    debian.packaged_tree(tree, packages, cache=config.paths.cache, mirror=mirror)
    (tree / _COMPLETE).unlink(missing_ok=True)
    with step("lay our files over the tree"):
        _lay_over(tree)
        _configure(tree, config)
    files.write(tree / _COMPLETE, "")


def require_tree(tree: Path) -> None:
    """Raise `StiefelError` unless there is a complete tree."""
    if not (tree / _COMPLETE).exists():
        raise StiefelError(
            f"there is no complete ramdisk tree at {tree}", hint="run ./create-initrd-nspawn"
        )


def _lay_over(tree: Path) -> None:
    """Copy `initrd/` and our package into the tree; what an earlier version laid there goes."""
    record = tree / _LAID_OVER
    if record.exists():
        for name in record.read_text().splitlines():
            (tree / name).unlink(missing_ok=True)
    shutil.rmtree(tree / _PACKAGE, ignore_errors=True)
    overlay = SOURCE / "initrd"
    laid = sorted(
        str(path.relative_to(overlay))
        for path in overlay.rglob("*")
        if path.is_symlink() or path.is_file()
    )
    for name in laid:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).unlink(missing_ok=True)
        shutil.copy(overlay / name, tree / name, follow_symlinks=False)
    package = SOURCE / "stiefelsystem"
    shutil.copytree(
        package, tree / _PACKAGE, ignore=shutil.ignore_patterns("host", "__pycache__", "config.py")
    )
    debian.compile_python(tree, f"/{_PACKAGE}")
    files.write(record, "\n".join(laid) + "\n")


def _configure(tree: Path, config: Config) -> None:
    files.write(tree / "etc/hostname", "stiefelsystem\n")
    # Empty, not missing: missing means "first boot", with questions on the console.
    files.write(tree / "etc/machine-id", "")
    # The kernel starts /init of an initramfs.
    (tree / "init").unlink(missing_ok=True)
    (tree / "init").symlink_to("usr/lib/systemd/systemd")
    files.write(tree / KEY_PATH, keys.load(config.paths.key), mode=0o600)
    shell = config.initrd.shell
    if not (tree / str(shell).lstrip("/")).exists():
        raise StiefelError(
            f"initrd.shell: {shell} is not in the ramdisk",
            hint="add its package to initrd.include-packages",
        )
    debian.nspawn(tree, ["usermod", "--shell", str(shell), "root"])
    if config.initrd.password is None:
        debian.nspawn(tree, ["usermod", "--password", "*", "root"])
    else:
        debian.nspawn(tree, ["chpasswd"], text=f"root:{config.initrd.password}\n")
