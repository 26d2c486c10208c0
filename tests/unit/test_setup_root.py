"""Paths stay inside of the root, whatever links are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.setup.root import Root
from tests import capabilities


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "etc").mkdir()
    links = {
        "lib": "usr/lib",
        "etc/absolute": "/usr/lib/x",
        "etc/up": "../../../../usr/lib/x",
        "etc/passwd": "/etc/passwd-",
        "etc/chain": "absolute",
        "etc/circle": "circle",
        "etc/gone": "/no/where",
        "etc/folder": "/usr/",
    }
    for name, target in links.items():
        (tree / name).symlink_to(target)
    (tmp_path / "outside").mkdir()
    (tree / "etc/outside").symlink_to(tmp_path / "outside")
    return tree


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/", "/"),
        ("/etc/file", "/etc/file"),
        ("etc//./file", "/etc/file"),
        ("/lib/x", "/usr/lib/x"),
        ("/etc/absolute", "/usr/lib/x"),
        ("/etc/up", "/usr/lib/x"),
        ("/etc/passwd", "/etc/passwd-"),
        ("/etc/chain", "/usr/lib/x"),
        ("/etc/gone", "/no/where"),
        ("/etc/folder/lib/x", "/usr/lib/x"),
        ("/etc/folder/../x", "/x"),
        ("/../../x", "/x"),
    ],
)
def test_resolved(tree: Path, path: str, real: str) -> None:
    assert Root(tree).resolve(path) == real


def test_last_part_is_not_followed(tree: Path) -> None:
    assert Root(tree).resolve("/lib/../etc/chain", follow=False) == "/usr/etc/chain"
    assert Root(tree).place("/etc/chain") == tree / "etc/chain"
    assert Root(tree).place("/etc/folder/chain") == tree / "usr/chain"


def test_links_out_of_the_tree_lead_nowhere(tree: Path) -> None:
    place = Root(tree).place("/etc/outside/file")
    assert place.is_relative_to(tree)
    assert not place.parent.exists()


def test_circle(tree: Path) -> None:
    with pytest.raises(StiefelError, match=r"/etc/circle in .*form a circle"):
        Root(tree).resolve("/etc/circle")


def test_root_that_is_a_link(tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree)
    assert Root(tree.parent / "link").path == tree


def test_commands() -> None:
    argv = ["update-initramfs", "-u"]
    assert Root().command(argv) == argv
    entered = Root(Path("/tmp"), enter=lambda argv: ["enter", *argv])
    assert entered.command(argv) == ["enter", *argv]
    assert entered.command(["systemctl", "enable", "x"]) == [
        *("systemctl", "--root=/tmp", "enable", "x"),
    ]


def test_a_command_inside_has_what_a_running_system_has(tmp_path: Path) -> None:
    """But no services to talk to, and nothing of it is left mounted."""
    capabilities.require_root()
    capabilities.require_tools("busybox", "unshare")
    for name in ("dev", "proc", "sys", "run", "bin"):
        (tmp_path / name).mkdir()
    busybox = str(shutil.which("busybox"))
    libraries = subprocess.run(["ldd", busybox], capture_output=True, text=True, check=False)
    for path in (busybox, *re.findall(r"/\S+", libraries.stdout)):
        place = tmp_path / ("bin/sh" if path == busybox else path.lstrip("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    look = "[ -c /dev/null ] && [ -d /sys/class ] && [ -d /proc/1 ] && echo >/run/left && echo fine"
    assert Root(tmp_path).run(["/bin/sh", "-c", look]).stdout == "fine\n"
    assert not list((tmp_path / "run").iterdir())
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
