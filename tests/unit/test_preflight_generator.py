"""Which program makes the initrds, on trees as distributions have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import generator
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.preflight.generator import Generator
from stiefelsystem.host.setup.root import Root
from tests.unit.preflight_tree import put, settings

DEBIAN, ARCH = Distribution("debian", "debian", "D", "13"), Distribution("arch", "arch", "A", "")
GENTOO, FEDORA = Distribution("gentoo", "gentoo", "G", ""), Distribution("fedora", "x", "F", "43")
PACMAN = "var/lib/pacman/local"


def dpkg(**states: str) -> dict[str, str | bytes]:
    stanzas = [
        f"Package: {name.replace('_', '-')}\nStatus: {state}\nVersion: 1-{name}\n"
        for name, state in states.items()
    ]
    return {"var/lib/dpkg/status": "\n".join(stanzas)}


@pytest.mark.parametrize(
    ("conf", "drop_in", "detail"),
    [
        ("# MODULES=dep\nMODULES=most\n", "", "MODULES=most"),
        ("MODULES=dep # small\nBUSYBOX=auto\n", "", "MODULES=dep"),
        ("MODULES=most\n", "MODULES=dep", "MODULES=dep"),
        ("", "", "MODULES=most"),
    ],
)
def test_initramfs_tools(tmp_path: Path, conf: str, drop_in: str, detail: str) -> None:
    etc = "etc/initramfs-tools"
    put(tmp_path, {f"{etc}/initramfs.conf": conf, f"{etc}/conf.d/x": drop_in})
    put(tmp_path, {"usr/sbin/mkinitramfs": "", **dpkg(initramfs_tools="install ok installed")})
    found = generator.look(Root(tmp_path), DEBIAN)
    assert found == Generator(
        "initramfs-tools", "1-initramfs_tools", "/usr/sbin/mkinitramfs", detail
    )


def test_debian_with_dracut(tmp_path: Path) -> None:
    """mkinitramfs may be left from initramfs-tools-core, and its package's settings, too."""
    put(
        tmp_path,
        {
            **dict.fromkeys(("usr/sbin/mkinitramfs", "usr/sbin/update-initramfs"), ""),
            "usr/bin/dracut": "",
            "usr/lib/systemd/systemd": "",
            **dpkg(initramfs_tools="deinstall ok config-files", dracut="install ok installed"),
        },
    )
    found = generator.look(Root(tmp_path), DEBIAN, module="system-debian")
    assert (found.name, found.version) == ("dracut", "1-dracut")
    assert found.detail == "with systemd in the initrd"


def test_debian_with_a_part_of_dracut(tmp_path: Path) -> None:
    """dracut-core alone makes no initrds."""
    put(tmp_path, dict.fromkeys(("usr/sbin/mkinitramfs", "usr/bin/dracut"), ""))
    put(tmp_path, dpkg(initramfs_tools="install ok installed", dracut_core="install ok installed"))
    assert generator.look(Root(tmp_path), DEBIAN).name == "initramfs-tools"


@pytest.mark.parametrize(
    ("hooks", "detail"),
    [
        ("HOOKS=(base systemd autodetect sd-vconsole)\n", "systemd"),
        ("HOOKS=(base udev autodetect)\n", "busybox"),
        ('HOOKS="base udev autodetect"\n', "busybox"),
        ("HOOKS='base udev'\n", "busybox"),
        ("HOOKS=(base # 'udev\n  systemd\n\n  # ) no end\n  block)\n", "systemd"),
        ('  HOOKS=("base" \'systemd\' "autodetect")', "systemd"),
        ("#HOOKS=(base systemd)\nHOOKS=(base udev)\n#    HOOKS=(base systemd)\n", "busybox"),
        ("HOOKS=(base udev)\nHOOKS=(base systemd)\n", "systemd"),
        ("HOOKS=(base)\nHOOKS+=(systemd)\n", "systemd"),
        ('MY_HOOKS=(systemd)\nCOMPRESSION="x\nHOOKS=(base udev)\n', "busybox"),
    ],
)
def test_flavours_of_mkinitcpio(tmp_path: Path, hooks: str, detail: str) -> None:
    put(tmp_path, {"usr/bin/mkinitcpio": "", "etc/mkinitcpio.conf": hooks})
    put(tmp_path, {f"{PACMAN}/mkinitcpio-40-1/desc": "", f"{PACMAN}/mkinitcpio-busybox-1-1/d": ""})
    found = generator.look(Root(tmp_path), ARCH, module="system-arch")
    assert found == Generator(
        "mkinitcpio", "40", "/usr/bin/mkinitcpio", f"with {detail} in the image"
    )


def test_drop_in_of_mkinitcpio(tmp_path: Path) -> None:
    put(tmp_path, {"usr/bin/mkinitcpio": "", "etc/mkinitcpio.conf": "HOOKS=(base udev)\n"})
    put(tmp_path, {"etc/mkinitcpio.conf.d/a.conf": "HOOKS=(systemd)"})
    put(tmp_path, {"etc/mkinitcpio.conf.d/b.conf.pacnew": "HOOKS=(udev)"})
    found = generator.look(Root(tmp_path), ARCH)
    assert found.detail == "with systemd in the image"


# A rule across the page, and what is not understood behind it: no time that doubles with each sign.
RULE = f"HOOKS=(\n{'#' * 80} early\n base\n $(hostname-hook)\n)\n"


@pytest.mark.parametrize(
    "conf", ["", "HOOKS=(base", "HOOKS=($(cat x))", "HOOKS=(base autodetect)", RULE]
)
def test_mkinitcpio_that_loads_no_drivers(tmp_path: Path, conf: str) -> None:
    put(tmp_path, {"usr/bin/mkinitcpio": "", "etc/mkinitcpio.conf": conf})
    with pytest.raises(StiefelError, match="neither udev nor systemd"):
        generator.look(Root(tmp_path), ARCH)


@pytest.mark.parametrize(
    ("module", "name"), [("system-arch", "mkinitcpio"), ("system-arch-dracut", "dracut")]
)
def test_arch_with_both(tmp_path: Path, module: str, name: str) -> None:
    put(tmp_path, {"usr/bin/mkinitcpio": "", "etc/mkinitcpio.conf": "HOOKS=(udev)"})
    with pytest.raises(
        StiefelError, match=r"system-arch-dracut, but dracut is not .* mkinitcpio is"
    ):
        generator.look(Root(tmp_path), ARCH, module="system-arch-dracut")
    put(tmp_path, {"usr/bin/dracut": ""})
    assert generator.look(Root(tmp_path), ARCH, module=module).name == name
    with pytest.raises(StiefelError, match="several"):
        generator.look(Root(tmp_path), ARCH)


@pytest.mark.parametrize(
    ("conf", "system", "detail"),
    [
        ('hostonly="yes"\n', True, "with systemd in the initrd, hostonly"),
        ('omit_dracutmodules+=" plymouth systemd "\n', True, "without systemd in the initrd"),
        (
            *('omit_dracutmodules+=" systemd "\nomit_dracutmodules+=" lvm "\n', True),
            "without systemd in the initrd",
        ),
        ("", False, "without systemd in the initrd"),
        ('hostonly="no"\n', True, "with systemd in the initrd"),
    ],
)
def test_dracut(tmp_path: Path, conf: str, system: bool, detail: str) -> None:
    put(tmp_path, {"usr/bin/dracut": "", "var/db/pkg/sys-kernel/dracut-107-r2/CONTENTS": ""})
    # Hidden by the user's file of the same name.
    put(tmp_path, {"usr/lib/dracut/dracut.conf.d/50-x.conf": 'hostonly="yes"\n'})
    put(tmp_path, {"etc/dracut.conf.d/50-x.conf": conf})
    if system:
        put(tmp_path, {"usr/lib/systemd/systemd": ""})
    # Beside it, genkernel is what builds kernels.
    put(tmp_path, {"usr/bin/genkernel": ""})
    found = generator.look(Root(tmp_path), GENTOO)
    assert (found.name, found.version, found.detail) == ("dracut", "107-r2", detail)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("usr/bin/booster", "by booster, which is not supported"),
        ("usr/bin/genkernel", "by genkernel, which"),
        ("usr/sbin/mktirfs", "by tiny-initramfs"),
        ("usr/bin/other", "nothing is installed"),
    ],
)
def test_unsupported(tmp_path: Path, program: str, said: str) -> None:
    put(tmp_path, {program: ""})
    with pytest.raises(StiefelError, match=said) as caught:
        generator.look(Root(tmp_path), GENTOO)
    assert "initramfs-tools, mkinitcpio, dracut" in caught.value.hint


@pytest.mark.parametrize(
    ("system", "module", "fits"),
    [
        (DEBIAN, "system-debian", True),
        (DEBIAN, "system-arch", False),
        (ARCH, "system-arch-dracut", True),
        (ARCH, "system-gentoo", False),
        (FEDORA, "system-gentoo", True),
        (FEDORA, "system-debian", False),
        (Distribution("", "", "", ""), "system-debian", True),
    ],
)
def test_module(system: Distribution, module: str, fits: bool) -> None:
    config = settings(module=module)
    if fits:
        generator.check_module(config, system)
    else:
        with pytest.raises(StiefelError, match=f"the module {module}, but this is {system.name}"):
            generator.check_module(config, system)
