"""What is put in a file's place is that file, but for what was to change."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host.setup import door
from stiefelsystem.host.setup.states import ABSENT, FILE, FOLDER, LINK, State, digest, look
from tests import capabilities

ACL = "system.posix_acl_access"


def acl(user: int) -> bytes:
    """An ACL by which that user may read, too: linux/posix_acl_xattr.h."""
    none = 0xFFFFFFFF
    entries = [(0x01, 6, none), (0x02, 4, user), (0x04, 4, none), (0x10, 4, none), (0x20, 0, none)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def set_or_skip(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        capabilities.require(False, f"cannot set {name}: {error.strerror}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def new_version(path: Path, content: bytes) -> State:
    before, _ = look(path)
    return replace(before, content=digest(content), mtime=None)


@pytest.mark.parametrize(
    ("name", "value"), [("user.note", b"\0kept"), (ACL, acl(12345)), ("security.note", b"kept")]
)
def test_attributes_are_kept(path: Path, name: str, value: bytes) -> None:
    if name.startswith("security."):
        capabilities.require_root()
    set_or_skip(path, name, value)
    before = path.stat()
    door.put(path, new_version(path, b"new"), b"new")
    after = path.stat()
    assert path.read_bytes() == b"new"
    assert os.getxattr(path, name) == value
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert after.st_ino != before.st_ino


def test_attributes_that_were_not_there_are_not_made(path: Path) -> None:
    """A folder may have a default ACL, which files that were there before it do not have."""
    state = new_version(path, b"new")
    set_or_skip(path.parent, "system.posix_acl_default", acl(12345))
    door.put(path, state, b"new")
    assert ACL not in os.listxattr(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_owner_is_kept(path: Path) -> None:
    capabilities.require_root()
    os.chown(path, 1234, 2345)
    path.chmod(0o4750)
    door.put(path, new_version(path, b"new"), b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o4750)


def test_owner_that_cannot_be_given() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        path = Path(name) / "file"
        path.write_bytes(b"old")
        state = replace(new_version(path, b"new"), uid=os.geteuid() + 1)
        root = os.geteuid() == 0
        if root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            with pytest.raises(StiefelError, match=f"cannot give {path} to its owner"):
                door.put(path, state, b"new")
        finally:
            if root:
                os.seteuid(0)
        assert path.read_bytes() == b"old"
        assert os.listdir(name) == ["file"]


def test_everything_comes_back(path: Path) -> None:
    set_or_skip(path, "user.note", b"kept")
    os.utime(path, ns=(5, 123456789))
    before, content = look(path)
    door.put(path, State(FILE, 0o600, os.geteuid(), os.getegid(), digest(b"x")), b"x")
    assert look(path)[0] != before
    door.put(path, before, content)
    assert look(path) == (before, b"old")


def test_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("some\udcffwhere")
    os.utime(tmp_path / "link", ns=(5, 123456789), follow_symlinks=False)
    link, _ = look(tmp_path / "link")
    assert (link.kind, link.content) == (LINK, "some\udcffwhere")
    door.put(tmp_path / "link", State())
    assert look(tmp_path / "link") == (State(), b"")
    door.put(tmp_path / "link", link)
    assert look(tmp_path / "link") == (link, b"")
    old = os.umask(0o077)
    try:
        door.put(tmp_path / "folder", State(FOLDER, 0o1775, os.geteuid(), os.getegid()))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o1775
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"]


@pytest.mark.parametrize("kind", [FILE, FOLDER, LINK])
def test_what_was_left_is_cleared(tmp_path: Path, kind: str) -> None:
    """As after a kill -9: only what would be in the way of the path."""
    new = tmp_path / ".path.stiefelsystem-new"
    other = tmp_path / ".other.stiefelsystem-new"
    for place in (new, other):
        {FILE: place.touch, FOLDER: place.mkdir, LINK: lambda p=place: p.symlink_to(".")}[kind]()
    door.clear(tmp_path / "path")
    door.clear(tmp_path / "path")
    door.clear(tmp_path / "no/folder/path")
    assert os.listdir(tmp_path) == [other.name]


def test_failure_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="No space"):
        door.put(path, new_version(path, b"new"), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


def test_someone_elses_file_is_not_overwritten(path: Path) -> None:
    other = path.with_name(".file.stiefelsystem-new")
    other.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        door.put(path, new_version(path, b"new"), b"new")
    assert other.read_bytes() == b"theirs"


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="/dev/null: it is a device") as caught:
        look(Path("/dev/null"))
    assert "unmask" in caught.value.hint
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StiefelError, match="a pipe"):
        look(tmp_path / "pipe")


def test_likeness() -> None:
    """Times and labels are no change of the user's; all else is."""
    state = State(FILE, 0o644, 1, 2, "digest", mtime=5, xattrs={"security.selinux": "eA=="})
    assert state.like(replace(state, mtime=6, xattrs=None))
    for change in ({"mode": 0o600}, {"uid": 3}, {"gid": 3}, {"content": "x"}, {"kind": ABSENT}):
        assert not state.like(replace(state, **change))
