"""The ramdisk's build, from nothing to a packed image, as create-initrd-nspawn does it."""

from __future__ import annotations

import shutil
from collections.abc import Collection

from stiefelsystem.config import Config
from stiefelsystem.host import debian, pack, tree
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.stages import Stage, run_stages
from stiefelsystem.host.stick import loaders

NAMES = ("base", "drivers", "files", "loaders", "pack")


def build(
    config: Config,
    supply: Supply,
    *,
    skip: Collection[str] = (),
    force: Collection[str] = (),
) -> None:
    """Do the stages that are not skipped; what is forced is done though it seems up to date."""
    cache = config.paths.cache
    stages = (
        Stage(
            "base",
            "Debian's packages",
            60.0,
            lambda: tree.base(config, supply),
            lambda: debian.remove_tree(config.paths.initrd),
        ),
        Stage(
            "drivers",
            "what is compiled for the ramdisk",
            5.0,
            lambda: tree.drivers(config, supply),
            lambda: shutil.rmtree(cache / "built", ignore_errors=True),
        ),
        Stage("files", "our programs", 2.0, lambda: tree.lay_over(config, supply), _nothing),
        Stage(
            "loaders",
            "the stick's boot loaders",
            20.0,
            lambda: loaders.make(config.paths.cpio, config.paths.workdir, supply),
            lambda: loaders.forget(cache),
        ),
        Stage(
            "pack",
            "the image",
            40.0,
            lambda: pack.pack(
                config, image=config.paths.cpio, filter_command=pack.compressor(config)
            ),
            lambda: shutil.rmtree(cache / "layers", ignore_errors=True),
        ),
    )
    run_stages(stages, skip=skip, force=force, cache=cache)


def _nothing() -> None:
    """Our files are laid over the tree each time."""
