"""All findings at once, on whole trees, and how they are shown."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.host import pack
from stiefelsystem.host.preflight import report
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.preflight.finding import Finding
from stiefelsystem.host.preflight.report import Report
from stiefelsystem.host.setup.root import Root
from tests.unit.preflight_tree import put, settings, texts

INSTALLED = "Package: {}\nStatus: install ok installed\nVersion: 1\n"
PACKAGES = ("initramfs-tools", "kexec-tools", "python3-yaml", "python3-pycryptodome")
DEBIAN = {
    "etc/os-release": 'PRETTY_NAME="Debian 13"\nID=debian\nVERSION_ID="13"\n',
    "var/lib/dpkg/status": "\n".join(map(INSTALLED.format, PACKAGES)),
    "usr/lib/systemd/systemd": "",
    "usr/sbin/mkinitramfs": "",
    "usr/lib/modules/6.12/modules.dep": "kernel/nbd.ko.xz:\nkernel/wireguard.ko.xz:\n",
    "boot/vmlinuz-6.12": "",
    "boot/initrd.img-6.12": "",
    "boot/grub/grub.cfg": """\
menuentry 'Debian' {
	linux /boot/vmlinuz-6.12 root=UUID=r-r ro
	initrd /boot/initrd.img-6.12
}
""",
}


def make_tree(folder: Path) -> Path:
    """A Debian that can be stiefeled, as far as its files tell."""
    put(folder / "tree", DEBIAN)
    (folder / "tree/sbin").mkdir()
    (folder / "tree/sbin/init").symlink_to("/usr/lib/systemd/systemd")
    return folder / "tree"


def make_config(folder: Path) -> Config:
    """A configuration whose ramdisk is built."""
    config = settings(base=folder / "checkout")
    image = config.paths.cpio
    for path in (image, pack.kernel_of(image), pack.secrets_of(image), config.paths.key):
        put(path.parent, {path.name: "x"})
    return config


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


def digest(tree: Path) -> dict[str, str]:
    files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_good_tree(tree: Path, config: Config) -> None:
    """A folder: no obstacle, and nothing is said of the machine that runs this."""
    before = digest(tree)
    found = report.look(Root(tree), config)
    assert found.obstacles == ()
    assert found.distribution == Distribution("debian", "debian", "Debian 13", "13")
    assert found.generator
    assert (found.generator.name, found.generator.detail) == ("initramfs-tools", "MODULES=most")
    assert [one.topic for one in found.findings if one.topic != "user"] == [
        *("distribution", "packages", "init", "initrds", "boot", "kernel", "initrd", "cmdline"),
        *("boot", "modules", "ramdisk", "disk", "hibernation"),
    ]
    assert digest(tree) == before


def test_all_obstacles_at_once(tmp_path: Path) -> None:
    """An empty tree has everything against it; none of it hides the others."""
    (tmp_path / "empty").mkdir()
    found = report.look(Root(tmp_path / "empty"), settings(base=tmp_path))
    topics = {one.topic for one in found.obstacles}
    assert topics == {"distribution", "init", "initrds", "boot", "ramdisk"}
    assert found.generator is None
    assert found.distribution.family == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"etc/os-release": "ID=arch\n"}, "obstacle distribution: config.yaml has the module"),
        ({"etc/os-release": "ID=nixos\nNAME=NixOS\n"}, "obstacle distribution: NixOS: none of"),
        ({"run/ostree-booted": ""}, "obstacle distribution: its /usr is an image (ostree)"),
        (
            {"var/lib/dpkg/status": INSTALLED.format("python3-yaml")},
            "note packages: missing: kexec-tools, python3-pycryptodome [will run: apt-get install"
            " --yes --no-install-recommends kexec-tools python3-pycryptodome]",
        ),
        ({"usr/lib/modules/6.12/modules.dep": ""}, "obstacle modules: 6.12 has no module nbd and"),
        ({"boot/grub/grub.cfg": "menuentry {"}, "note boot: /boot/grub/grub.cfg:1: "),
    ],
)
def test_one_thing_is_wrong(
    tree: Path, config: Config, change: dict[str, str | bytes], said: str
) -> None:
    put(tree, change)
    assert said in texts(report.look(Root(tree), config).findings)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("dep", "note initrds: MODULES=dep: made for the machine that this runs on [run this on"),
        ("most", ""),
    ],
)
def test_initrds_of_a_mounted_system(tree: Path, config: Config, setting: str, said: str) -> None:
    put(tree, {"etc/initramfs-tools/initramfs.conf": f"MODULES={setting}\n"})
    found = texts(report.look(Root(tree), config).findings)
    assert said in found
    assert ("note initrds" in found) == bool(said)


def test_hostonly_initrds_of_a_mounted_system(tree: Path, config: Config) -> None:
    (tree / "usr/sbin/mkinitramfs").unlink()
    put(tree, {"usr/bin/dracut": "", "etc/dracut.conf": 'hostonly="yes"\n'})
    found = texts(report.look(Root(tree), config).findings)
    assert (
        "note initrds: hostonly: made for the machine that this runs on"
        " [run this on the laptop, or set hostonly=no there]" in found
    )
    put(tree, {"etc/dracut.conf": 'hostonly="no"\n'})
    assert "note initrds" not in texts(report.look(Root(tree), config).findings)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights for a while, if they are there."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_cannot_be_read() -> None:
    """Whoever may not read something is told, and the rest is looked at."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        tree, config = make_tree(folder), make_config(folder)
        report.look(Root(tree), config)  # imports are not for nobody
        (tree / "etc/os-release").chmod(0)
        (tree / "boot/grub/grub.cfg").chmod(0)
        with as_nobody():
            said = texts(report.look(Root(tree), config).findings)
    assert "note user: not run as root" in said
    assert "obstacle distribution: cannot read /etc/os-release: Permission denied" in said
    assert "/boot/grub/grub.cfg: Permission denied" in said
    assert "ok modules" in said
    assert "ok ramdisk" in said


@pytest.mark.parametrize("link", [False, True])
def test_an_image_for_usr_in_a_mounted_tree(tree: Path, config: Config, link: bool) -> None:
    """/run is another machine's; a deployment that is mounted alone has a link to nowhere."""
    if link:
        (tree / "ostree").symlink_to("sysroot/ostree")
    else:
        (tree / "ostree/repo").mkdir(parents=True)
    said = texts(report.look(Root(tree), config).findings)
    assert "obstacle distribution: its /usr is an image (ostree)" in said


def test_shown(capsys: pytest.CaptureFixture[str]) -> None:
    findings = (
        Finding("disk", "is there"),
        Finding("disk", "but \033[2J", "note"),
        Finding("boot", "cannot", "obstacle", "do this"),
    )
    found = Report(findings=findings, distribution=Distribution("", "", "", ""), generator=None)
    found.show()
    assert capsys.readouterr().err == (
        "disk  is there\n      note: but ?[2J\nboot  obstacle: cannot\n        do this\n"
    )
    assert found.obstacles == findings[2:]


def test_this_machine(config: Config) -> None:
    """A container, a laptop, whatever it is: there is a report, and it can be shown."""
    found = report.look(Root(), config)
    assert {"disk", "kexec", "Secure Boot"} <= {one.topic for one in found.findings}
    found.show()
