"""setup-client-usbdrive as a person calls it, with a device, which is a loop device here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stiefelsystem.config import Config
from stiefelsystem.host.stick.fat import Fat
from stiefelsystem.host.stick.layout import SECTOR
from tests.netns.loops import MIB, OLD, alter, attached
from tests.unit import one_stick
from tests.unit.one_program import call, on_terminal

# Room for two sets of the small ramdisk; the filesystem alone takes 40.
_SIZE = 64 * MIB
_KEY = "stiefelsystem/a/key.cpio"
# Says so and waits, for ever, once a part of the stick is written.
_PAUSED = """
import signal
from stiefelsystem.host.stick import write
class Paused(write.Progress):
    def advance(self, size):
        print("has begun", flush=True)
        signal.pause()
write.Progress = Paused
"""
# Somebody else claims the device just after it was looked at.
_CLAIMED = """
import os
from stiefelsystem.host.stick import device
refuse = device.refuse
def claim_then(found, **rest):
    refuse(found, **rest)
    os.open(found.name, os.O_RDONLY | os.O_EXCL)
device.refuse = claim_then
"""
# The device gets another filesystem while a passphrase is asked for.
_ANOTHER = """
import subprocess
from stiefelsystem.host.stick import make
ask = make.new_passphrase
def ask_then(config):
    subprocess.run(["mkfs.vfat", "-I", "{}"], check=True, capture_output=True)
    return ask(config)
make.new_passphrase = ask_then
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    one_stick.require_tools()
    return one_stick.settings(tmp_path / "home")


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """What is on the device, which has been in use."""
    path = tmp_path / "device"
    path.write_bytes(OLD * (MIB // len(OLD)))
    os.truncate(path, _SIZE)
    return path


@pytest.fixture
def loop(backing: Path) -> Iterator[Path]:
    with attached(backing) as path:
        yield path


def words(config: Config, loop: Path, *more: str) -> list[str | Path]:
    return [loop, "--config", config.paths.workdir.parent / "config.yaml", *more]


def forced(config: Config, loop: Path, *more: str) -> list[str | Path]:
    return words(config, loop, "--force-fixed", *more)


def left(config: Config) -> dict[str, int]:
    """What lies in the folder in which it works, and how large it is."""
    folder = config.paths.workdir
    return {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*")}


def write(config: Config, loop: Path, *more: str) -> str:
    status, shown = on_terminal(forced(config, loop, *more), [loop.name])
    assert status == 0, shown
    return shown


def check(config: Config, backing: Path, name: str) -> None:
    """The device boots, and has this set."""
    with backing.open("rb") as file:
        first = file.read(SECTOR)
    assert first.endswith(b"\x55\xaa")
    assert first.startswith(one_stick.BOOT[:440])
    image, key = (f"stiefelsystem/{name}/{file}" for file in ("initrd.img", "key.cpio"))
    assert one_stick.read(backing, image) == config.paths.cpio.read_bytes()
    assert one_stick.read(backing, key) == one_stick.secrets()
    assert f"stiefelsystem/{name}/set.cfg" in one_stick.names(backing)


def test_written(config: Config, loop: Path, backing: Path) -> None:
    before = left(config)
    shown = write(config, loop)
    assert f"Everything on {loop} will be lost." in shown
    assert f"{loop} is ready; it can be pulled out" in shown
    check(config, backing, "a")
    assert left(config) == before


@pytest.mark.parametrize("answer", ["loop", "yes", ""])
def test_another_name_is_typed(config: Config, loop: Path, backing: Path, answer: str) -> None:
    before = backing.read_bytes(), left(config)
    status, shown = on_terminal(forced(config, loop), [answer])
    assert status == 1
    assert f"not {loop.name}: nothing has been written" in shown
    assert (backing.read_bytes(), left(config)) == before


def test_nobody_types(config: Config, loop: Path, backing: Path) -> None:
    before = backing.read_bytes()
    done = call(*forced(config, loop))
    assert done.returncode == 1
    assert "nothing was typed" in done.stderr
    assert backing.read_bytes() == before


@pytest.mark.parametrize("more", [(), ("--update",), ("--passphrase",)])
def test_refused(config: Config, loop: Path, backing: Path, more: tuple[str, ...]) -> None:
    """Before anything is asked: the name, or a passphrase."""
    before = backing.read_bytes()
    status, shown = on_terminal(words(config, loop, *more), [loop.name, loop.name])
    assert status == 1
    assert f"{loop} is neither removable nor connected by USB" in shown
    assert loop.name + ", to go on" not in shown
    assert "Passphrase" not in shown
    assert backing.read_bytes() == before


@pytest.mark.parametrize("more", [(), ("--update",)])
def test_boot_disk_is_refused(
    config: Config, loop: Path, backing: Path, more: tuple[str, ...]
) -> None:
    before = backing.read_bytes()
    path = config.paths.workdir.parent / "config.yaml"
    path.write_text(path.read_text().replace("/dev/vda", str(loop)))
    status, shown = on_terminal(forced(config, loop, *more), [loop.name])
    assert status == 1
    assert f"{loop} is boot.disk ({loop}) of the configuration" in shown
    assert backing.read_bytes() == before


def test_killed(config: Config, loop: Path, backing: Path) -> None:
    """The key is gone with the program, and the device boots nowhere."""
    before = left(config)
    status, shown = on_terminal(
        forced(config, loop), [loop.name], altered=_PAUSED, kill_at="has begun"
    )
    assert status == -9, shown
    assert left(config) == before
    assert backing.read_bytes()[:SECTOR] == bytes(SECTOR)
    write(config, loop)
    check(config, backing, "a")


def test_updated(config: Config, loop: Path, backing: Path) -> None:
    write(config, loop)
    first = config.paths.cpio.read_bytes()
    one_stick.new_ramdisk(config.paths.cpio)
    done = call(*forced(config, loop, "--update"))
    assert done.returncode == 0, done.stderr
    assert f"{loop} is ready" in done.stderr
    check(config, backing, "b")
    assert one_stick.read(backing, "stiefelsystem/a/initrd.img") == first


def test_what_is_read_back_comes_from_the_medium(config: Config, loop: Path, backing: Path) -> None:
    """And not from what the kernel has kept, as it does while somebody has the device open."""
    write(config, loop)
    name, fat = "stiefelsystem/a/initrd.img", Fat(loop, 2048 * SECTOR)
    with loop.open("rb"):
        before = fat.digest(name)
        alter(backing, backing.read_bytes().index(config.paths.cpio.read_bytes()[:SECTOR]), b"worn")
        assert fat.digest(name) == before
        fat.flush()
        assert fat.digest(name) != before


def test_update_of_a_device_in_use(config: Config, loop: Path, backing: Path) -> None:
    """Since before it was looked at, or since then."""
    write(config, loop)
    before = backing.read_bytes()
    handle = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        done = call(*forced(config, loop, "--update"))
        assert done.returncode == 1
        assert f"{loop} is in use" in done.stderr
    finally:
        os.close(handle)
    done = call(*forced(config, loop, "--update"), altered=_CLAIMED)
    assert done.returncode == 1
    assert f"cannot open {loop} for writing: Device or resource busy" in done.stderr
    assert backing.read_bytes() == before


def test_update_of_what_is_another_by_now(config: Config, loop: Path, backing: Path) -> None:
    answers = ["xyzzy one", "xyzzy one"]
    altered = _ANOTHER.format(loop)
    status, shown = on_terminal(
        forced(config, loop, "--update", "--passphrase"), answers, altered=altered
    )
    assert status == 1
    assert f"{loop} is not as it was shown any more" in shown


def test_update_of_an_image_that_is_attached(config: Config, loop: Path, backing: Path) -> None:
    """It may be mounted there; by a link, it is the same one."""
    write(config, loop)
    before = backing.read_bytes()
    link = backing.with_name("link")
    link.symlink_to(backing)
    config_file = config.paths.workdir.parent / "config.yaml"
    for image in (backing, link):
        done = call("--image", image, "--config", config_file, "--update")
        assert done.returncode == 1
        assert f"{image} is attached to {loop}" in done.stderr
        assert f"losetup --detach {loop}" in done.stderr
    assert backing.read_bytes() == before


def test_update_of_what_is_no_stick(config: Config, loop: Path, backing: Path) -> None:
    before = backing.read_bytes()
    done = call(*forced(config, loop, "--update"))
    assert done.returncode == 1
    assert f"{loop} is no stick of stiefelsystem" in done.stderr
    assert backing.read_bytes() == before


def test_passphrase(config: Config, loop: Path, backing: Path) -> None:
    answers = ["xyzzy one", "xyzzy one", loop.name]
    status, shown = on_terminal(forced(config, loop, "--passphrase"), answers)
    assert status == 0, shown
    assert one_stick.KEY not in one_stick.read(backing, _KEY)
    assert one_stick.read(backing, _KEY) != b""
