"""The plans of all families, on trees that are like theirs: done, done again, and taken back.

What makes initrds stands in: a script that puts the files of the family's hook folders into one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem import config, keys
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import consent
from stiefelsystem.host.preflight import boot, distribution
from stiefelsystem.host.server_os import plan
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import Command, File, Step, WriteFiles
from stiefelsystem.host.setup.undo import undo
from stiefelsystem.host.tree import SOURCE
from stiefelsystem.laptop import presets, served
from tests import capabilities
from tests.unit.preflight_tree import levels, put, texts
from tests.unit.setup_tree import snapshot

FAMILIES = {
    "initramfs-tools": ("debian", "boot/initrd.img-1", "etc/initramfs-tools"),
    "mkinitcpio": ("arch", "boot/initramfs-stiefel.img", "etc/initcpio"),
    "dracut": ("fedora", "boot/initramfs-1.img", "usr/lib/dracut/modules.d"),
}
# Each of them makes an initrd of what is in its folder.
COMMANDS = ("update-initramfs", "mkinitcpio", "dracut")
MAKE = """\
#!/bin/sh
cd "$(dirname "$0")/.." && find {folder} -type f | sort | xargs cat >{initrd}
"""
REMOVE = """\
#!/bin/sh
cd "$(dirname "$0")/.." && rm "$1" ".$2"
"""
INSTALLED = {
    "debian": "".join(
        f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n"
        for name in ("kexec-tools", "python3-yaml", "python3-pycryptodome")
    ),
    "arch": ("kexec-tools-2.0.31-1", "python-yaml-6.0.2-3", "python-pycryptodomex-3.23.0-1"),
}


@pytest.fixture
def settings(tmp_path: Path) -> tuple[Config, str]:
    """A configuration whose ramdisk and key are there."""
    (tmp_path / "workdir").mkdir()
    for name in ("stiefel.cpio", "stiefel.vmlinuz", "stiefel.key.cpio"):
        (tmp_path / "workdir" / name).write_text(name)
    keys.create(tmp_path / "aes-key")
    paths = {"workdir": str(tmp_path / "workdir"), "key": str(tmp_path / "aes-key")}
    text = f"modules: [system-debian]\nboot: {{disk: /dev/vda}}\npaths: {json.dumps(paths)}\n"
    return config.parse(text, name="test"), text


class System:
    """A tree that is like one of a family, and its plan."""

    def __init__(self, tree: Path, generator: str, settings: tuple[Config, str]) -> None:
        self.tree, self.generator = tree, generator
        self.config, self.text = settings
        family, initrd, folder = FAMILIES[generator]
        self.initrd = tree / initrd
        for name in (
            "boot",
            "etc/systemd/system",
            "usr/lib",
            "bin",
            "usr/lib/systemd/system",
            folder,
        ):
            (tree / name).mkdir(parents=True, exist_ok=True)
        (tree / "etc/os-release").write_text(f"ID={family}\n")
        (tree / folder / "theirs").write_text("their hook\n")
        self.command(*COMMANDS, text=MAKE.format(folder=folder, initrd=initrd))
        self.command("rm", text=REMOVE)
        self._database(family)
        self.root = Root(tree, enter=lambda argv: [tree / "bin" / argv[0], *argv[1:]])
        if generator != "mkinitcpio":
            self.root.run([COMMANDS[0]])
        self.family = distribution.look(self.root)

    def command(self, *names: str, text: str) -> None:
        for name in names:
            (self.tree / "bin" / name).write_text(text)
            (self.tree / "bin" / name).chmod(0o755)

    def _database(self, family: str) -> None:
        if family == "debian":
            (self.tree / "var/lib/dpkg").mkdir(parents=True)
            (self.tree / "var/lib/dpkg/status").write_text(str(INSTALLED["debian"]))
        elif family == "arch":
            for name in INSTALLED["arch"]:
                (self.tree / "var/lib/pacman/local" / name).mkdir(parents=True)
        else:
            self.command("rpm", text="#!/bin/sh\necho 1-1\n")

    def plan(self) -> list[Step]:
        return plan.make(
            self.config, self.text, root=self.root, system=self.family, generator=self.generator
        )

    def set_up(self) -> bool:
        return execute(self.plan(), root=self.root, yes=True)

    def take_back(self) -> bool:
        return undo(root=self.root, yes=True)


@pytest.fixture(params=FAMILIES)
def system(request: pytest.FixtureRequest, tmp_path: Path, settings: tuple[Config, str]) -> System:
    return System(tmp_path / "tree", request.param, settings)


def test_set_up_again_and_taken_back(system: System, capfd: pytest.CaptureFixture[str]) -> None:
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    assert b"nbd" in system.initrd.read_bytes()
    assert (system.tree / "etc/stiefelsystem/config.yaml").read_text() == system.text
    assert "[" in capfd.readouterr().err

    done = snapshot(system.tree)
    assert system.set_up()
    assert "nothing to do" in capfd.readouterr().err
    assert snapshot(system.tree) == done

    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


def test_a_hook_that_was_kept_alone_fails_no_initrd(tmp_path: Path) -> None:
    hook = (SOURCE / "nbd-hook/initramfs-tools/hook").read_text()
    hook = hook.replace("/usr/local/lib/stiefelsystem", str(tmp_path))
    done = subprocess.run(["sh"], input=hook, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert f"there is no {tmp_path}/nbd-hook-lib" in done.stderr


def test_a_password_that_goes_is_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc").mkdir()
    for content, secret in ((b"password: hunter2", True), (b"nothing", False)):
        file = File(path="/etc/settings", content=content, secret=secret)
        step = WriteFiles(id="settings", purpose="settings", files=(file,))
        assert execute([step], root=Root(tmp_path), yes=True)
    assert "hunter2" not in capfd.readouterr().err


def test_nothing_waits_for_a_desktop_without_its_packages(system: System) -> None:
    steps = plan.make(
        *(system.config, system.text),
        root=system.root,
        system=system.family,
        generator=system.generator,
    )
    needs = {step.id: step.needs for step in steps}
    assert "packages" in needs["service"]
    assert "service" in needs["enable"]


def test_secrets_are_for_root_alone_and_never_shown(
    system: System, capfd: pytest.CaptureFixture[str]
) -> None:
    assert system.set_up()
    shown = capfd.readouterr()
    etc = system.tree / "etc/stiefelsystem"
    for name in ("config.yaml", "autokexec-key", "ramdisk.key.cpio"):
        assert (etc / name).stat().st_mode & 0o777 == 0o600
    assert "stiefel.key.cpio" not in shown.err + shown.out  # what is in it, here
    kept = "".join(path.read_text(errors="replace") for path in etc.parent.rglob("*setup/*"))
    assert "stiefel.key.cpio" not in kept
    boot = [path for path in (system.tree / "boot").rglob("*") if path.is_file()]
    assert not [path for path in boot if b"stiefel.key" in path.read_bytes()]


def test_an_update_changes_what_is_different_and_no_more(
    system: System, capfd: pytest.CaptureFixture[str]
) -> None:
    assert system.set_up()
    capfd.readouterr()
    system.text += "autokexec: {delay: 30}\n"
    system.config = config.parse(system.text, name="test")
    assert system.set_up()
    shown = capfd.readouterr().err
    assert "+autokexec: {delay: 30}" in shown
    assert "ramdisk:" not in shown
    assert "initrd:" not in shown


def test_what_another_version_had_goes(system: System) -> None:
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    system.text += "server-setup: {stiefelsystem-initrd: /boot/elsewhere/initrd}\n"
    system.config = config.parse(system.text, name="test")
    assert system.set_up()
    assert (system.tree / "boot/elsewhere/initrd").exists()
    assert not (system.tree / "boot/stiefelsystem/initrd").exists()
    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


OURS = (
    "usr/local/bin/stiefel-autokexec",
    "usr/local/lib/stiefelsystem/stiefel-autokexec",
    "etc/stiefelsystem/config.yaml",
    "etc/stiefelsystem/autokexec-key",
    "etc/stiefelsystem/ramdisk.key.cpio",
)
SOMEBODY = 1000


@pytest.mark.parametrize("name", OURS)
def test_a_link_in_the_place_of_a_file_of_ours(
    tmp_path: Path, settings: tuple[Config, str], name: str
) -> None:
    """It may lead to a program of the system, which is not to be overwritten."""
    system = System(tmp_path / "tree", "dracut", settings)
    theirs = system.tree / "usr/bin/theirs"
    theirs.parent.mkdir()
    theirs.write_text("theirs\n")
    link = system.tree / name
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/bin/theirs")
    with pytest.raises(StiefelError, match="it is a link to /usr/bin/theirs"):
        system.set_up()
    assert theirs.read_text() == "theirs\n"


def test_what_root_runs_and_trusts_belongs_to_root(system: System) -> None:
    """Whoever left such files there, with an ACL even, could put programs of theirs into them."""
    capabilities.require_root()
    for name in OURS:
        (system.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (system.tree / name).write_text("theirs\n")
        os.chown(system.tree / name, SOMEBODY, SOMEBODY)
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    ours = {
        file.path for step in system.plan() if isinstance(step, WriteFiles) for file in step.files
    }
    boot = {path for path in ours if path.startswith("/boot/")}
    for path in ours - boot:
        assert (system.tree / path.lstrip("/")).stat().st_uid == 0, path
    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


@pytest.mark.parametrize("name", ["etc/stiefelsystem", "usr/local/lib/stiefelsystem/stiefelsystem"])
def test_a_folder_of_ours_is_somebodys(
    tmp_path: Path, settings: tuple[Config, str], name: str
) -> None:
    """They could put other files into the place of ours."""
    capabilities.require_root()
    system = System(tmp_path / "tree", "dracut", settings)
    folder = system.tree / name
    folder.mkdir(parents=True)
    os.chown(folder, SOMEBODY, SOMEBODY)
    before = snapshot(system.tree)
    with pytest.raises(
        StiefelError, match=f"folder /{name} belongs to the user {SOMEBODY}"
    ) as told:
        system.set_up()
    assert told.value.hint.endswith(f"chown 0:0 /{name}")
    assert snapshot(system.tree) == before
    os.chown(folder, 0, 0)
    assert system.set_up()


def test_without_an_initrd_nothing_waits_for_a_desktop(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stop the OS for a desktop that cannot boot it."""
    answers = {"do initrd?": "skip"}
    monkeypatch.setattr(consent, "can_ask", lambda: True)
    monkeypatch.setattr(consent, "choose", lambda asked, _: answers.get(asked, "yes"))
    assert not execute(system.plan(), root=system.root)
    assert not (system.tree / "etc/systemd/system/stiefel-autokexec.service").exists()


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


OPENRC = """\
#!/bin/sh
link=$(dirname "$0")/../etc/runlevels/default/stiefel-autokexec
case "$*" in
"add stiefel-autokexec default") ln -s /etc/init.d/stiefel-autokexec "$link" ;;
"--all delete stiefel-autokexec") rm "$link" ;;
*) exit 1 ;;
esac
"""


def test_openrc(tmp_path: Path, settings: tuple[Config, str]) -> None:
    system = System(tmp_path / "tree", "dracut", settings)
    for name in ("sbin", "etc/runlevels/default", "etc/init.d"):
        (system.tree / name).mkdir(parents=True)
    for name in ("openrc", "init"):
        (system.tree / "sbin" / name).touch()
    system.command("rc-update", text=OPENRC)
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    service = system.tree / "etc/init.d/stiefel-autokexec"
    assert service.stat().st_mode & 0o777 == 0o755
    assert (system.tree / "etc/runlevels/default/stiefel-autokexec").is_symlink()
    assert not (system.tree / "etc/systemd/system/stiefel-autokexec.service").exists()
    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


@pytest.mark.parametrize("init", ["/usr/lib/systemd/systemd", "/usr/bin/env"])
def test_openrc_that_is_not_the_init(
    tmp_path: Path, settings: tuple[Config, str], init: str
) -> None:
    """It is installed beside systemd; or a link leads to what only the machine that looks has."""
    system = System(tmp_path / "tree", "dracut", settings)
    put(system.tree, {"usr/lib/systemd/systemd": "", "usr/sbin/openrc": ""})
    (system.tree / "sbin").symlink_to("usr/sbin")
    (system.tree / "sbin/init").symlink_to(init)
    assert system.set_up()
    assert (system.tree / "etc/systemd/system/stiefel-autokexec.service").exists()
    assert not (system.tree / "etc/init.d").exists()


def edited(system: System, name: str, change: Callable[[str], str]) -> None:
    path = system.tree / name
    path.write_text(change(path.read_text()))


def test_what_the_user_changed_is_not_overwritten_unasked(system: System) -> None:
    assert system.set_up()
    edited(system, "etc/stiefelsystem/config.yaml", lambda text: f"{text}# mine\n")
    assert not system.take_back()
    assert "# mine" in (system.tree / "etc/stiefelsystem/config.yaml").read_text()
