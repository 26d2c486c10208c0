"""Real devices, which are loop devices here: what is refused, what is written, what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import device as devices
from stiefelsystem.host.stick import write
from stiefelsystem.progress import Progress
from tests import capabilities
from tests.namespaces import in_own_mounts
from tests.processes import Program

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
SIZE = 24 * MIB
UNFINISHED = "the stick is not finished and boots nowhere; write it again"
OLD = b"what was on it before. ".ljust(64, b".")


def call(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def attached(backing: Path, *options: str) -> Iterator[Path]:
    """A loop device for a file."""
    capabilities.require_root()
    capabilities.require_tools("losetup", "lsblk")
    command = ["losetup", "--find", "--show", "--partscan", *options, backing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    capabilities.require(done.returncode == 0, f"no loop devices: {done.stderr}")
    try:
        yield Path(done.stdout.strip())
    finally:
        call("losetup", "--detach", done.stdout.strip())


@contextmanager
def partitioned(loop: Path) -> Iterator[Path]:
    """A partition on it, also where the kernel reads no tables."""
    call("addpart", loop, "1", "2048", str((16 * MIB) >> 9))
    try:
        yield Path(f"{loop}p1")
    finally:
        call("delpart", loop, "1")


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """What is on a device, which has been in use."""
    path = tmp_path / "device"
    path.write_bytes(OLD * (SIZE // len(OLD)))
    return path


@pytest.fixture
def loop(backing: Path) -> Iterator[Path]:
    with attached(backing) as path:
        yield path


@pytest.fixture
def part(loop: Path) -> Iterator[Path]:
    with partitioned(loop) as path:
        yield path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """As large as the device, sparse, with data up to 8 KiB behind 9 MiB, and a hole before."""
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.write(os.urandom(3 * MIB))
        file.seek(6 * MIB)
        file.write(os.urandom(3 * MIB + 8192))
        file.truncate(SIZE)
    return path


def refusal(path: Path, *, boot_disk: Path | None = None, smallest: int = MIB) -> str:
    """Why it is refused though it is forced; empty where it is not."""
    device = devices.look(path)
    try:
        devices.refuse(device, boot_disk=boot_disk, smallest=smallest, force_fixed=True)
    except StiefelError as error:
        return str(error)
    return ""


def test_a_disk(loop: Path, tmp_path: Path) -> None:
    link = tmp_path / "usb-name"
    link.symlink_to(loop)
    device = devices.look(link)
    assert (device.path, device.name, device.size) == (link, str(loop), SIZE)
    assert (device.sector_size, device.removable, device.contents) == (512, False, ())
    assert refusal(link) == ""
    with pytest.raises(StiefelError, match="neither removable nor connected by USB"):
        devices.refuse(device, boot_disk=None, smallest=MIB, force_fixed=False)
    assert "is too small: it has 25.2 MB, and needs 30.0 MB" in refusal(loop, smallest=30 * 10**6)


def test_a_partition(loop: Path, part: Path) -> None:
    assert devices.partition_path(devices.look(loop), 1) == part
    assert refusal(part).startswith(f"{part} is a partition")
    assert devices.look(part).disk == str(loop)
    assert [content.name for content in devices.look(loop).contents] == [str(part)]
    assert refusal(loop) == ""


def test_boot_disk(loop: Path, part: Path, tmp_path: Path) -> None:
    """By any of its names, or those of its partition."""
    for target in (loop, part):
        link = tmp_path / f"link-to-{target.name}"
        link.symlink_to(target)
        for boot_disk in (target, link):
            wanted = f"{loop} is boot.disk ({boot_disk}) of the configuration"
            assert wanted in refusal(loop, boot_disk=boot_disk)
    assert refusal(loop, boot_disk=Path("/dev/disk/by-id/another")) == ""


@in_own_mounts
def test_mounted(loop: Path, part: Path, image: Path, tmp_path: Path) -> None:
    """It is named, refused, and could not be written either."""
    capabilities.require_tools("mkfs.ext4")
    folder = tmp_path / "mounted here"
    folder.mkdir()
    call("mkfs.ext4", "-q", part)
    call("mount", part, folder)
    try:
        device = devices.look(loop)
        assert f"  ext4  mounted at {folder}" in devices.describe(device)[1]
        assert refusal(loop) == f"{part} is mounted at {folder}"
        assert device.claimed
        with pytest.raises(StiefelError, match="is in use on this machine and cannot be written"):
            write.write(image, device)
    finally:
        call("umount", folder)
    assert refusal(loop) == ""


def test_a_physical_volume(part: Path, loop: Path) -> None:
    """Of LVM, which nobody uses: its label alone, as libblkid looks for it in the second sector."""
    label = b"LABELONE" + (1).to_bytes(8, "little") + bytes(4) + (32).to_bytes(4, "little")
    sector = bytearray((label + b"LVM2 001" + b"x" * 32).ljust(512, b"\0"))
    sector[16:20] = crc_of_lvm(sector[20:]).to_bytes(4, "little")
    alter(part, 512, bytes(sector))
    assert refusal(loop) == f"{part} is a physical volume of LVM (LVM2_member)"


def crc_of_lvm(data: bytes) -> int:
    """CRC-32 with a seed of its own, and not inverted: LVM2's format_text."""
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def test_swap(part: Path, loop: Path) -> None:
    capabilities.require_tools("mkswap", "swapon")
    call("mkswap", part)
    done = subprocess.run(["swapon", part], check=False, capture_output=True, text=True)
    capabilities.require(done.returncode == 0, f"no swap here: {done.stderr}")
    try:
        assert refusal(loop) == f"{part} is in use as swap"
    finally:
        call("swapoff", part)
    assert refusal(loop) == ""


def test_claimed(loop: Path) -> None:
    """By something that lsblk does not tell about."""
    handle = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        assert "is in use: something on this machine has it" in refusal(loop)
    finally:
        os.close(handle)
    assert refusal(loop) == ""


def test_read_only(backing: Path) -> None:
    with attached(backing, "--read-only") as loop:
        assert refusal(loop) == f"{loop} is read-only"


def test_large_sectors(backing: Path) -> None:
    with attached(backing, "--sector-size", "4096") as loop:
        assert refusal(loop).startswith(f"{loop} has sectors of 4096 bytes")


def test_no_medium(backing: Path) -> None:
    with attached(backing) as loop:
        pass
    assert refusal(loop) == f"there is no medium in {loop}"


def test_written(loop: Path, backing: Path, image: Path) -> None:
    """What is not the image's stays, but for the last MiB, where a GPT would have its copy."""
    write.write(image, devices.look(loop))
    end = 9 * MIB + 8192
    written, before = backing.read_bytes(), OLD * (SIZE // len(OLD))
    assert written[:end] == image.read_bytes()[:end]
    assert written[end : SIZE - MIB] == before[end : SIZE - MIB]
    assert written[SIZE - MIB :] == bytes(MIB)


@pytest.mark.parametrize("size", [SIZE, SIZE - 512, SIZE - MIB, 3 * MIB, 777, 512])
def test_sizes(size: int, loop: Path, backing: Path, tmp_path: Path) -> None:
    """Images that end anywhere, also within the last MiB."""
    image = tmp_path / "image"
    image.write_bytes(os.urandom(size))
    write.write(image, devices.look(loop))
    written = backing.read_bytes()
    assert written[:size] == image.read_bytes()
    assert written[max(SIZE - MIB, size) :] == bytes(SIZE - max(SIZE - MIB, size))


def test_images_that_do_not_fit(loop: Path, backing: Path, tmp_path: Path) -> None:
    """Nothing is written."""
    for size, wanted in ((SIZE + 512, "it does not fit"), (SIZE, "holds nothing")):
        image = tmp_path / str(size)
        image.touch()
        os.truncate(image, size)
        if size > SIZE:
            image.write_bytes(b"x" * size)
        with pytest.raises(StiefelError, match=wanted):
            write.write(image, devices.look(loop))
    assert backing.read_bytes() == OLD * (SIZE // len(OLD))


def test_another_device_by_now(loop: Path, part: Path, backing: Path, image: Path) -> None:
    """It was looked at, and shown, before its partition was there."""
    shown = devices.look(loop)
    call("delpart", loop, "1")
    try:
        with pytest.raises(StiefelError, match="is not as it was shown any more"):
            write.write(image, shown)
    finally:
        call("addpart", loop, "1", "2048", "2048")
    assert backing.read_bytes().startswith(OLD)


def when(name: str, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen when a part of the work begins."""

    class Watched(Progress):
        def __enter__(self) -> Self:
            entered = super().__enter__()
            if self._name.startswith(name):
                do()
            return entered

    monkeypatch.setattr(write, "Progress", Watched)


def alter(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@pytest.mark.parametrize("offset", [512, 4 * MIB + 3, 9 * MIB + 8191, SIZE - MIB, SIZE - 1])
def test_a_device_that_lies(
    offset: int, loop: Path, backing: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte is not what was written: in data, in a hole, and behind what there is memory for."""

    def flip() -> None:
        with backing.open("rb") as file:
            file.seek(offset)
            alter(backing, offset, bytes([file.read(1)[0] ^ 1]))

    when("verifying", flip, monkeypatch)
    with pytest.raises(StiefelError, match=f"differs is at {offset}; the stick is worn out or"):
        write.write(image, devices.look(loop))
    assert backing.read_bytes()[:512] == bytes(512)


def test_less_memory_than_it_claims(
    loop: Path, backing: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind it is lost, and reads as zeros."""
    when("verifying", lambda: alter(backing, 12 * MIB, bytes(12 * MIB)), monkeypatch)
    with pytest.raises(StiefelError, match="lies about its size"):
        write.write(image, devices.look(loop))


def test_visibly_unfinished_from_the_start(
    loop: Path, backing: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the old content nor the new one would be booted, all the time."""
    seen = []

    def look() -> None:
        seen.append(backing.read_bytes()[:MIB])

    when("writing", look, monkeypatch)
    write.write(image, devices.look(loop))
    when("verifying", look, monkeypatch)
    write.write(image, devices.look(loop))
    assert seen[0] == bytes(MIB)
    assert seen[1] == bytes(512) + image.read_bytes()[512:MIB]


def test_interrupted_after_sector_0(
    loop: Path,
    backing: Path,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finish = write._finish

    def interrupted(source: int, medium: write._Medium) -> None:
        finish(source, medium)
        assert backing.read_bytes()[:512] == image.read_bytes()[:512]
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "_finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write.write(image, devices.look(loop))
    assert backing.read_bytes()[:512] == bytes(512)
    assert UNFINISHED in capsys.readouterr().err


@in_own_mounts
def test_a_device_that_fails(tmp_path: Path, image: Path) -> None:
    """Its memory is at its end."""
    folder = tmp_path / "small"
    folder.mkdir()
    with ExitStack() as stack:
        call("mount", "-t", "tmpfs", "-o", f"size={5 * MIB}", "small", folder)
        stack.callback(call, "umount", folder)
        backing = folder / "device"
        backing.touch()
        os.truncate(backing, SIZE)
        loop = stack.enter_context(attached(backing))
        with pytest.raises(StiefelError, match="it was pulled out, or it fails") as caught:
            write.write(image, devices.look(loop))
        assert f"{loop} cannot be written" in str(caught.value)
        assert backing.read_bytes()[:512] == bytes(512)


@pytest.mark.parametrize("work", ["writing", "verifying"])
def test_pulled_out(
    work: str,
    loop: Path,
    backing: Path,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no size any more, all of a sudden."""

    def pull_out() -> None:
        os.truncate(backing, 0)
        call("losetup", "--set-capacity", loop)

    shown = devices.look(loop)
    when(work, pull_out, monkeypatch)
    with pytest.raises(StiefelError, match=f"{loop} cannot be .*: it was pulled out, or it fails"):
        write.write(image, shown)


# Says when it has written or verified a MiB, and goes on when it is told to, which it never is.
PROGRAM = """
import signal, sys
from pathlib import Path
from stiefelsystem.console import run_main
from stiefelsystem.host.stick import device, write
from stiefelsystem.progress import Progress

loop, image, work = sys.argv[1:]

class Slow(Progress):
    def advance(self, size):
        super().advance(size)
        if self._name.startswith(work):
            print("has begun", flush=True)
            signal.pause()

def main():
    write.Progress = Slow
    write.write(Path(image), device.look(Path(loop)))
    return 0

run_main(main)
"""


@pytest.mark.parametrize("work", ["writing", "verifying"])
@pytest.mark.parametrize("end", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(
    work: str, end: tuple[signal.Signals, int], loop: Path, backing: Path, image: Path
) -> None:
    number, status = end
    command = [sys.executable, "-c", PROGRAM, loop, image, work]
    with Program(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as program:
        program.wait_for("has begun")
        program.process.send_signal(number)
        assert program.wait() == status
        assert f"{loop}: {UNFINISHED}" in program.output
        assert "Traceback" not in program.output
    assert backing.read_bytes()[:512] == bytes(512)
    # Nothing holds it any more, and it can be written again.
    write.write(image, devices.look(loop))
    assert backing.read_bytes()[:512] == image.read_bytes()[:512]


def test_the_kernel_does_not_read_its_table(
    backing: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is no error: a loop device without partitions."""
    loop = call("losetup", "--find", "--show", backing)
    try:
        write.write(image, devices.look(Path(loop)))
    finally:
        call("losetup", "--detach", loop)
    assert "warning: the stick is finished, but" in capsys.readouterr().err
