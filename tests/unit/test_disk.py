"""The laptop's disk: how long it is waited for, and what is no disk."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.ramdisk import disk


def test_wait_for_what_is_there(tmp_path: Path) -> None:
    disk.wait_for(tmp_path, 0, since=time.monotonic() - 3600)


def test_wait_has_an_end(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(StiefelError) as caught:
        disk.wait_for(tmp_path / "sdx", 0.05, since=started - 25)
    assert 0.05 <= time.monotonic() - started < 5
    assert str(caught.value) == f"there is no {tmp_path}/sdx on this machine after 25 s"
    assert "boot.disk" in caught.value.hint
    assert not isinstance(caught.value, disk.NotYet)


@pytest.mark.parametrize(("ago", "kind"), [(0, disk.NotYet), (19, disk.NotYet), (20, StiefelError)])
def test_a_missing_device_is_waited_for_as_long_as_its_driver_may_need(
    tmp_path: Path, ago: float, kind: type[StiefelError]
) -> None:
    with pytest.raises(StiefelError, match=f"{tmp_path}/sdx") as caught:
        disk.wait_for(tmp_path / "sdx", 0, since=time.monotonic() - ago)
    assert type(caught.value) is kind


def test_wait_ends_when_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found at the next look, whenever that is."""
    waited: list[float] = []

    def appear(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            (tmp_path / "sdx").touch()

    monkeypatch.setattr("stiefelsystem.ramdisk.disk.time.sleep", appear)
    disk.wait_for(tmp_path / "sdx", 60, since=time.monotonic())
    assert len(waited) == 3
    assert max(waited) <= 0.5


def test_folder_as_boot_partition(tmp_path: Path) -> None:
    with disk.boot_folder(tmp_path) as folder:
        assert folder == tmp_path


def test_check_of_an_image(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4096))
    assert disk.check(image) == disk.Disk(image, 512)
    disk.flush(image)


@pytest.mark.parametrize("path", ["/dev/null", "/"])
def test_check_of_what_is_no_disk(path: str) -> None:
    with pytest.raises(StiefelError, match=f"^{path} is neither a disk nor an image$"):
        disk.check(Path(path))
