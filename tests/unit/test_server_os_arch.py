"""The plans for Arch, with either of its generators."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stiefelsystem import config
from stiefelsystem.config import Config
from stiefelsystem.host.preflight import boot, distribution
from stiefelsystem.host.setup.steps import Command, WriteFiles
from stiefelsystem.host.tree import SOURCE
from stiefelsystem.laptop import presets, served
from tests.unit.one_system import System, settings
from tests.unit.preflight_tree import levels, put, texts

__all__ = ["settings"]  # the fixture


def test_arch_with_dracut(tmp_path: Path, settings: tuple[Config, str]) -> None:
    """Its images have other names than dracut's own."""
    system = System(tmp_path / "tree", "dracut", settings)
    (system.tree / "etc/os-release").write_text("ID=arch\n")
    system.family = distribution.look(system.root)
    (step,) = [step for step in system.plan() if step.id == "initrd"]
    assert isinstance(step, Command)
    assert "/usr/lib/modules/*/pkgbase" in step.argv[-1]


def test_own_images_on_arch(tmp_path: Path, settings: tuple[Config, str]) -> None:
    """Made while the OS runs on a desktop, they still have to boot the laptop."""
    system = System(tmp_path / "tree", "mkinitcpio", settings)
    assert system.set_up()
    text = (system.tree / "etc/mkinitcpio.conf.d/stiefelsystem.conf").read_text()
    assert text == (SOURCE / "nbd-hook/mkinitcpio/own-images.conf").read_text()


def arch(tree: Path, settings: tuple[Config, str], *kernels: str) -> System:
    """With mkinitcpio, the kernels, and a preset for each."""
    text = settings[1].replace("system-debian", "system-arch")
    system = System(tree, "mkinitcpio", (config.parse(text, name="test"), text))
    (tree / "etc/mkinitcpio.d").mkdir()
    for name in kernels:
        install(system, name)
    return system


def install(system: System, name: str) -> None:
    (system.tree / "boot" / name).touch()
    preset = system.tree / f"etc/mkinitcpio.d/{name}.preset"
    preset.write_text(f'ALL_kver="/boot/{name}"\n')


def test_an_image_that_was_removed_is_made_again(
    tmp_path: Path, settings: tuple[Config, str], capfd: pytest.CaptureFixture[str]
) -> None:
    system = arch(tmp_path / "tree", settings, "vmlinuz-linux")
    assert system.set_up()
    system.initrd.unlink()
    capfd.readouterr()
    assert "which will be made" in texts(boot.look(system.root, system.config))
    assert system.set_up()
    shown = capfd.readouterr().err
    assert "initrd: make the image for desktops" in shown
    assert "hook:" not in shown
    assert system.initrd.exists()
    assert system.set_up()
    assert "nothing to do" in capfd.readouterr().err


LTS = """\
menuentry 'Arch' {
	linux /boot/vmlinuz-linux-lts root=UUID=r-r ro
	initrd /boot/initramfs-linux-lts.img
}
"""


@pytest.mark.parametrize("gone", [False, True])
def test_another_kernel_than_before(
    tmp_path: Path, settings: tuple[Config, str], gone: bool
) -> None:
    """What the preset names is not the boot loader's default any more, or gone even: the next run
    makes the image for the other, and its preflight must let it."""
    system = arch(tmp_path / "tree", settings, "vmlinuz-linux")
    assert system.set_up()
    assert "obstacle" not in levels(boot.look(system.root, system.config))
    install(system, "vmlinuz-linux-lts")
    if gone:
        (system.tree / "boot/vmlinuz-linux").unlink()
        (system.tree / "etc/mkinitcpio.d/vmlinuz-linux.preset").unlink()
    else:
        put(system.tree, {"boot/grub/grub.cfg": LTS, "boot/initramfs-linux-lts.img": ""})
    found = boot.look(system.root, system.config)
    assert "obstacle" not in levels(found)
    assert "ok kernel: /boot/vmlinuz-linux-lts " in texts(found)
    assert "which will be made for that kernel" in texts(found)
    assert "stiefelsystem.preset is for /boot/vmlinuz-linux [" in texts(found)
    assert system.set_up()
    assert served.find(system.config, system.tree).kernel.endswith("vmlinuz-linux-lts")
    assert "which will be made" not in texts(boot.look(system.root, system.config))


@pytest.mark.parametrize("quote", ['"', ""])
def test_a_preset_of_ours_runs_nothing_of_the_users(
    tmp_path: Path, settings: tuple[Config, str], quote: str
) -> None:
    """mkinitcpio sources it, as root."""
    system = arch(tmp_path / "tree", settings)
    evil = f"ALL_kver={quote}/boot/vm';echo INJECTED;'linuz{quote}\n"
    (system.tree / "etc/mkinitcpio.d/linux.preset").write_text(evil)
    (hook,) = (step for step in system.plan() if step.id == "hook")
    assert isinstance(hook, WriteFiles)
    (preset,) = (file.read() for file in hook.files if file.path == presets.OURS)
    done = subprocess.run(["bash", "-e"], input=preset, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
