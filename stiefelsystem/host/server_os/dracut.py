"""Gentoo, Fedora, and whoever else has dracut: a module that goes into each of its initrds."""

from __future__ import annotations

from stiefelsystem.host.server_os import initrd_units
from stiefelsystem.host.server_os.parts import copy, hook, initrds
from stiefelsystem.host.setup.steps import Step

_FROM = "nbd-hook/dracut"
_TO = "/usr/lib/dracut/modules.d/50stiefelsystem"
_ALL = ("dracut", "--regenerate-all", "--force")
# Arch's kernel packages tell their names there, and boot loaders are set up for images with those.
# dracut would name them by the kernel's version. Read when it is run: kernels come and go.
_BY_PACKAGE = f"""\
made=
for file in /usr/lib/modules/*/pkgbase; do
    [ -e "$file" ] || continue
    image=/boot/initramfs-$(cat "$file").img
    [ -e "$image" ] || continue
    version=${{file%/pkgbase}}
    dracut --force "$image" "${{version##*/}}" || exit
    made=1
done
[ "$made" ] || {" ".join(_ALL)}"""


def steps(family: str) -> list[Step]:
    """The module, and the initrds made anew, under the names that a family's systems boot."""
    return [
        hook(
            *initrd_units.files(),
            copy(f"{_FROM}/module-setup.sh", f"{_TO}/module-setup.sh", mode=0o755),
            copy(f"{_FROM}/connect.sh", f"{_TO}/connect.sh", mode=0o755),
        ),
        initrds("sh", "-c", _BY_PACKAGE) if family == "arch" else initrds(*_ALL),
    ]
