"""The record survives whatever cuts it short, and is believed only where it can be."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from stiefelsystem import files
from stiefelsystem.console import StiefelError
from stiefelsystem.host.setup.record import Record
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.states import FILE, State, digest
from stiefelsystem.host.setup.steps import Step
from tests.unit import setup_tree as system

STEP = Step(id="one", purpose="a purpose")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "etc").mkdir()
    return Root(tmp_path)


def state(content: bytes) -> tuple[State, bytes]:
    return State(FILE, 0o600, 0, 0, digest(content), mtime=5, xattrs={"user.x": "eA=="}), content


def announce(record: Record, path: str, before: bytes, after: bytes, step: Step = STEP) -> None:
    record.path(step, path, before=state(before), after=state(after), secret=False)


def file_of(root: Root) -> Path:
    return root.path / system.RECORD / "record"


def read(root: Root) -> Record:
    with Record.open(root, writable=False) as record:
        return record


def test_what_was_written_is_read(root: Root) -> None:
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
        record.command(STEP, ("run", "this"), take_back=("back",), packages=("p",), again=True)
        record.ended(STEP)
        written = record.steps
    again = read(root)
    assert again.steps == written
    touched = again.steps["one"].paths["/a"]
    assert touched.original == state(b"first")[0]
    assert again.copy_of(touched.original_copy) == b"first"
    assert again.copy_of(touched.left_copy) == b"ours"
    assert again.steps["one"].ended == again.steps["one"].begun == 2
    assert again.steps["one"].commands[0].argv == ("run", "this")


def test_nobody_else_may_read_it(root: Root) -> None:
    old = os.umask(0)
    try:
        with Record.open(root, writable=True) as record:
            announce(record, "/a", b"a secret", b"another")
            folder = record.folder
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_reading_makes_nothing(root: Root) -> None:
    assert not read(root).exists
    with Record.open(root, writable=True) as record:
        assert not record.exists
    assert os.listdir(root.path / "etc") == []


def test_the_first_original_stays(root: Root) -> None:
    """Through later runs, and through a step that another version calls otherwise."""
    renamed = Step(id="two", purpose="the same")
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"ours", b"ours, too")
        announce(record, "/a", b"changed by the user", b"new", renamed)
    record = read(root)
    assert record.steps["one"].paths == {}
    touched = record.steps["two"].paths["/a"]
    assert record.copy_of(touched.original_copy) == b"first"
    assert [left.content for left in touched.left] == [
        *(digest(b"ours"), digest(b"ours, too"), digest(b"new")),
    ]


def test_after_an_undo_there_is_a_new_original(root: Root) -> None:
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
        record.undone("one")
        assert record.steps == {}
        announce(record, "/a", b"second", b"ours")
    record = read(root)
    assert record.copy_of(record.steps["one"].paths["/a"].original_copy) == b"second"


def test_torn_at_every_byte(root: Root) -> None:
    """What the torn line would have announced has not begun; the others stand."""
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
        whole = len(file_of(root).read_bytes())
        announce(record, "/b", b"first of b", b"ours")
    content = file_of(root).read_bytes()
    for length in range(len(content)):
        file_of(root).write_bytes(content[:length])
        if b"\n" not in content[:length]:
            for copy in file_of(root).parent.glob("*.*"):
                copy.unlink()  # none is made before the first line is whole
        expected = {"/a": 1} if length >= whole else {}
        paths = {path for step in read(root).steps.values() for path in step.paths}
        assert paths == expected.keys()
        assert file_of(root).read_bytes() == content[:length]  # reading changes nothing
        with Record.open(root, writable=True) as record:
            announce(record, "/c", b"first of c", b"ours")
        record = read(root)
        assert record.steps["one"].paths.keys() == {*expected, "/c"}
        copy = record.steps["one"].paths["/c"].original_copy
        assert record.copy_of(copy) == b"first of c"


@pytest.mark.parametrize("left", [b"", b"{", b"?\n"])
def test_lost_but_for_its_copies(root: Root, left: bytes) -> None:
    """They are all that is left of the user's files: to find nothing would remove them."""
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
    file_of(root).write_bytes(left)
    with pytest.raises(StiefelError, match="line 1, is damaged"):
        read(root)
    file_of(root).unlink()
    with pytest.raises(StiefelError, match="line 1, is damaged"):
        read(root)


def test_a_copy_that_is_gone(root: Root) -> None:
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
        (record.folder / "1.original").unlink()
        error = system.refused(lambda: record.copy_of("1.original"))
    assert "1.original is gone" in str(error)
    assert "backup" in error.hint


def test_two_that_begin_at_once(root: Root) -> None:
    """Neither has found a record; who comes second must not take the first one's away."""
    with Record.open(root, writable=True) as first, Record.open(root, writable=True) as second:
        announce(first, "/a", b"first", b"ours")
        with pytest.raises(StiefelError, match=r"has made .* meanwhile"):
            announce(second, "/b", b"first", b"ours")
        announce(first, "/c", b"first", b"ours")
    assert read(root).steps["one"].paths.keys() == {"/a", "/c"}


def test_folder_behind_a_link_of_the_tree(root: Root) -> None:
    (root.path / "var/record").mkdir(parents=True)
    (root.path / "etc/stiefelsystem-setup").symlink_to("/var/record")
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
        record.undone("one")
        record.remove()
    assert not (root.path / "var/record").exists()


@pytest.mark.parametrize("garbage", [bytes(100), b"\0\0\0}\n", b'{"step": \n'])
def test_last_line_that_was_not_written_in_order(root: Root, garbage: bytes) -> None:
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
    content = file_of(root).read_bytes()
    file_of(root).write_bytes(content + garbage)
    assert read(root).steps.keys() == {"one"}
    with Record.open(root, writable=True) as record:
        assert file_of(root).read_bytes() == content
        announce(record, "/b", b"first of b", b"ours")
    with Record.open(root, writable=True) as record:
        announce(record, "/c", b"first of c", b"ours")
        copy = record.steps["one"].paths["/b"].original_copy
        assert record.copy_of(copy) == b"first of b"


def test_damaged(root: Root) -> None:
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
        announce(record, "/b", b"first", b"ours")
    lines = file_of(root).read_bytes().splitlines(keepends=True)
    run = b'{"step": "x", "purpose": "", "needs": [], "run": "x"}\n'
    for damaged in (b"?" + lines[1], run, b'{"step": "x"}\n', b"[5]\n", b'{"ended": "x"}\n'):
        file_of(root).write_bytes(lines[0] + damaged + lines[2])
        error = system.refused(lambda: read(root))
        assert "line 2, is damaged" in str(error)
        assert "*.original" in error.hint


def test_another_version(root: Root) -> None:
    file_of(root).parent.mkdir()
    file_of(root).write_text(json.dumps({"version": 2}) + "\n")
    error = system.refused(lambda: read(root))
    assert "version 2" in str(error)
    assert "newer" in error.hint


def test_one_at_a_time(root: Root) -> None:
    with Record.open(root, writable=True) as record:
        announce(record, "/a", b"first", b"ours")
        with pytest.raises(StiefelError, match="another program"):
            Record.open(root, writable=True).__enter__()
        read(root)
    with files.locked(record.folder):
        pass


def test_no_system_there(tmp_path: Path) -> None:
    with Record.open(Root(tmp_path), writable=True) as record:
        error = system.refused(lambda: record.undone("x"))
    assert f"there is no {tmp_path}/etc" in str(error)
    assert "--root" in error.hint


def test_interrupted_before_its_first_line(root: Root) -> None:
    file_of(root).parent.mkdir(mode=0o700)
    with Record.open(root, writable=True) as record:
        assert record.steps == {}
        record.remove()
    assert os.listdir(root.path / "etc") == []


def test_large_and_secret_content_is_not_kept_for_a_diff(root: Root) -> None:
    with Record.open(root, writable=True) as record:
        announce(record, "/large", b"", b"x" * 300_000)
        record.path(STEP, "/key", before=state(b"old key"), after=state(b"key"), secret=True)
    contents = [path.read_bytes() for path in file_of(root).parent.iterdir()]
    assert sorted(len(content) for content in contents)[:2] == [0, 7]
    assert len(contents) == 3
