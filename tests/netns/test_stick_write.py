"""Real devices, which are loop devices here: what is written on them, and what goes wrong."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import device as devices
from stiefelsystem.host.stick import write
from stiefelsystem.progress import Progress
from tests.namespaces import in_own_mounts
from tests.netns.loops import MIB, OLD, SIZE, alter, attached, backing, call, image, loop, part
from tests.processes import Program

__all__ = ["backing", "image", "loop", "part"]  # the fixtures

ROOT = Path(__file__).resolve().parents[2]
UNFINISHED = "the stick is not finished and boots nowhere; write it again"
UNKNOWN = "the stick is not finished and may still boot what it had, or what was to be written"


def test_written(loop: Path, backing: Path, image: Path) -> None:
    """What is not the image's stays, but for the last MiB, where a GPT would have its copy."""
    write.write(image, devices.look(loop))
    end = 9 * MIB + 8192
    written, before = backing.read_bytes(), OLD * (SIZE // len(OLD))
    assert written[:end] == image.read_bytes()[:end]
    assert written[end : SIZE - MIB] == before[end : SIZE - MIB]
    assert written[SIZE - MIB :] == bytes(MIB)


def test_what_was_read_before(loop: Path, image: Path) -> None:
    """It is forgotten: who reads the device then, by the page cache, finds what was written."""
    before = loop.read_bytes()
    assert before.startswith(OLD)
    write.write(image, devices.look(loop))
    end = 9 * MIB + 8192
    assert loop.read_bytes()[:end] == image.read_bytes()[:end]


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


def test_sector_0_that_lies(
    loop: Path, backing: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is verified, too, though all else has been by then."""
    flush = write._Medium.flush

    def flush_and_flip(medium: write._Medium) -> None:
        flush(medium)
        first = backing.read_bytes()[:512]
        if first != bytes(512):
            alter(backing, 300, bytes([first[300] ^ 1]))

    monkeypatch.setattr(write._Medium, "flush", flush_and_flip)
    with pytest.raises(StiefelError, match="differs is at 300; the stick is worn out or"):
        write.write(image, devices.look(loop))
    assert backing.read_bytes()[:512] != image.read_bytes()[:512]


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


@pytest.fixture
def lock(loop: Path) -> Iterator[Callable[[], None]]:
    """Makes the device read-only, until the test's end."""

    def locked() -> None:
        call("blockdev", "--setro", loop)

    yield locked
    call("blockdev", "--setrw", loop)


def test_it_never_could_be_written(
    *,
    loop: Path,
    backing: Path,
    image: Path,
    lock: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill = write._fill

    def locked(*args: Any) -> None:
        lock()
        fill(*args)

    monkeypatch.setattr(write, "_fill", locked)
    with pytest.raises(StiefelError, match=f"{loop} cannot be written"):
        write.write(image, devices.look(loop))
    assert f"{loop}: {UNKNOWN}" in capsys.readouterr().err
    assert backing.read_bytes().startswith(OLD)


@pytest.mark.parametrize(("after", "wanted"), [("_fill", UNFINISHED), ("_finish", UNKNOWN)])
def test_interrupted_and_then_it_cannot_be_written(
    *,
    after: str,
    wanted: str,
    loop: Path,
    backing: Path,
    image: Path,
    lock: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Sector 0 has been emptied when all else is there, and has been written at the end."""
    work = getattr(write, after)

    def interrupted(*args: Any) -> None:
        work(*args)
        lock()
        raise KeyboardInterrupt

    monkeypatch.setattr(write, after, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write.write(image, devices.look(loop))
    assert f"{loop}: {wanted}" in capsys.readouterr().err
    boots = backing.read_bytes()[:512] == image.read_bytes()[:512]
    assert boots == (after == "_finish")


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
    *,
    work: str,
    loop: Path,
    backing: Path,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It has no size any more, all of a sudden; before that, sector 0 was emptied."""

    def pull_out() -> None:
        os.truncate(backing, 0)
        call("losetup", "--set-capacity", loop)

    shown = devices.look(loop)
    when(work, pull_out, monkeypatch)
    with pytest.raises(StiefelError, match=f"{loop} cannot be .*: it was pulled out, or it fails"):
        write.write(image, shown)
    assert UNFINISHED in capsys.readouterr().err


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
