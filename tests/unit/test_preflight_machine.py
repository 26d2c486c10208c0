"""What the machine can do: kexec, Secure Boot, network, init, kernel modules, hibernation.

/sys and /proc are folders of the test; the format of what is in them is that of Linux 6.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stiefelsystem import interfaces
from stiefelsystem.host.preflight import hibernation, init, kernels, machine
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.preflight.storage import Devices
from stiefelsystem.host.setup.root import Root
from stiefelsystem.interfaces import Interface
from tests.unit.preflight_tree import levels, put, settings, texts

DEBIAN = Distribution("debian", "debian", "Debian", "13")
UBUNTU = Distribution("debian", "ubuntu", "Ubuntu", "26.04")
EFIVARS = "sys/firmware/efi/efivars"
SECURE_BOOT = f"{EFIVARS}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOCKDOWN = "sys/kernel/security/lockdown"
CONFIG = settings()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that can start another kernel, without any NIC."""
    put(tmp_path, {"sys/kernel/kexec_loaded": "0\n"})
    put(tmp_path, {"proc/sys/kernel/kexec_load_disabled": "0\n"})
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    put(tmp_path, {"proc/sys/kernel/kexec_load_limit_reboot": "-1\n"})
    monkeypatch.setattr(interfaces, "wired", list)
    return tmp_path


def look(tree: Path, system: Distribution = DEBIAN) -> str:
    return texts(machine.look(Root(tree), system, CONFIG))


def test_ordinary(tree: Path) -> None:
    findings = machine.look(Root(tree), DEBIAN, CONFIG)
    assert [(one.topic, one.level) for one in findings] == [
        ("kexec", "ok"),
        ("Secure Boot", "ok"),
        ("network", "note"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("kexec_load_disabled", "1\n", "obstacle kexec: kernel.kexec_load_disabled is 1"),
        ("kexec_load_limit_reboot", "0\n", "obstacle kexec: kernel.kexec_load_limit_reboot is 0"),
        ("kexec_load_limit_reboot", "1\n", "ok kexec"),
    ],
)
def test_kexec(tree: Path, name: str, content: str, said: str) -> None:
    put(tree, {f"proc/sys/kernel/{name}": content})
    assert said in look(tree)


def test_kernel_without_kexec(tree: Path) -> None:
    (tree / "sys/kernel/kexec_loaded").unlink()
    assert "obstacle kexec: the running kernel" in look(tree)


@pytest.mark.parametrize(
    ("variable", "lockdown", "system", "said"),
    [
        # By BIOS: no folder efi.
        (None, "[none] integrity confidentiality\n", DEBIAN, "ok Secure Boot: off"),
        (b"\6\0\0\0\0", "", DEBIAN, "ok Secure Boot: off"),
        (
            b"\6\0\0\0\1",
            "[none] integrity confidentiality\n",
            UBUNTU,
            "ok Secure Boot: on, but the",
        ),
        (b"\6\0\0\0\1", "", UBUNTU, "ok Secure Boot: on, but the kernel is not locked down"),
        (b"\6\0\0\0\1", "none [integrity] confidentiality\n", DEBIAN, "note Secure Boot: on: the"),
        (
            *(b"\6\0\0\0\1", "none [integrity] confidentiality\n", UBUNTU),
            "obstacle Secure Boot: on: the kernel is locked down (integrity), and starts only what"
            " is signed. The ramdisk's kernel is signed by Debian, whom Ubuntu does not trust",
        ),
        # By lockdown= on the command line.
        (
            *(None, "none integrity [confidentiality]\n", UBUNTU),
            "obstacle Secure Boot: not on, but: the kernel is locked down (confidentiality)",
        ),
        (b"", "", DEBIAN, "ok Secure Boot: off"),
    ],
)
def test_secure_boot(
    tree: Path, variable: bytes | None, lockdown: str, system: Distribution, said: str
) -> None:
    if variable is not None:
        put(tree, {SECURE_BOOT: variable})
    if lockdown:
        put(tree, {LOCKDOWN: lockdown})
    assert said in look(tree, system)


def test_secure_boot_that_cannot_be_read(tree: Path) -> None:
    (tree / EFIVARS).mkdir(parents=True)
    assert "ok Secure Boot: cannot be read" in look(tree)


@pytest.mark.parametrize("sign", ["run/systemd/container", ".dockerenv", "run/.containerenv"])
def test_container(tree: Path, sign: str) -> None:
    put(tree, {sign: "podman\n"})
    assert f"obstacle machine: this is a container (/{sign})" in look(tree)


def test_init_that_cannot_be_told_to_kexec(tree: Path) -> None:
    (tree / "run/systemd/system").rmdir()
    assert "obstacle init: cannot tell how this OS is stopped" in look(tree)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run/initramfs/stiefelsystem/stiefel-link", ""),
        ("proc/cmdline", "root=UUID=r-r ro stiefel_link=52:54:00:00:00:01\n"),
    ],
)
def test_stiefeled(tree: Path, name: str, content: str) -> None:
    """The generators that look at the hardware would see the desktop's."""
    put(tree, {name: content})
    found = look(tree)
    assert "obstacle machine: this OS is stiefeled" in found
    assert "[run it on the laptop: initrds would be made for the desktop]" in found


def test_nics(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with a driver, with their driver; a container's end has none."""
    wired = [
        Interface("eno1", 2, True, True),
        Interface("enx00", 3, False, False),
        Interface("veth0", 4, True, True),
    ]
    macs = {"eno1": "00:11:22:33:44:55", "enx00": "aa:bb:cc:dd:ee:ff", "veth0": "x"}
    monkeypatch.setattr(interfaces, "wired", lambda: wired)
    monkeypatch.setattr(interfaces, "mac", macs.__getitem__)
    for name, driver in (("eno1", "e1000e"), ("enx00", "r8152")):
        put(tree, {f"sys/bus/drivers/{driver}/bind": "", f"sys/devices/{name}/uevent": ""})
        (tree / f"sys/devices/{name}/driver").symlink_to(f"../../bus/drivers/{driver}")
        put(tree, {f"sys/class/net/{name}/flags": ""})
        (tree / f"sys/class/net/{name}/device").symlink_to(f"../../../devices/{name}")
    found = look(tree)
    assert "ok network: eno1 (e1000e, 00:11:22:33:44:55, with a cable)" in found
    assert "ok network: enx00 (r8152, aa:bb:cc:dd:ee:ff, no cable, or down)" in found
    assert "veth0" not in found
    assert "note network" not in found
    with_mac = settings('autokexec: {macs: ["AA-BB-CC-DD-EE-FF", "00:00:00:00:00:01"]}\n')
    noted = texts(machine.look(Root(tree), DEBIAN, with_mac))
    assert "note network: aa:bb:cc:dd:ee:ff of autokexec.macs is there" in noted


def test_this_machine() -> None:
    """Whatever that is: nothing is raised."""
    assert machine.look(Root(), DEBIAN, CONFIG)


def index(tree: Path, version: str, *modules: str, builtin: str = "") -> None:
    folder = f"usr/lib/modules/{version}"
    dependencies = [f"kernel/drivers/{name}:" for name in ("block/nbdx.ko", *modules)]
    put(tree, {f"{folder}/modules.dep": "\n".join(dependencies) + "\n"})
    put(tree, {f"{folder}/modules.builtin": builtin})


def test_kernel_modules(tmp_path: Path) -> None:
    root = Root(tmp_path)
    assert levels(kernels.look(root, CONFIG)) == ["note"]
    index(tmp_path, "6.1-cloud", "net/wireguard/wireguard.ko.zst: kernel/x.ko")
    (finding,) = kernels.look(root, CONFIG)
    assert (finding.level, finding.text) == ("obstacle", "6.1-cloud has no module nbd")
    assert "CONFIG_BLK_DEV_NBD" in finding.hint
    index(
        tmp_path, "6.12", "block/nbd.ko.xz", builtin="kernel/drivers/net/wireguard/wireguard.ko\n"
    )
    # Left over from a kernel that was removed.
    put(tmp_path, {"usr/lib/modules/5.10/updates/x.ko": ""})
    good, other = kernels.look(root, CONFIG)
    assert (good.level, good.text) == ("ok", "6.12: with nbd and wireguard")
    assert (other.level, other.text) == ("note", "6.1-cloud has no module nbd")


def test_the_kernel_that_is_handed_over(tmp_path: Path) -> None:
    """It is one without, whatever the others have."""
    for version, modules in (("6.1", ("block/nbd.ko", "net/wireguard.ko")), ("6.12", ("x.ko",))):
        index(tmp_path, version, *modules)
        put(tmp_path, {f"boot/vmlinuz-{version}": "", f"boot/initrd.img-{version}": ""})
    menu = "menuentry a {\nlinux /boot/vmlinuz-6.12 root=UUID=r\ninitrd /boot/initrd.img-6.12\n}\n"
    put(tmp_path, {"boot/grub/grub.cfg": menu})
    assert levels(kernels.look(Root(tmp_path), CONFIG)) == ["ok", "obstacle"]
    put(tmp_path, {"boot/grub/grub.cfg": menu.replace("6.12", "6.1")})
    assert levels(kernels.look(Root(tmp_path), CONFIG)) == ["ok", "note"]


def test_kernel_without_wireguard(tmp_path: Path) -> None:
    put(tmp_path, {"lib/modules/4.19/modules.dep": "kernel/drivers/block/nbd.ko:\n"})
    (finding,) = kernels.look(Root(tmp_path), CONFIG)
    assert (finding.level, finding.text) == ("obstacle", "4.19 has no module wireguard")
    assert "link: encryption: none" in finding.hint
    plain = settings("link: {encryption: none}\n")
    assert levels(kernels.look(Root(tmp_path), plain)) == ["ok"]


@pytest.mark.parametrize(
    ("link", "more", "level", "said"),
    [
        ("../lib/systemd/systemd", (), "ok", "systemd"),
        ("/usr/lib/systemd/systemd", (), "ok", "systemd"),
        ("openrc-init", ("sbin/openrc",), "note", "OpenRC: a session does not end cleanly"),
        ("sysvinit", ("sbin/openrc",), "note", "OpenRC"),
        ("runit-init", (), "note", "/sbin/runit-init: a session"),
        (None, (), "obstacle", "none is installed"),
    ],
)
def test_init(
    tmp_path: Path, link: str | None, more: tuple[str, ...], level: str, said: str
) -> None:
    programs = (
        "lib/systemd/systemd",
        "usr/lib/systemd/systemd",
        "sbin/runit-init",
        "sbin/sysvinit",
    )
    put(tmp_path, dict.fromkeys((*programs, "sbin/openrc-init", *more), ""))
    if link:
        (tmp_path / "sbin/init").symlink_to(link)
    (finding,) = init.look(Root(tmp_path))
    assert finding.level == level
    assert said in finding.text


@pytest.mark.parametrize(
    ("version", "old"),
    [("3.9", True), ("3.10", True), ("3.11", False), ("3.14", False), ("4.0", False)],
)
def test_python(tmp_path: Path, version: str, old: bool) -> None:
    put(tmp_path, {"sbin/init": "", f"usr/bin/python{version}": ""})
    (tmp_path / "usr/bin/python3").symlink_to(f"python{version}")
    found = texts(init.look(Root(tmp_path)))
    assert (f"Python {version}, and autokexec needs 3.11" in found) == old


@pytest.mark.parametrize(
    ("resume", "said"),
    [
        ("RESUME=UUID=1-2\n", "RESUME=UUID=1-2 in /etc/initramfs-tools/conf.d/resume"),
        ("# RESUME=x\nRESUME=none\n", ""),
        ("RESUME=auto", "RESUME=auto"),
        ('RESUME=""\n', ""),
        ("", ""),
    ],
)
def test_hibernation(tmp_path: Path, resume: str, said: str) -> None:
    put(tmp_path, {"etc/initramfs-tools/conf.d/resume": resume})
    (finding,) = hibernation.look(Root(tmp_path), CONFIG)
    assert finding.level == ("note" if said else "ok")
    assert said in finding.text


def test_images_of_hibernated_systems() -> None:
    """lsblk's form, as in test_preflight_disks; swsuspend is libblkid's name for an image."""
    image = {
        "name": "/dev/mapper/swap",
        "kname": "/dev/dm-0",
        "type": "crypt",
        "fstype": "swsuspend",
    }
    crypt = {"name": "/dev/sdx2", "kname": "/dev/sdx2", "type": "part", "children": [image]}
    disk = {"name": "/dev/sdx", "kname": "/dev/sdx", "type": "disk", "children": [crypt]}
    other = {"name": "/dev/sdy", "kname": "/dev/sdy", "type": "disk", "fstype": "swap"}
    devices = Devices(json.dumps({"blockdevices": [disk, other]}))
    (finding,) = hibernation.images(devices, "/dev/sdx")
    assert finding.level == "obstacle"
    assert "/dev/mapper/swap holds the image" in finding.text
    assert levels(hibernation.images(devices, "/dev/sdy")) == ["note"]
    assert levels(hibernation.images(devices, "/dev/gone")) == ["obstacle"]
