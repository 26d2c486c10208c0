"""Which distribution it is, and what is installed: by os-release and the databases of packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stiefelsystem import config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import distribution
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.setup.root import Root
from tests import capabilities
from tests.unit.preflight_tree import put

PYUDEV = {
    "debian": "python3-pyudev",
    "arch": "python-pyudev",
    "fedora": "python3-pyudev",
    "gentoo": "dev-python/pyudev",
}


RELEASES = {
    "ID=debian\n": ("debian", "debian", "debian", ""),
    # Ubuntu's kin name it first.
    'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22.1"': (
        *("debian", "linuxmint", "Linux Mint", "22.1"),
    ),
    # Rolling: no VERSION_ID.
    'NAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n': (
        *("arch", "arch", "Arch Linux", "rolling"),
    ),
    "ID='endeavouros'\nID_LIKE='arch'": ("arch", "endeavouros", "endeavouros", ""),
    'ID="rhel"\nID_LIKE="fedora"\n': ("fedora", "rhel", "rhel", ""),
    'ID="centos"\nID_LIKE="rhel"\n': ("fedora", "centos", "centos", ""),
    "NAME=Gentoo\nID=gentoo\nVERSION_ID=2.17\n": ("gentoo", "gentoo", "Gentoo", "2.17"),
    # Comments, blanks, escapes, lines of Windows, what is no assignment.
    '# ID=arch\n\n  ID=debian # not ID=arch\r\nPRETTY_NAME="a \\"b\\""\nrubbish\nid=x\n': (
        *("debian", "debian", 'a "b"', ""),
    ),
    "ID=\"debian\nNAME='x": ("debian", "debian", "x", ""),
    'ID="opensuse-leap"\nID_LIKE="opensuse suse"\n': ("", "opensuse-leap", "opensuse-leap", ""),
    "ID=\nID_LIKE=\n": ("", "", "", ""),
    "": ("", "", "", ""),
}


@pytest.mark.parametrize("release", RELEASES)
def test_os_release(tmp_path: Path, release: str) -> None:
    put(tmp_path, {"etc/os-release": release})
    assert distribution.look(Root(tmp_path)) == Distribution(*RELEASES[release])


def test_os_release_by_its_link(tmp_path: Path) -> None:
    """As packages have it: absolute or not, it must not lead out of the tree."""
    put(tmp_path, {"usr/lib/os-release": "ID=gentoo\n", "etc/x": ""})
    (tmp_path / "etc/os-release").symlink_to("/usr/lib/os-release")
    assert distribution.look(Root(tmp_path)).family == "gentoo"
    (tmp_path / "etc/os-release").unlink()
    assert distribution.look(Root(tmp_path)).family == "gentoo"


def test_not_utf_8(tmp_path: Path) -> None:
    put(tmp_path, {"etc/os-release": b"NAME=\xff\nID=arch\n"})
    assert distribution.look(Root(tmp_path)).family == "arch"


def test_dpkg(tmp_path: Path) -> None:
    status = """\
Package: kexec-tools
Status: install ok installed
Architecture: amd64
Version: 1:2.0.29-2+b1
Description: tools
 Package: not-one
 .
 Status: install ok installed

Package: dracut
Status: deinstall ok config-files
Version: 106-6

Package: half
Version: 1
Status: install reinstreq half-installed

Package: last
Status: hold ok installed
Version: 2~rc1
"""
    put(tmp_path, {"var/lib/dpkg/status": status})
    names = ["kexec-tools", "dracut", "half", "last", "not-one", "kexec", "tools"]
    root = Root(tmp_path)
    versions = [distribution.installed_version(root, "debian", name) for name in names]
    assert versions == ["1:2.0.29-2+b1", "", "", "2~rc1", "", "", ""]
    assert distribution.is_installed(root, "debian", "last")
    assert not distribution.is_installed(root, "debian", "dracut")


@pytest.mark.parametrize(
    ("state", "there"),
    [
        *((state, True) for state in ("installed", "half-installed", "half-configured")),
        *((state, True) for state in ("unpacked", "triggers-awaited", "triggers-pending")),
        *((state, False) for state in ("config-files", "not-installed")),
    ],
)
def test_what_dpkg_was_interrupted_in_is_there(tmp_path: Path, state: str, there: bool) -> None:
    """Though only one state is that of an installed package: dpkg(1)."""
    status = f"Package: kexec-tools\nStatus: install ok {state}\n"
    put(tmp_path, {"var/lib/dpkg/status": status})
    root = Root(tmp_path)
    assert distribution.is_there(root, "debian", "kexec-tools") == there
    assert not distribution.is_there(root, "debian", "other")
    assert distribution.is_installed(root, "debian", "kexec-tools") == (state == "installed")


def test_pacman(tmp_path: Path) -> None:
    folders = ["kexec-tools-1:2.0.31-1", "python-yaml-6.0.2-3", "mkinitcpio-busybox-1.36.1-1"]
    put(tmp_path, {f"var/lib/pacman/local/{name}/desc": "" for name in folders})
    put(tmp_path, {"var/lib/pacman/local/ALPM_DB_VERSION": "9\n"})
    root = Root(tmp_path)
    assert distribution.installed_version(root, "arch", "kexec-tools") == "1:2.0.31"
    assert distribution.is_installed(root, "arch", "python-yaml")
    assert not distribution.is_installed(root, "arch", "mkinitcpio")
    assert not distribution.is_installed(root, "arch", "python")
    assert distribution.is_there(root, "arch", "python-yaml")
    assert not distribution.is_there(root, "arch", "python")


def test_portage(tmp_path: Path) -> None:
    folders = ["sys-apps/kexec-tools-2.0.31-r1", "dev-python/pyyaml-env-tag-1.1"]
    put(tmp_path, {f"var/db/pkg/{name}/CONTENTS": "" for name in folders})
    root = Root(tmp_path)
    assert distribution.installed_version(root, "gentoo", "sys-apps/kexec-tools") == "2.0.31-r1"
    assert not distribution.is_installed(root, "gentoo", "dev-python/pyyaml")
    assert not distribution.is_installed(root, "gentoo", "sys-fs/nothing")


def test_rpm(tmp_path: Path) -> None:
    """Its database has no text to read: rpm is asked, inside (a stand-in for it)."""
    rpm = 'for last; do :; done; [ "$last" = dracut ] && printf 107-4.fc43 && exit; echo no; exit 1'
    root = Root(tmp_path, enter=lambda argv: ["sh", "-c", rpm, *argv])
    assert distribution.installed_version(root, "fedora", "dracut") == "107-4.fc43"
    assert not distribution.is_installed(root, "fedora", "kexec-tools")


def test_this_machine() -> None:
    capabilities.require_tools("dpkg-query")
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}\n", "dpkg"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    found = distribution.installed_version(Root(), "debian", "dpkg")
    assert done.stdout == f"installed {found}\n"


@pytest.mark.parametrize("family", list(PYUDEV))
def test_packages(family: str) -> None:
    base = "modules: [system-debian]\nboot: {disk: /dev/vda}\n"
    macs = base + 'autokexec: {macs: ["00:11:22:33:44:55"]}\n'
    none = macs.replace("macs: [", "mac_detection: false, macs: [")
    without = distribution.laptop_packages(family, config.parse(base, name="test"))
    with_macs = distribution.laptop_packages(family, config.parse(macs, name="test"))
    assert distribution.laptop_packages(family, config.parse(none, name="test")) == without
    assert len(without) == 3
    assert with_macs == (*without, PYUDEV[family])
    assert all(("/" in name) == (family == "gentoo") for name in with_macs)


def test_commands(tmp_path: Path) -> None:
    assert distribution.install_command("debian")[:2] == ("apt-get", "install")
    # apt-get and dnf would remove what depends on a package, too.
    root = Root(tmp_path)
    programs = [distribution.remove_command(root, family, ["a"])[0] for family in PYUDEV]
    assert programs == ["dpkg", "pacman", "rpm", "emerge"]
    with pytest.raises(StiefelError, match="not known"):
        distribution.install_command("")
    with pytest.raises(StiefelError, match="not known"):
        distribution.remove_command(root, "", ["a"])


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("", "--purge"),
        ("Package: a\nStatus: deinstall ok config-files\n", "--remove"),
        ("Package: ab\nStatus: deinstall ok config-files\n", "--purge"),
        ("Package: a\nStatus: purge ok not-installed\n", "--purge"),
    ],
)
def test_settings_of_a_former_life_stay(tmp_path: Path, status: str, word: str) -> None:
    """Where there are none, those that come with a package go with it."""
    put(tmp_path, {"var/lib/dpkg/status": f"Package: b\nStatus: install ok installed\n\n{status}"})
    command = distribution.remove_command(Root(tmp_path), "debian", ["b", "a"])
    assert command == ("dpkg", word)


SIMULATED = """\
NOTE: This is only a simulation!
The following NEW packages will be installed:
  kexec-tools libyaml-0-2
Inst libc6 [2.41-12] (2.41-13 Debian:13/stable [amd64]) []
Inst libyaml-0-2 (0.2.5-2 Debian:13/stable [amd64])
Inst kexec-tools (1:2.0.29-2 Debian:13/stable [amd64])
Conf libyaml-0-2 (0.2.5-2 Debian:13/stable [amd64])
"""


def test_what_is_new_with_a_package(tmp_path: Path) -> None:
    """What is only updated with it is not (a stand-in for apt, which cannot tell of "gone")."""
    apt = 'case $* in "apt-get install "*" --simulate "*gone*) exit 100 ;; esac; printf %s "$0"'
    root = Root(tmp_path, enter=lambda argv: ["sh", "-c", apt, SIMULATED, *argv])
    new = ("python3-yaml", "libyaml-0-2", "kexec-tools")
    assert distribution.to_install(root, "debian", ["python3-yaml"]) == new
    assert distribution.to_install(root, "debian", ["gone"]) == ("gone",)
    assert distribution.to_install(root, "arch", ["kexec-tools"]) == ("kexec-tools",)
