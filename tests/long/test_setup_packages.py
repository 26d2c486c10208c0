"""setup-server-os where packages are missing: the real apt installs them, and they go again.

They come from this machine's own mirror, which the tree's apt has as it was made with.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian, demo
from stiefelsystem.host.laptop import DEMO, set_up
from stiefelsystem.host.preflight import distribution
from stiefelsystem.host.setup.root import Root
from tests import builds, capabilities
from tests.vm.test_setup import contents, initrds, snapshot

_CONFIG = demo.config_text(builds.WORKDIR, builds.CACHE)
# What setup needs: two that are missing, and what only one of these needs; and one that is there.
_MISSING = ("kexec-tools", "python3-yaml")
_THERE = "python3-pycryptodome"
_LIBRARY = "libyaml-0-2"
# What kexec-tools makes for itself.
_SETTINGS = "etc/default/kexec"
_DEPENDANT = "stiefel-test-dependant"
_CONTROL = """\
Package: {name}
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Depends: {depends}
Description: needs what setup-server-os has installed
"""
# Made anew with each library that comes or goes: ldconfig(8).
_CACHES = {"etc/ld.so.cache", "var/cache/ldconfig/aux-cache"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The demo's laptop as it was before, and as if some packages had never been there."""
    capabilities.require_root()
    capabilities.require_tools("debootstrap", "systemd-nspawn")
    _, laptop = builds.virtual_laptop()
    tree = tmp_path / "tree"
    subprocess.run(["cp", "-a", "--reflink=auto", laptop.before, tree], check=True)
    # The mirror may have gone on since the tree was made; this brings name resolution, too.
    debian.nspawn(tree, ["apt-get", "update", "--quiet"])
    debian.nspawn(tree, ["apt-get", "purge", "--yes", "--autoremove", *_MISSING])
    assert not known(tree) & {*_MISSING, _LIBRARY}
    assert _THERE in known(tree)
    return tree


@dataclass(frozen=True)
class Before:
    """A tree, with all by which it is compared."""

    files: dict[str, tuple[object, ...]]
    packages: set[str]
    initrd: list[str]

    @classmethod
    def of(cls, tree: Path) -> Before:
        return cls(files(tree), known(tree), initrd(tree))

    def compare(self, tree: Path) -> None:
        """Nothing is different now, but for what remembers."""
        assert known(tree) == self.packages
        after = files(tree)
        names = self.files.keys() | after
        different = [name for name in names if self.files.get(name) != after.get(name)]
        assert not {name: (self.files.get(name), after.get(name)) for name in different}
        assert initrd(tree) == self.initrd


def files(tree: Path) -> dict[str, tuple[object, ...]]:
    return {name: about for name, about in snapshot(tree).items() if name not in _CACHES}


def initrd(tree: Path) -> list[str]:
    (path,) = initrds(tree)
    return contents(tree, path, DEMO)


def known(tree: Path) -> set[str]:
    """The packages of a tree, those with it of which only settings are left."""
    return set(debian.nspawn(tree, ["dpkg-query", "--show", "--showformat=${Package}\\n"]).split())


def add_dependant(tree: Path, folder: Path, depends: str) -> None:
    """Install a package that needs another one."""
    control = folder / "dependant/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(_CONTROL.format(name=_DEPENDANT, depends=depends))
    for command in (
        ["dpkg-deb", "--build", "--root-owner-group", "/mnt/dependant", "/mnt/dependant.deb"],
        ["dpkg", "--install", "/mnt/dependant.deb"],
    ):
        debian.nspawn(tree, command, binds={folder: "/mnt"}, network=False)


def said(tree: Path, config: str, *options: str, log: Path) -> str:
    """What setup-server-os says; it must succeed."""
    set_up(tree, config, *options, log=log)
    print(text := log.read_text())
    return text


def test_there_and_back(tree: Path, tmp_path: Path) -> None:
    before = Before.of(tree)
    done = said(tree, _CONFIG, log=tmp_path / "install.log")
    assert f"missing: {', '.join(_MISSING)}" in done
    assert _LIBRARY in done.partition("with what they need: ")[2].partition("\n")[0]
    assert {*_MISSING, _LIBRARY, _THERE} <= known(tree)
    assert "nothing to do" in said(tree, _CONFIG, log=tmp_path / "again.log")
    assert "everything is taken back" in said(tree, "", "--uninstall", log=tmp_path / "back.log")
    before.compare(tree)


def test_what_is_needed_meanwhile_stays(tree: Path, tmp_path: Path) -> None:
    """And all else goes; when it is needed no more, it goes, too."""
    before = Before.of(tree)
    said(tree, _CONFIG, log=tmp_path / "install.log")
    add_dependant(tree, tmp_path, "kexec-tools")
    back = tmp_path / "back.log"
    with pytest.raises(StiefelError):
        set_up(tree, "", "--uninstall", log=back)
    print(text := back.read_text())
    assert "dependency problems prevent" in text
    assert "not taken back: packages; run it again with --uninstall" in text
    root = Root(tree)
    assert distribution.is_installed(root, "debian", "kexec-tools")
    assert distribution.is_installed(root, "debian", _DEPENDANT)
    assert not known(tree) & {"python3-yaml", _LIBRARY}
    assert initrd(tree) == before.initrd
    debian.nspawn(tree, ["dpkg", "--purge", _DEPENDANT])
    assert "everything is taken back" in said(tree, "", "--uninstall", log=back)
    before.compare(tree)


def test_settings_of_a_former_life_stay(tree: Path, tmp_path: Path) -> None:
    """Of a package that was removed by the user, and they were not."""
    debian.nspawn(tree, ["apt-get", "install", "--yes", "--no-install-recommends", "kexec-tools"])
    debian.nspawn(tree, ["apt-get", "remove", "--yes", "--autoremove", "kexec-tools"])
    with (tree / _SETTINGS).open("a") as settings:
        settings.write("# mine\n")
    before = Before.of(tree)
    assert "kexec-tools" in before.packages
    said(tree, _CONFIG, log=tmp_path / "install.log")
    assert "# mine\n" in (tree / _SETTINGS).read_text()
    assert "everything is taken back" in said(tree, "", "--uninstall", log=tmp_path / "back.log")
    before.compare(tree)
