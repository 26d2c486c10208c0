"""What is said of a device before it becomes a stick, and how a person confirms that it may."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import device as devices
from tests.unit.one_device import GB, node, read, refusal, stick
from tests.unit.setup_tree import Terminal, answer

__all__ = ["answer"]  # the fixture

# As lsblk of util-linux 2.38.1 writes it, character by character.
RECORDED = """{
   "blockdevices": [
      {
         "name": "/dev/loop0",
         "type": "loop",
         "maj:min": "7:0",
         "pkname": null,
         "size": 83886080,
         "log-sec": 512,
         "ro": false,
         "rm": false,
         "tran": null,
         "model": null,
         "vendor": null,
         "serial": null,
         "fstype": null,
         "label": null,
         "mountpoints": [
             null
         ],
         "children": [
            {
               "name": "/dev/loop0p1",
               "type": "part",
               "maj:min": "259:0",
               "pkname": "/dev/loop0",
               "size": 82837504,
               "log-sec": 512,
               "ro": false,
               "rm": false,
               "tran": null,
               "model": null,
               "vendor": null,
               "serial": null,
               "fstype": "ext4",
               "label": "MINE",
               "mountpoints": [
                   "/mnt/a", "/mnt/b"
               ]
            }
         ]
      }
   ]
}
"""


def test_recorded() -> None:
    device = devices.parse(RECORDED, Path("link"))
    assert (device.path, device.name, device.number) == (Path("link"), "/dev/loop0", "7:0")
    assert (device.size, device.sector_size, device.disk) == (83886080, 512, "")
    (part,) = device.contents
    assert (part.name, part.filesystem, part.label) == ("/dev/loop0p1", "ext4", "MINE")
    assert part.mounts == ("/mnt/a", "/mnt/b")
    assert refusal(device)[0] == "/dev/loop0p1 is mounted at /mnt/a and /mnt/b"


@pytest.mark.parametrize("mountpoints", [[], [None]])
def test_a_stick(mountpoints: list[None]) -> None:
    """Its partition is mounted nowhere; versions of lsblk differ in how they say that."""
    part = node("sdb1", fstype="vfat", label="DATA", mountpoints=mountpoints, pkname="/dev/sdb")
    device = read(stick(part, mountpoints=mountpoints))
    assert refusal(device) == ("", "")
    assert devices.describe(device) == [
        "/dev/sdb: SanDisk Ultra Fit, 15.0 GB, USB, removable, serial 4C530001",
        '  /dev/sdb1  15.0 GB  vfat  "DATA"',
    ]


def test_numbers_as_text() -> None:
    """Some versions of lsblk put them into quotes."""
    device = read(stick(size="15000000000", rm="1", ro="0", **{"log-sec": "512"}))
    assert (device.size, device.removable, device.read_only) == (15 * GB, True, False)
    assert refusal(device) == ("", "")


def test_what_is_described() -> None:
    bare = read(stick(model=None, vendor=None, serial=None, size=64 * 10**6, rm=False))
    assert devices.describe(bare) == [
        "/dev/sdb: of unknown make, 64.0 MB, USB, not removable",
        "  no partitions, and no known filesystem",
    ]
    whole = read(stick(fstype="iso9660", label="Debian 13", mountpoints=["/media/x", "/y"]))
    assert devices.describe(whole)[1:] == [
        '  /dev/sdb  15.0 GB  iso9660  "Debian 13"  mounted at /media/x and /y'
    ]
    unknown = read(stick(node("sdb1"), node("sdb2", fstype="crypto_LUKS", number="8:18")))
    assert devices.describe(unknown)[1:] == [
        "  /dev/sdb1  15.0 GB  part",
        "  /dev/sdb2  15.0 GB  crypto_LUKS",
    ]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("sda", "/dev/sda3"),
        ("sdaa", "/dev/sdaa3"),
        ("vdb", "/dev/vdb3"),
        ("nvme0n1", "/dev/nvme0n1p3"),
        ("mmcblk0", "/dev/mmcblk0p3"),
        ("loop12", "/dev/loop12p3"),
    ],
)
def test_partition_path(name: str, part: str) -> None:
    """Also where the device was called by a link."""
    device = read(node(name, type="disk"), "/dev/disk/by-id/usb-SanDisk_4C53-0:0")
    assert devices.partition_path(device, 3) == Path(part)


@pytest.mark.parametrize(
    "said", ["", "[]", "no JSON", "{}", '{"blockdevices": []}', '{"blockdevices": [{}]}']
)
def test_ugly_answers(said: str) -> None:
    with pytest.raises(StiefelError, match="cannot understand what lsblk says about /dev/sdb"):
        devices.parse(said, Path("/dev/sdb"))


def test_no_device(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match=r"cannot find .*/sdz: No such file") as caught:
        devices.look(tmp_path / "sdz")
    assert "lsblk" in caught.value.hint
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path, Path("/dev/null")):
        with pytest.raises(StiefelError, match=f"{path} is no block device") as caught:
            devices.look(path)
        assert "--image FILE" in caught.value.hint


@pytest.mark.parametrize("typed", ["sdb", "/dev/sdb", " sdb \n"])
def test_confirmed(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    part = node("sdb1", fstype="vfat", label="my \033[2J photos")
    device = read(stick(part), "/dev/disk/by-id/usb-x")
    devices.confirm(device, ask=lambda question: asked.append(question) or typed)
    assert asked == ["Type the device's name, sdb, to go on: "]
    shown = capsys.readouterr().err
    assert "/dev/sdb: SanDisk Ultra Fit, 15.0 GB" in shown
    assert '"my ?[2J photos"' in shown
    assert shown.endswith("Everything on /dev/sdb will be lost.\n")


@pytest.mark.parametrize("typed", ["", "y", "yes", "sda", "sdb1", "SDB", "/dev/disk/by-id/usb-x"])
def test_not_confirmed(typed: str) -> None:
    device = read(stick(), "/dev/disk/by-id/usb-x")
    with pytest.raises(StiefelError, match="nothing has been written"):
        devices.confirm(device, ask=lambda _: typed)


@pytest.mark.parametrize(("typed", "taken"), [("sdb\n", True), ("yes\n", False), ("", False)])
def test_confirmed_on_stdin(
    typed: str, taken: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question is on stderr, as all that is said; the end of input is a no."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    if taken:
        devices.confirm(read(stick()))
    else:
        with pytest.raises(StiefelError, match="nothing has been written"):
            devices.confirm(read(stick()))
    out, shown = capsys.readouterr()
    assert out == ""
    assert "Type the device's name, sdb, to go on: " in shown


def test_typed_ahead(answer: Callable[[str], None]) -> None:
    """Before what is on the device was shown."""
    answer("no\n")
    assert isinstance(sys.stdin, Terminal)
    sys.stdin.type_ahead(b"sdb\n")
    with pytest.raises(StiefelError, match="'no' was typed, not sdb"):
        devices.confirm(read(stick()))
