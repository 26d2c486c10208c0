"""setup-client-usbdrive as a person calls it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stiefelsystem.host import pack
from tests import capabilities
from tests.unit import one_stick
from tests.unit.one_program import call, on_terminal


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the configuration is, and a ramdisk that goes with it."""
    one_stick.require_tools()
    one_stick.settings(tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "one of the arguments DEVICE --image --netboot is required"),
        (["/dev/sdx", "--image", "f"], "not allowed with"),
        (["--netboot", "d", "--image", "f"], "not allowed with"),
        (["/dev/sdx", "--netboot", "d"], "not allowed with"),
        (["--netboot", "d", "--update"], "no --update"),
        (["--netboot", "d", "--passphrase"], "no --passphrase"),
        (["--netboot", "d", "--force-fixed"], "--force-fixed is about a DEVICE"),
        (["--image", "f", "--force-fixed"], "--force-fixed is about a DEVICE"),
        (["--image", ""], "needs a name"),
        (["--netboot", ""], "needs a name"),
        ([""], "needs a name"),
    ],
)
def test_arguments_that_make_no_sense(words: list[str], error: str) -> None:
    done = call(*words)
    assert done.returncode == 2
    assert error in done.stderr


def test_image(home: Path, tmp_path: Path) -> None:
    image = tmp_path / "stick.img"
    done = call("--image", image, "--config", home / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert "\nThe stick will hold the key: whoever has it" in done.stderr
    assert re.search(r"^  [0-9a-f]{64}  esp/EFI/BOOT/BOOTX64\.EFI$", done.stderr, re.M)
    assert done.stdout == ""
    assert one_stick.read(image, "stiefelsystem/a/key.cpio") == one_stick.secrets()


def test_netboot(home: Path, tmp_path: Path) -> None:
    done = call("--netboot", tmp_path / "net", "--config", home / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert "there is no key in it" in done.stderr
    assert (tmp_path / "net/stiefelsystem/a/vmlinuz").exists()


def test_no_ramdisk(home: Path, tmp_path: Path) -> None:
    pack.kernel_of(home / "work/stiefel.cpio").unlink()
    for words in (["--image"], ["--netboot"], ["--passphrase", "--image"]):
        done = call(*words, tmp_path / "out", "--config", home / "config.yaml")
        assert done.returncode == 1
        assert "there is no ramdisk" in done.stderr
        assert "create-initrd-nspawn" in done.stderr
        assert not (tmp_path / "out").exists()


def test_what_is_no_device(home: Path, tmp_path: Path) -> None:
    capabilities.require_root()
    done = call(tmp_path, "--config", home / "config.yaml")
    assert done.returncode == 1
    assert "is no block device" in done.stderr


def test_device_needs_root(home: Path) -> None:
    words = ["/dev/null", "--config", home / "config.yaml"]
    done = call(*words, altered="os.geteuid = lambda: 1000")
    assert done.returncode == 1
    assert "writing a device needs root" in done.stderr


def test_passphrase(home: Path, tmp_path: Path) -> None:
    image = tmp_path / "stick.img"
    words = ["--passphrase", "--image", image, "--config", home / "config.yaml"]
    status, shown = on_terminal(words, ["xyzzy one", "xyzzy one"])
    assert status == 0, shown
    assert "wrapped by the passphrase" in shown
    assert "xyzzy" not in shown
    assert one_stick.KEY not in image.read_bytes()


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (["xyzzy", "other"], "the two differ"),
        (["größe"], "US keyboard"),
        ([""], "empty"),
        (["\x03"], "interrupted"),
    ],
)
def test_passphrase_that_is_refused(
    home: Path, tmp_path: Path, answers: list[str], error: str
) -> None:
    words = ["--passphrase", "--image", tmp_path / "out", "--config", home / "config.yaml"]
    status, shown = on_terminal(words, answers)
    assert status == (130 if error == "interrupted" else 1), shown
    assert error in shown
    assert "xyzzy" not in shown
    assert not (tmp_path / "out").exists()


def test_nobody_to_ask(home: Path, tmp_path: Path) -> None:
    done = call("--passphrase", "--image", tmp_path / "out", "--config", home / "config.yaml")
    assert done.returncode == 1
    assert "there is nobody to ask for a passphrase" in done.stderr
    assert "Warning" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_tools(home: Path, tmp_path: Path) -> None:
    """The packages are named, not only the programs."""
    altered = "from stiefelsystem import run; run._PATH = '/nonexistent'"
    done = call("--image", tmp_path / "out", altered=altered)
    assert done.returncode == 1
    assert "missing on this machine: mcopy, mkfs.vfat, sfdisk" in done.stderr
    assert "mtools" in done.stderr
