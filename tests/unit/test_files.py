"""Files are replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian
from tests import capabilities


def only(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_replaces(path: Path) -> None:
    with files.replacing(path) as file:
        file.write(b"new, and longer")
    assert path.read_bytes() == b"new, and longer"
    only(path.parent, "file")


def test_makes_what_was_not_there(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_old_until_the_end(path: Path) -> None:
    with files.replacing(path) as file:
        file.write(b"x" * 100000)
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"x" * 100000


def test_readers_of_the_old_keep_it(path: Path) -> None:
    with path.open("rb") as reader:
        files.write(path, b"new")
        assert reader.read() == b"old"


def test_readers_see_whole_files_only(path: Path) -> None:
    contents = [bytes([65 + number]) * 100000 for number in range(20)]
    seen = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for content in contents:
            files.write(path, content)
    finally:
        done.set()
        thread.join()
    assert set(seen) <= {b"old", *contents}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_old_after_an_exception(path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), files.replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    only(path.parent, "file")


def test_nothing_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="why"), files.replacing(tmp_path / "file"):
        raise ValueError("why")
    only(tmp_path)


def test_nothing_left_where_it_cannot_be_put(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write(tmp_path / "file", b"new")
    only(tmp_path, "file")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "no/file"):
        pass
    only(tmp_path)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o400])
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_mode_from_the_start(path: Path, mode: int, umask: int) -> None:
    """A secret is never readable for a moment, and the caller's umask changes nothing."""
    path.chmod(0o666)
    former = os.umask(umask)
    try:
        with files.replacing(path, mode=mode) as file:
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_default_mode(tmp_path: Path) -> None:
    files.write(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_write_text_and_bytes(tmp_path: Path) -> None:
    files.write(tmp_path / "a/b/text", "ä\n")
    files.write(tmp_path / "a/b/bytes", b"\xff", mode=0o600)
    assert (tmp_path / "a/b/text").read_bytes() == b"\xc3\xa4\n"
    assert (tmp_path / "a/b/bytes").read_bytes() == b"\xff"
    assert stat.S_IMODE((tmp_path / "a/b/bytes").stat().st_mode) == 0o600
    only(tmp_path / "a/b", "text", "bytes")


def test_two_at_once(path: Path) -> None:
    with files.replacing(path) as first, files.replacing(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # the last one to end
    only(path.parent, "file")


def test_link_is_replaced_itself(tmp_path: Path) -> None:
    """What a link leads to is someone else's."""
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("target")
    files.write(tmp_path / "link", b"ours")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert (tmp_path / "link").read_bytes() == b"ours"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("ids", [("", ""), ("x", "1"), ("1", "-1"), (None, None), ("0", None)])
def test_no_invoker(
    path: Path, monkeypatch: pytest.MonkeyPatch, ids: tuple[str | None, str | None]
) -> None:
    for name, value in zip(("SUDO_UID", "SUDO_GID"), ids, strict=True):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    files.belongs_to_invoker(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())


def test_invoker(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities.require_root()
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    (path.parent / "link").symlink_to("file")
    files.belongs_to_invoker(path.parent / "link")
    link = (path.parent / "link").lstat()
    assert (link.st_uid, link.st_gid) == (1234, 2345)
    assert path.stat().st_uid == os.getuid()  # a link is not followed
    files.belongs_to_invoker(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


def test_a_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(StiefelError, match="another program of stiefelsystem works in")
    with files.locked(tmp_path), refused, files.locked(tmp_path):
        pass
    with files.locked(tmp_path):
        pass


def test_a_folder_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    has, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with files.locked(tmp_path):
            has.set()
            assert may_go.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert has.wait(60)
    try:
        with pytest.raises(StiefelError), files.locked(tmp_path, patience=0.3):
            pass
        assert capsys.readouterr().err.count("waiting: another program") == 1
        threading.Timer(0.3, may_go.set).start()
        with files.locked(tmp_path, patience=60):
            assert may_go.is_set()
    finally:
        may_go.set()
        holder.join(60)


# Has a file's lock, as apt has, until its standard input ends.
_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("has it", flush=True)
sys.stdin.read()
"""


def test_another_programs_lock_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archives").mkdir()
    lock = tmp_path / "archives/lock"
    files.wait_for_unlocked(lock, patience=0)
    assert not lock.exists()
    command = [sys.executable, "-c", _HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"has it\n"
        with pytest.raises(StiefelError, match=r"has a lock on .*/lock"):
            files.wait_for_unlocked(lock, patience=0.3)
        assert capsys.readouterr().err.count("waiting: another program has a lock on") == 1
        # As apt of a build that was killed, in the cache of the next one.
        monkeypatch.setattr(debian, "_ARCHIVES_SECONDS", 0.3)
        with pytest.raises(StiefelError, match=r"has a lock on .*/archives/lock"):
            debian.base_tree(tmp_path / "tree", debian.Supply(tmp_path, offline=True))
        threading.Timer(0.3, holder.stdin.close).start()
        files.wait_for_unlocked(lock, patience=60)
