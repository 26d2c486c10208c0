"""What the desktop will get to boot: kernel, initrd and command line, as the laptop has them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stiefelsystem.bootloader import loaders, words
from stiefelsystem.bootloader.words import Dropped
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import names, tree
from stiefelsystem.host.preflight.finding import Finding, failed, note, obstacle, ok
from stiefelsystem.host.server_os import mkinitcpio
from stiefelsystem.host.setup.root import Root
from stiefelsystem.laptop import partition, presets, served

_TOPIC = "boot"


def look(root: Root, config: Config) -> list[Finding]:
    """What `served.find` finds, in words; or why it finds nothing, as an obstacle."""
    if _image_is_to_be_made(root, config):
        return _with_image_to_be_made(root, config)
    try:
        found = served.find(config, root.path)
    except StiefelError as error:
        return [failed(_TOPIC, error)]
    where = f" on {found.part}" if found.part else ""
    files = [str(path) for path in found.files] or [found.kernel, *found.initrds]
    return [
        ok(_TOPIC, f"by {found.source}{where}"),
        ok("kernel", files[0]),
        ok("initrd", ", ".join(files[1:]) or f"in {files[0]}"),
        *_cmdline(found.cmdline, found.dropped),
        *(note(_TOPIC, text) for text in found.notes),
    ]


def _cmdline(text: str, dropped: Sequence[Dropped]) -> list[Finding]:
    without = [ok("cmdline", f"without {word}: {reason}") for word, reason in dropped]
    return [ok("cmdline", text), *without, *names.in_cmdline(text)]


def _image_is_to_be_made(root: Root, config: Config) -> bool:
    """Whether what is handed over is an image of our own that only the setup makes: for the first
    time, or for another kernel than before."""
    load, part = config.boot.load, config.boot.part
    if (
        config.system != "system-arch"
        or load.kernel
        or load.initrd
        or (part and part.type != "plain")
    ):
        return False
    return not tree.is_file(root, mkinitcpio.IMAGE) or _preset(root) != mkinitcpio.kernel(root)


def _preset(root: Root) -> str:
    """The kernel that our own preset is for; empty if there is none yet."""
    return presets.kernel_of_ours(tree.text(root, presets.OURS))


def _with_image_to_be_made(root: Root, config: Config) -> list[Finding]:
    """Arch with mkinitcpio, before its setup has done its part."""
    kernel = mkinitcpio.kernel(root)
    if not tree.is_file(root, kernel):
        text = f"there is no {kernel}, for which the image for desktops would be made"
        if any("-" in name for name in tree.names(root, "/usr/lib/modules")):
            text += "; where kernels are named by their version (kernel-install), it cannot be"
        hint = "use the traditional layout, or dracut (docs/arch.md); is /boot mounted?"
        return [obstacle(_TOPIC, text, hint)]
    findings = [
        ok("kernel", kernel),
        ok("initrd", f"{mkinitcpio.IMAGE}, which will be made for that kernel"),
    ]
    if (before := _preset(root)) not in ("", kernel):
        text = f"so far, {presets.OURS} is for {before}"
        findings.append(note("initrd", text, "run setup-server-os for the other"))
    if part := config.boot.part:
        findings.insert(0, ok(_TOPIC, f"on {part.block}, by boot.part in config.yaml"))
    elif os.path.ismount(root.path):
        try:
            place = partition.place(tree.real(root, kernel))
            findings.insert(0, ok(_TOPIC, f"on {partition.common([place], [Path(kernel)])}"))
        except StiefelError as error:
            findings.insert(0, failed(_TOPIC, error))
    return [*findings, *_own_cmdline(root, config)]


def _own_cmdline(root: Root, config: Config) -> list[Finding]:
    """The command line of boot.load, or the boot loader's."""
    if config.boot.load.cmdline is not None:
        return _cmdline(config.boot.load.cmdline, ())
    try:
        entry = loaders.default(root.path)
    except StiefelError as error:
        return [note("cmdline", f"that of the kernel that runs when it is asked for: {error}")]
    return _cmdline(*words.clean_cmdline(entry.cmdline))
