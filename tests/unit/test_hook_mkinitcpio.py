"""The hooks for mkinitcpio, both flavours: a stand-in for it makes an image; its hooks are run.

The real one is not in Debian; tests/unit/standins says what its stand-in does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from stiefelsystem.host.preflight import generator
from tests import capabilities
from tests.unit import one_initrd
from tests.unit.one_initrd import shell

__all__ = ["shell"]  # the fixture

FOLDER = one_initrd.HOOKS / "mkinitcpio"
INSTALLED = "/usr/local/lib/stiefelsystem"

BUSYBOX = "base udev autodetect modconf keyboard block encrypt resume filesystems shutdown"
SYSTEMD = "base systemd autodetect modconf keyboard sd-vconsole block sd-encrypt filesystems"

# A kernel's modules, by their paths: true if they belong into the image.
MODULES = {
    "drivers/block/nbd.ko.zst": True,
    "drivers/net/wireguard/wireguard.ko.zst": True,
    "drivers/net/ethernet/intel/e1000e/e1000e.ko.zst": True,
    "drivers/net/ethernet/realtek/r8169.ko.zst": True,
    "drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko.zst": True,
    "drivers/net/phy/realtek.ko.zst": True,
    "drivers/net/usb/r8152.ko.zst": True,
    "drivers/net/virtio_net.ko.zst": True,
    "drivers/usb/host/xhci-pci.ko.zst": True,
    "drivers/virtio/virtio_pci.ko.zst": True,
    "drivers/net/ethernet/mellanox/mlxsw/mlxsw_spectrum.ko.zst": False,
    "drivers/net/ethernet/netronome/nfp/nfp.ko.zst": False,
    "drivers/net/wireless/ath/ath9k/ath9k.ko.zst": False,
    "drivers/gpu/drm/i915/i915.ko.zst": False,
}

# Other people's hooks, as far as ours have to do with them.
OTHERS = {
    "base": 'build() { echo >"$BUILDROOT/usr/bin/busybox"; add_symlink /usr/bin/mkdir busybox; '
    "add_symlink /usr/bin/ln /only/there; }",
    "systemd": "add_systemd_unit() { :; }; build() { :; }",
    "udev": "build() { add_runscript; }",
    "encrypt": "build() { add_runscript; }",
}

CONFIG = "/etc/stiefelsystem/mkinitcpio.conf"


class Machine:
    """What mkinitcpio finds on the machine that an image is made on, and the image."""

    def __init__(self, folder: Path) -> None:
        capabilities.require_tools("bash")
        self.etc, self.local = folder / "etc", folder / "local"
        self.image, self.kernel, self.hooks = folder / "image", folder / "kernel", folder / "hooks"
        for part in ("stiefelsystem", "mkinitcpio.conf.d"):
            (self.etc / part).mkdir(parents=True)
        shutil.copy(FOLDER / "mkinitcpio.conf", self.etc / "stiefelsystem")
        initrd = self.local / "stiefelsystem/initrd"
        shutil.copytree(one_initrd.HOOKS / "systemd", initrd)
        shutil.copy(one_initrd.HOOKS / "lib", initrd.parent / "nbd-hook-lib")
        for name in MODULES:
            path = self.kernel / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self.hook("stiefelsystem", FOLDER / "install", FOLDER / "hook")
        (self.image / "usr/bin").mkdir(parents=True)
        one_initrd.make_programs(self.local / "bin")

    def hook(self, name: str, install: str | Path, runtime: str | Path = "") -> None:
        for kind, what in (("install", install), ("hooks", runtime)):
            path = self.hooks / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(what.read_text() if isinstance(what, Path) else what)
            path.chmod(0o755)

    def others(self, hooks: Sequence[str]) -> None:
        for name in hooks:
            said = f"run_hook() {{\n    echo {name}\n}}\n" if name in ("udev", "encrypt") else ""
            self.hook(name, OTHERS.get(name, "build() { :; }") + "\n", said)

    def run(
        self, config: str, drop_ins: dict[str, str], *argv: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Run a program where these are the user's settings."""
        (self.etc / "mkinitcpio.conf").write_text(config)
        for name, text in drop_ins.items():
            (self.etc / "mkinitcpio.conf.d" / name).write_text(text)
        return one_initrd.run_making(
            argv,
            etc=self.etc,
            local=self.local,
            BUILDROOT=str(self.image),
            MODULE_FOLDER=str(self.kernel),
            HOOK_FOLDER=str(self.hooks),
        )

    def build(self, config: str) -> subprocess.CompletedProcess[str]:
        return self.run(config, {}, "bash", one_initrd.STANDINS / "mkinitcpio.sh", CONFIG)

    def built(self, words: str) -> Path:
        """The image that is made with these words in HOOKS."""
        self.others(words.split())
        done = self.build(f"HOOKS=({words})\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return self.image


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "a b*c")


# --- the configuration ---


def hooks(machine: Machine, config: str, drop_ins: dict[str, str] | None = None) -> list[str]:
    """What HOOKS is to mkinitcpio."""
    script = f". {CONFIG} && printf '%s\\n' \"${{HOOKS[@]}}\""
    done = machine.run(config, drop_ins or {}, "bash", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "config",
    [
        f"HOOKS=({BUSYBOX})",
        f'HOOKS="{BUSYBOX}"',
        f"HOOKS='{BUSYBOX}'\n# HOOKS=(base systemd)",
        "HOOKS=(\n    base udev   # comment\n    autodetect\n    modconf keyboard\n"
        '    "block" encrypt resume\n    filesystems shutdown\n)',
        f"MODULES=(btrfs)\nHOOKS=(base)\nHOOKS=({BUSYBOX})",
        f"HOOKS=({BUSYBOX.replace('keyboard', 'keyboard stiefelsystem')})",
    ],
)
def test_hooks_for_other_hardware(machine: Machine, config: str) -> None:
    """Drivers are loaded before ours, and LUKS opened after it."""
    wanted = "base udev stiefelsystem modconf keyboard block encrypt filesystems"
    assert hooks(machine, config + "\n") == wanted.split()


def test_hooks_of_the_systemd_flavour(machine: Machine) -> None:
    wanted = "base systemd stiefelsystem modconf keyboard sd-vconsole block sd-encrypt filesystems"
    assert hooks(machine, f"HOOKS=({SYSTEMD})\n") == wanted.split()


def test_drop_ins(machine: Machine) -> None:
    """mkinitcpio ignores them when it is given a file; in their order, and by hostile names."""
    drop_ins = {
        "10-a b$(exit 7)*.conf": "HOOKS=(base systemd block)\n",
        "20.conf": "HOOKS+=('a b*')\n",
        "30.conf.pacsave": "HOOKS=()\n",
    }
    got = hooks(machine, f"HOOKS=({BUSYBOX})\n", drop_ins)
    assert got == ["base", "systemd", "stiefelsystem", "block", "a b*"]


@pytest.mark.parametrize("config", ["HOOKS=(base block)\n", "HOOKS=()\n", "", "HOOKS=''\n"])
def test_nothing_that_loads_drivers(machine: Machine, config: str) -> None:
    done = machine.build(config)
    assert done.returncode == 1
    assert "there is neither 'udev' nor 'systemd' in HOOKS" in done.stdout


# As mkinitcpio reads them, which takes a failure for its own.
DROP_INS = """
mount -t tmpfs none /run
[[ ! $1 ]] || mkdir -p "$1"
for file in /etc/mkinitcpio.conf /etc/mkinitcpio.conf.d/*.conf; do
    . "$file" || exit
done
printf '%s\\n' "${HOOKS[@]}"
"""
STIEFELED = "/run/initramfs/stiefelsystem"


def own_hooks(machine: Machine, config: str, stiefeled: str) -> str:
    """HOOKS of the user's own images."""
    drop_ins = {"stiefelsystem.conf": (FOLDER / "own-images.conf").read_text()}
    done = machine.run(config, drop_ins, "bash", "-c", DROP_INS, "bash", stiefeled)
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


@pytest.mark.parametrize("config", [f"HOOKS=({SYSTEMD})\n", f'HOOKS="{SYSTEMD}"\n'])
def test_own_images_made_on_a_desktop(machine: Machine, config: str) -> None:
    """They are to boot the laptop, of which `autodetect` knows nothing there."""
    assert own_hooks(machine, config, "") == SYSTEMD
    assert own_hooks(machine, config, STIEFELED) == SYSTEMD.replace(" autodetect", "")


def test_own_images_without_autodetect(machine: Machine) -> None:
    assert own_hooks(machine, "HOOKS=(base udev)\n", STIEFELED) == "base udev"
    assert own_hooks(machine, "", STIEFELED) == ""


def test_own_hooks_are_still_known() -> None:
    """setup-server-os reads these files without a shell."""
    text = (FOLDER / "own-images.conf").read_text()
    assert generator.assigned(text, "HOOKS", ["base", "udev"]) == ["base", "udev"]


# --- what goes into the image ---


@pytest.mark.parametrize("words", [BUSYBOX, SYSTEMD])
def test_modules(machine: Machine, words: str) -> None:
    added = set((machine.built(words) / "modules").read_text().split())
    names = {path: Path(path).name.partition(".")[0].replace("-", "_") for path in MODULES}
    assert {path: name in added for path, name in names.items()} == MODULES


def test_a_kernel_without_nbd(machine: Machine) -> None:
    machine.others(BUSYBOX.split())
    (machine.kernel / "drivers/block/nbd.ko.zst").unlink()
    done = machine.build(f"HOOKS=({BUSYBOX})\n")
    assert done.returncode == 1
    assert "module not found: 'nbd'" in done.stderr


def test_files_of_the_busybox_flavour(machine: Machine) -> None:
    image = machine.built(BUSYBOX)
    assert 'HOOKS="udev stiefelsystem encrypt"' in (image / "config").read_text().splitlines()
    assert os.access(image / "hooks/stiefelsystem", os.X_OK)
    assert (image / one_initrd.LIBRARY).read_text() == (one_initrd.HOOKS / "lib").read_text()
    assert not (image / "usr/lib/systemd").exists()


def test_files_of_the_systemd_flavour(machine: Machine) -> None:
    image = machine.built(SYSTEMD)
    units = image / "usr/lib/systemd/system"
    wanted = units / "initrd.target.wants/stiefel-link.service"
    unit = one_initrd.HOOKS / "systemd/stiefel-link.service"
    assert wanted.is_symlink()
    assert wanted.read_text() == unit.read_text()
    assert os.access(image / "usr/lib/systemd/system-generators/stiefelsystem", os.X_OK)
    assert f"ExecStart=/bin/sh /{one_initrd.LIBRARY.rpartition('/')[0]}/connect" in unit.read_text()
    assert (image / "usr/lib/stiefelsystem/connect").is_file()
    assert (image / one_initrd.LIBRARY).is_file()
    assert not (image / "hooks").exists()


def test_base_keeps_its_programs(machine: Machine) -> None:
    """They are links to busybox, through which an added program would be written."""
    image = machine.built(SYSTEMD)
    assert os.readlink(image / "usr/bin/mkdir") == "busybox"
    assert os.readlink(image / "usr/bin/ln") == "/only/there"
    assert (image / "usr/bin/busybox").read_text() == "\n"


def test_without_base_there_is_a_shell(machine: Machine) -> None:
    image = machine.built(SYSTEMD.removeprefix("base "))
    found = {path.name for path in image.rglob("*") if os.access(path, os.X_OK)}
    assert {"sh", "ln", "mkdir", "modprobe", "mount", "udevadm"} <= found


# --- the image's hook, run ---


def initrd(machine: Machine) -> Path:
    """The image, and a shell to run it."""
    return one_initrd.make(machine.built(BUSYBOX))


def boot(root: Path, shell: str, *, missing: str = "") -> subprocess.CompletedProcess[str]:
    names = ("mkinitcpio_init_functions.sh", "mkinitcpio_init.sh")
    init = "\n".join((one_initrd.STANDINS / name).read_text() for name in names)
    return one_initrd.run(root, shell, init, missing=missing)


def test_an_ordinary_boot(machine: Machine, shell: str) -> None:
    done = boot(initrd(machine), shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["udev", "encrypt", "mounting the root filesystem"]


def test_a_boot_with_a_session(machine: Machine, shell: str) -> None:
    """Between udev and LUKS; and init's variables are left alone."""
    root = initrd(machine)
    one_initrd.second_archive(root)
    done = boot(root, shell)
    assert (done.returncode, one_initrd.said(done)) == (0, one_initrd.SAID)
    assert done.stdout.splitlines() == [
        "udev",
        "keeper run /run/initramfs/stiefelsystem",
        "encrypt",
        "mounting the root filesystem",
    ]


@pytest.mark.parametrize("missing", ["nbd", ""])
def test_a_boot_that_fails(machine: Machine, shell: str, missing: str) -> None:
    root = initrd(machine)
    one_initrd.second_archive(root, "#!/bin/sh\necho why >&2\nexit 1\n")
    done = boot(root, shell, missing=missing)
    assert done.stdout.splitlines()[1:3] == [
        "ERROR: stiefelsystem: no disk; 'reboot -f' restarts this machine",
        "interactive shell",
    ]
    why = "the kernel module nbd is not in this initrd" if missing else "why"
    assert one_initrd.said(done)[-1] == why


# --- when the image is made ---


def preset() -> dict[str, str]:
    """What mkinitcpio reads from the preset, as it reads it."""
    capabilities.require_tools("bash")
    file = FOLDER / "stiefelsystem.preset"
    script = '. "$1"; for p in "${PRESETS[@]}"; do image=${p}_image; echo "${!image}"; done'
    script += '; echo "$ALL_kver"; echo "$ALL_config"; echo "${PRESETS[*]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", file], capture_output=True, text=True, check=True, timeout=60
    )
    return dict(zip(("image", "kernel", "config", "names"), done.stdout.splitlines(), strict=True))


def test_preset() -> None:
    """Its kernel and its image are those that config.yaml's defaults hand over."""
    from stiefelsystem import config

    kernel, image = config._LOAD["system-arch"]
    assert preset() == {
        "image": f"/boot/{image}",
        "kernel": f"/boot/{kernel}",
        "config": CONFIG,
        "names": "stiefel",
    }


def test_a_kernel_update_makes_it_anew() -> None:
    """After mkinitcpio's own hook, which copies the kernel to /boot: libalpm sorts by name."""
    (file,) = FOLDER.glob("*.hook")
    assert file.name > "90-mkinitcpio-install.hook"
    lines = file.read_text().splitlines()
    targets = [line.partition(" = ")[2] for line in lines if line.startswith("Target")]
    assert any(fnmatch("usr/lib/modules/6.12.1-arch1-1/vmlinuz", target) for target in targets)
    assert "Exec = /usr/bin/mkinitcpio -p stiefelsystem" in lines
    assert (FOLDER / "stiefelsystem.preset").is_file()


@pytest.mark.parametrize("name", ["hook", "install"])
def test_they_can_be_run(name: str) -> None:
    assert os.access(FOLDER / name, os.X_OK)


def test_the_folder_of_our_files() -> None:
    assert f"from={INSTALLED}\n" in (FOLDER / "install").read_text()
