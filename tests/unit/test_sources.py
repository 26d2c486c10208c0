"""Sources of modules: how they are built, once, and what leaves the tree in which that is done.

The builds themselves, in containers, are in tests/netns/test_sources.py.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import debian, sources
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.sources import Result, Source
from tests.tarfiles import below, member, write_archive
from tests.unit.a_source import DIGEST, KERNEL, RESULT, source_at


class Workshop:
    """Counts the builds; each does `work` in the source's folder, and says something."""

    def __init__(self, tmp_path: Path) -> None:
        self.workplace = tmp_path / "workdir/initrd-devel"
        self.supply = Supply(tmp_path / "cache")
        archive = write_archive(tmp_path / "archive", [member("top/fan.c")])
        self.source = source_at(f"file://{archive}", archive.read_bytes())
        self.top = "top"
        self.packages: list[str] = []
        self.commands: list[str] = []
        self.environments: list[Mapping[str, str]] = []
        self.work: Callable[[Path], object] = lambda top: shutil.copy(top / "fan.c", top / "fan")

    def packaged_tree(self, tree: Path, packages: list[str], supply: Supply) -> None:
        assert not supply.refresh
        assert not tree.exists(), "a former build's tree is used again"
        tree.mkdir(parents=True)
        self.packages = packages

    def nspawn(self, tree: Path, argv: list[str], *, env: Mapping[str, str], network: bool) -> str:
        assert not network
        assert argv[-3] == f"/build/{self.top}"
        self.commands.append(argv[-1])
        self.environments.append(env)
        (tree / "build.log").write_text("compiling\nfan.c: error: no fan\nmake: *** failed\n")
        self.work(tree / "build" / self.top)
        return ""

    def built(self, source: Source | None = None, *, kernel: str = KERNEL) -> Path:
        """Build, or take from the cache; in either case, the tree is gone afterwards."""
        try:
            return sources.built(
                "/home/me/fan.yaml",
                source or self.source,
                kernel=kernel,
                workplace=self.workplace,
                supply=self.supply,
            )
        finally:
            assert not self.workplace.exists()

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.supply.cache / "built").iterdir())


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    workshop = Workshop(tmp_path)
    monkeypatch.setattr(debian, "packaged_tree", workshop.packaged_tree)
    monkeypatch.setattr(debian, "nspawn", workshop.nspawn)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return workshop


def test_results_lie_as_in_the_ramdisk(workshop: Workshop) -> None:
    results = (
        Result(file=Path("fan"), to=Path("/usr/sbin/fan")),
        Result(file=Path("fan.c"), to=Path("/usr/lib/modules/{kernel}/updates/fan.ko")),
    )

    def work(top: Path) -> None:
        (top / "fan").write_bytes(b"program")
        (top / "fan").chmod(0o4711)
        (top / "fan.c").chmod(0o600)

    workshop.work = work
    build = ("make -C /lib/modules/{kernel}/build M=${PWD}", "true")
    former = os.umask(0)
    try:
        folder = workshop.built(replace(workshop.source, results=results, build=build))
    finally:
        os.umask(former)
    assert workshop.commands == [f"make -C /lib/modules/{KERNEL}/build M=${{PWD}}", "true"]
    program, module = folder / "usr/sbin/fan", folder / f"usr/lib/modules/{KERNEL}/updates/fan.ko"
    assert {path for path in folder.rglob("*") if path.is_file()} == {program, module}
    assert program.read_bytes() == b"program"
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert stat.S_IMODE(module.stat().st_mode) == 0o644
    assert workshop.left() == [folder.name]
    assert folder.name.startswith("fan-")


def test_built_once(workshop: Workshop) -> None:
    first = workshop.built()
    before = below(first)
    workshop.supply = replace(workshop.supply, offline=True, refresh=True)
    assert workshop.built(replace(workshop.source, url="https://example.org/mirror")) == first
    assert below(first) == before
    assert len(workshop.commands) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"build": ("make fast",)},
        {"packages": ("bc",)},
        {"kernel_headers": True},
        {"results": (replace(RESULT, to=Path("/usr/bin/fan")),)},
        {"results": (replace(RESULT, file=Path("fan.c")),)},
    ],
)
def test_built_again_for_what_is_different(workshop: Workshop, change: dict[str, Any]) -> None:
    first = workshop.built()
    assert workshop.built(replace(workshop.source, **change)) != first
    assert len(workshop.commands) == 2


def test_built_again_for_another_archive(workshop: Workshop, tmp_path: Path) -> None:
    first = workshop.built()
    archive = write_archive(tmp_path / "archive", [member("top/fan.c")], b"other")
    second = workshop.built(source_at(f"file://{archive}", archive.read_bytes()))
    assert (first / "usr/sbin/fan").read_bytes() == b"content"
    assert (second / "usr/sbin/fan").read_bytes() == b"other"


@pytest.fixture
def ours(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the repository with a source, and the workshop builds that."""
    folder = tmp_path / "repository/a/fan"
    (folder / "sub").mkdir(parents=True)
    (folder / "fan.c").write_bytes(b"content")
    (folder / "sub/fan.h").write_bytes(b"")
    monkeypatch.setattr(sources, "_REPOSITORY", tmp_path / "repository")
    workshop.source = Source(folder="a/fan", results=(RESULT,))
    workshop.top = "fan"
    return folder


def test_built_of_a_folder(workshop: Workshop, ours: Path) -> None:
    before = below(ours)
    workshop.supply = replace(workshop.supply, offline=True)
    place = workshop.built()
    assert (place / "usr/sbin/fan").read_bytes() == b"content"
    assert workshop.built() == place
    assert len(workshop.commands) == 1
    assert below(ours) == before, "what is built is left in the repository"


def test_built_again_for_what_is_different_in_a_folder(workshop: Workshop, ours: Path) -> None:
    places = [workshop.built()]
    (ours / "fan.c").write_bytes(b"other")
    places.append(workshop.built())
    assert (places[-1] / "usr/sbin/fan").read_bytes() == b"other"
    (ours / "sub/fan.h").rename(ours / "sub/fin.h")
    places.append(workshop.built())
    (ours / "Makefile").touch()
    places.append(workshop.built())
    assert len(set(places)) == 4


def test_a_folder_that_is_not_there(workshop: Workshop, ours: Path) -> None:
    missing = replace(workshop.source, folder="a/fun")
    with pytest.raises(StiefelError, match=r"there is no folder .*/repository/a/fun to build from"):
        workshop.built(missing)
    assert workshop.commands == []


def test_built_again_for_another_kernel_time_or_machine(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [workshop.built(), workshop.built(kernel="6.13")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    places.append(workshop.built())
    monkeypatch.setattr(debian, "architecture", lambda: "arm64")
    places.append(workshop.built())
    assert len(set(places)) == 4
    times = [env["KBUILD_BUILD_TIMESTAMP"] for env in workshop.environments]
    assert times[0] == times[1] != times[2] == "@1700000000"


def test_what_is_installed_to_compile(workshop: Workshop) -> None:
    workshop.built()
    assert workshop.packages == ["gcc", "libc6-dev", "make"]
    workshop.built(replace(workshop.source, packages=("bc",), kernel_headers=True))
    assert workshop.packages == ["bc", "gcc", "libc6-dev", f"linux-headers-{KERNEL}", "make"]


def test_no_place_for_the_source(workshop: Workshop) -> None:
    with pytest.raises(StiefelError, match="fan: it is not known where"):
        workshop.built(Source(results=(RESULT,)))


def test_a_source_that_is_not_verified_is_not_built(workshop: Workshop) -> None:
    with pytest.raises(StiefelError, match="nothing of it was run"):
        workshop.built(replace(workshop.source, sha256=DIGEST))
    assert workshop.commands == [] and workshop.packages == []


def test_a_tree_that_cannot_be_made(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tree: Path, *_: Any) -> None:
        tree.with_suffix(".new").mkdir(parents=True)
        raise StiefelError("E: Unable to locate package")

    monkeypatch.setattr(debian, "packaged_tree", fail)
    with pytest.raises(StiefelError, match=r"fan: cannot prepare its build: E:") as caught:
        workshop.built(replace(workshop.source, kernel_headers=True))
    assert "--update" in caught.value.hint


def test_a_tree_that_cannot_be_made_offline(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = iter(["", "its own hint"])

    def fail(*_: Any) -> None:
        raise StiefelError("E: not downloaded", hint=next(hints))

    monkeypatch.setattr(debian, "packaged_tree", fail)
    workshop.supply = replace(workshop.supply, offline=True)
    for hint in ("build once without --offline", "its own hint"):
        with pytest.raises(StiefelError) as caught:
            workshop.built()
        assert caught.value.hint == hint


def test_what_a_killed_build_left_is_not_used(workshop: Workshop) -> None:
    (workshop.workplace / "fan/usr").mkdir(parents=True)
    workshop.built()
    assert len(workshop.commands) == 1


@pytest.mark.parametrize("error", [StiefelError("status 2"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failed_build_leaves_nothing_but_its_log(
    workshop: Workshop, error: BaseException
) -> None:
    def work(top: Path) -> None:
        (top / "fan").write_bytes(b"half a program")
        raise error

    workshop.work = work
    with pytest.raises(type(error)) as caught:
        workshop.built()
    if not isinstance(error, StiefelError):
        assert workshop.left() == []
        return
    assert str(caught.value) == "fan: make failed: compiling / fan.c: error: no fan"
    assert workshop.left() == ["fan.log"]
    log = workshop.supply.cache / "built/fan.log"
    assert "make: *** failed" in log.read_text()
    assert str(log) in caught.value.hint


def test_a_container_that_does_not_start(workshop: Workshop) -> None:
    """Then the build said nothing, and the container's error is what there is to say."""

    def work(top: Path) -> None:
        (top.parents[1] / "build.log").unlink()
        raise StiefelError("cannot run systemd-nspawn", hint="install it")

    workshop.work = work
    with pytest.raises(StiefelError, match=r"^cannot run systemd-nspawn$"):
        workshop.built()


def secret(workshop: Workshop) -> Path:
    file = workshop.supply.cache / "secret"
    file.write_text("secret")
    return file


def as_link(top: Path, to: Path) -> None:
    (top / "fan").symlink_to(to)


def as_hidden_link(top: Path, to: Path) -> None:
    """The result is a file, but the source's folder is not what it was."""
    top.rename(top.with_name("away"))
    to.with_name("fan").write_text("secret")
    top.symlink_to(to.parent)


def as_folder(top: Path, _: Path) -> None:
    (top / "fan").mkdir()


def as_pipe(top: Path, _: Path) -> None:
    os.mkfifo(top / "fan")


def as_loop(top: Path, _: Path) -> None:
    (top / "fan").symlink_to("fan")


def as_nothing(_top: Path, _: Path) -> None:
    pass


@pytest.mark.parametrize("make", [as_link, as_hidden_link, as_folder, as_pipe, as_loop, as_nothing])
def test_a_result_is_a_file_of_the_tree(
    workshop: Workshop, make: Callable[[Path, Path], None]
) -> None:
    workshop.supply.cache.mkdir()
    to = secret(workshop)
    workshop.work = lambda top: make(top, to)
    with pytest.raises(StiefelError, match="fan: the build made no file top/fan: compiling"):
        workshop.built()
    assert workshop.left() == ["fan.log"]


def test_a_log_is_a_file_of_the_tree(workshop: Workshop) -> None:
    workshop.supply.cache.mkdir()
    to = secret(workshop)

    def work(top: Path) -> None:
        log = top.parents[1] / "build.log"
        log.unlink()
        log.symlink_to(to)
        raise StiefelError("status 2")

    workshop.work = work
    with pytest.raises(StiefelError, match=r"^status 2$"):
        workshop.built()
    assert workshop.left() == []


def test_of_a_long_log_the_end_is_kept(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(top: Path) -> None:
        (top.parents[1] / "build.log").write_text("x" * 100 + "\nthe end\n")
        raise StiefelError("status 2")

    monkeypatch.setattr(sources, "_LOG_BYTES", 20)
    workshop.work = work
    with pytest.raises(StiefelError, match="the end"):
        workshop.built()
    assert len((workshop.supply.cache / "built/fan.log").read_text()) == 20
