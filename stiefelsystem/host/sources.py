"""Sources of modules: downloaded, verified, and built in a throwaway Debian tree.

Nothing of a source is used before its digest is known to be right. What it then runs, runs in a
container without a network, whose tree is removed afterwards. Only the results leave it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Annotated

from stiefelsystem import checks, files
from stiefelsystem.checks import Absolute, Name, Package, Sha256, SourceUrl
from stiefelsystem.console import StiefelError, say, step, warn
from stiefelsystem.host import debian
from stiefelsystem.host.bootstrap import SUITE
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.tarballs import unpack
from stiefelsystem.schema import Invalid, Rule

_REPOSITORY = Path(__file__).resolve().parents[2]
_COMPILERS = ("gcc", "libc6-dev", "make")
_KERNEL = "{kernel}"
# The largest drivers have some MB.
_DOWNLOAD_BYTES = 256 << 20
# Seconds: without a single byte; for all of it; between two lines that say how far it is.
_READ_SECONDS = 30.0
_DOWNLOAD_SECONDS = 1800.0
_PROGRESS_SECONDS = 5.0
_BUILD_SECONDS = 3600
_CHUNK = 1 << 16
# What compilers take for the time, unless the environment says otherwise: 2020, as good as any.
_EPOCH = "1577836800"
# Always the same places in the tree, because compilers write paths into what they make.
_FOLDER = "build"
_LOG = "build.log"
_LOG_BYTES = 1 << 20
_LAST_LINES = 6
# Runs the command $3 in the folder $1, for $2 seconds at most.
_SCRIPT = f"""
exec >>/{_LOG} 2>&1
cd "$1" || exit
timeout --kill-after=10 "$2" sh -c "$3" || {{
    status=$?
    [ $status != 124 ] || echo "it did not end within $2 s"
    exit $status
}}
"""


Command = Annotated[str, Rule(checks.command)]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A file that a build makes, below the source's top folder, and its place in the ramdisk.

    In the place, `{kernel}` stands for the version of the ramdisk's kernel.
    """

    file: Name
    to: Absolute

    def __post_init__(self) -> None:
        if len(self.to.parts) < 3:
            raise Invalid(
                f"{str(self.to)!r} is not a file in a folder", key="to", hint="such as /usr/bin/fan"
            )
        if self.to.parts[1] in {"bin", "lib", "lib64", "sbin"}:
            raise Invalid(
                f"/{self.to.parts[1]} is a link to /usr/{self.to.parts[1]}",
                key="to",
                hint=f"write /usr{self.to}",
            )
        if re.search(r"[{}]", str(self.to).replace(_KERNEL, "")):
            raise Invalid(
                f"{str(self.to)!r} has a placeholder that is not known",
                key="to",
                hint=f"{_KERNEL} is the kernel's version; there is no other",
            )

    def place(self, kernel: str) -> Path:
        """Its path below the ramdisk's root."""
        return Path(str(self.to).replace(_KERNEL, kernel).lstrip("/"))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source as a module's file describes it: a tar archive, or a folder of ours, and what to do
    with it.

    `build` are commands for a shell, run one after the other in the archive's top folder; in them,
    too, `{kernel}` is the kernel's version. `packages` are needed for them besides gcc, make and
    libc6-dev; `kernel_headers` adds `/lib/modules/{kernel}/build`. Without a `url` there is nothing
    to build yet: the configuration may have one.
    """

    url: SourceUrl | None = None
    sha256: Sha256 | None = None
    folder: Annotated[str, Rule(checks.relative)] | None = None  # below the repository's top
    build: tuple[Command, ...] = ("make",)
    packages: tuple[Package, ...] = ()
    kernel_headers: bool = False
    results: tuple[Result, ...] = ()

    def __post_init__(self) -> None:
        if self.url is not None and self.folder is not None:
            raise Invalid("a source is at a url or in a folder, not in both", key="folder")
        if self.url is not None and self.sha256 is None:
            raise Invalid(
                "a url needs the sha256 of what is there",
                key="url",
                hint="download it, see that it is what you want, and enter what sha256sum prints",
            )
        if (self.url or self.folder) and not self.results:
            raise Invalid(
                "a source needs results",
                key="results",
                hint="the files that the ramdisk gets of it",
            )
        for one, other in permutations([result.to for result in self.results], 2):
            if one.is_relative_to(other):
                raise Invalid(f"{str(one)!r} is in the way of another result", key="results")


def built(name: str, source: Source, *, kernel: str, workplace: Path, supply: Supply) -> Path:
    """The folder with a source's results, laid out as in the ramdisk.

    It lies in the cache, and is made only if it is not there yet: of this source, in this way, for
    this kernel. The build's tree at `workplace` is gone afterwards. `name` is the module's, or the
    path of its file. Raises `StiefelError` when it cannot be downloaded or built.
    """
    label = Path(name).stem
    place = supply.cache / "built" / f"{label}-{_key(label, source, kernel)}"
    if place.is_dir():
        say(f"{label}: is built already")
        return place
    archive = None if source.folder else download(label, source, supply)
    files.make_folder(place.parent)
    with _throwaway(workplace):
        build = _Build(label, tree=workplace / label, log=place.parent / f"{label}.log")
        build.prepare(source, kernel, supply)
        if archive:
            with step(f"{label}: unpack the source"):
                top = unpack(archive, build.tree / _FOLDER)
        else:
            top = build.tree / _FOLDER / label
            shutil.copytree(_REPOSITORY / str(source.folder), top)
        for command in source.build:
            build.run(command.replace(_KERNEL, kernel), top)
        build.lay_out({top / one.file: one.place(kernel) for one in source.results}, place)
    return place


def _key(label: str, source: Source, kernel: str) -> str:
    """The digest of all that a result is made of; not of the URL, since any place will do."""
    parts = {**asdict(source), "url": None}
    if source.folder:
        parts["contents"] = _contents(_REPOSITORY / source.folder)
    tree = (SUITE, debian.architecture(), _COMPILERS, kernel)
    text = json.dumps([label, parts, tree, _environment(), _SCRIPT], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _contents(folder: Path) -> dict[str, str]:
    """The digests of the files in a folder, by their names."""
    if not folder.is_dir():
        raise StiefelError(f"there is no folder {folder} to build from")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _environment() -> Mapping[str, str]:
    """What builds find in their environment, so that they write no time and no names."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", _EPOCH)
    return {
        "SOURCE_DATE_EPOCH": epoch,
        "KBUILD_BUILD_TIMESTAMP": f"@{epoch}",
        "KBUILD_BUILD_USER": "stiefelsystem",
        "KBUILD_BUILD_HOST": "stiefelsystem",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def download(label: str, source: Source, supply: Supply) -> Path:
    """The source's archive in the cache; its digest was verified just now."""
    if source.url is None or source.sha256 is None:
        raise StiefelError(
            f"{label}: it is not known where its source is", hint="set its url and sha256"
        )
    archive = supply.cache / "sources" / source.sha256
    if archive.exists():
        with archive.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == source.sha256:
                return archive
        warn(f"{archive} has another digest than its name says; it is removed")
        archive.unlink()
    if supply.offline and not source.url.startswith("file:"):
        raise StiefelError(
            f"{label}: its source is not in {archive.parent}, and would have to be downloaded",
            hint="build once without --offline",
        )
    files.make_folder(archive.parent)
    digest = hashlib.sha256()
    with step(f"{label}: download {source.url}"), files.replacing(archive) as out:
        for chunk in _received(source.url):
            digest.update(chunk)
            out.write(chunk)
        if digest.hexdigest() != source.sha256:
            raise StiefelError(
                f"{label}: {source.url} is another file than expected: its sha256 is "
                f"{digest.hexdigest()}, not {source.sha256}; nothing of it was run, and it is "
                "removed",
                hint="check where it comes from; only if it is the right one, enter its sha256",
            )
    files.belongs_to_invoker(archive)
    return archive


def _received(url: str) -> Iterator[bytes]:
    """What lies at `url`, piece by piece. Raises `StiefelError` if it is cut short, or endless."""
    started = said = time.monotonic()
    size = 0
    try:
        with urllib.request.build_opener().open(url, timeout=_READ_SECONDS) as response:
            whole = int(response.headers.get("Content-Length", 0))
            while chunk := response.read1(_CHUNK):
                size += len(chunk)
                if max(size, whole) > _DOWNLOAD_BYTES:
                    raise StiefelError(f"{url} has more than {_DOWNLOAD_BYTES >> 20} MB")
                now = time.monotonic()
                if now - started > _DOWNLOAD_SECONDS:
                    raise StiefelError(f"{url} did not come within {_DOWNLOAD_SECONDS:g} s")
                if now - said > _PROGRESS_SECONDS:
                    of = f" of {whole / 1e6:.1f}" if whole else ""
                    say(f"{size / 1e6:.1f}{of} MB")
                    said = now
                yield chunk
    # ValueError: a URL or a header that Python cannot make sense of.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StiefelError(
            f"cannot download {url}: {error or type(error).__name__}",
            hint="try again later, or enter another url; what file:///… names is copied",
        ) from error
    if size < whole:
        raise StiefelError(
            f"{url} was cut short: {size} of {whole} bytes came", hint="try again later"
        )


@contextmanager
def _throwaway(workplace: Path) -> Iterator[None]:
    debian.remove_tree(workplace)  # of a build that was killed
    try:
        yield
    finally:
        debian.remove_tree(workplace)


@dataclass(frozen=True)
class _Build:
    """The building of one module in its throwaway `tree`; `log` is for what failed."""

    label: str
    tree: Path
    log: Path

    def prepare(self, source: Source, kernel: str, supply: Supply) -> None:
        """Make the tree, with all that the build needs."""
        headers = {f"linux-headers-{kernel}"} if source.kernel_headers else set()
        packages = sorted({*_COMPILERS, *source.packages, *headers})
        try:
            # What is to be refreshed was, when the ramdisk's own tree was made.
            debian.packaged_tree(self.tree, packages, replace(supply, refresh=False))
        except StiefelError as error:
            older = "if the mirror has a newer kernel only: ./create-initrd-nspawn --update"
            online = "build once without --offline"
            raise StiefelError(
                f"{self.label}: cannot prepare its build: {error}",
                hint=error.hint or (online if supply.offline else older if headers else ""),
            ) from error

    def run(self, command: str, top: Path) -> None:
        """Run a command inside the tree, in the folder `top`."""
        inside = f"/{top.relative_to(self.tree)}"
        argv = ["sh", "-c", _SCRIPT, "sh", inside, str(_BUILD_SECONDS), command]
        try:
            with step(f"{self.label}: {command}"):
                debian.nspawn(self.tree, argv, env=_environment(), network=False)
        except StiefelError as error:
            raise (self._failure(f"{command} failed") or error) from error

    def lay_out(self, results: Mapping[Path, Path], place: Path) -> None:
        """Copy files of the tree to below `place`, which appears when it is complete."""
        with tempfile.TemporaryDirectory(prefix=f".{self.label}.", dir=place.parent) as folder:
            new = Path(folder) / "new"
            new.mkdir()
            for source, name in results.items():
                if not self._is_plain(source):
                    what = f"the build made no file {source.relative_to(self.tree / _FOLDER)}"
                    raise self._failure(what) or StiefelError(f"{self.label}: {what}")
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                mode = 0o755 if source.stat().st_mode & 0o111 else 0o644
                with files.replacing(new / name, mode=mode) as out, source.open("rb") as made:
                    shutil.copyfileobj(made, out)
            files.belongs_to_invoker(new, *new.rglob("*"))
            new.rename(place)

    def _failure(self, what: str) -> StiefelError | None:
        """An error with the build's last words, if it was run; all of them go to the log."""
        inside = self.tree / _LOG
        if not self._is_plain(inside):
            return None
        with inside.open("rb") as file:
            file.seek(max(0, inside.stat().st_size - _LOG_BYTES))
            said = file.read().decode(errors="replace")
        files.write(self.log, said)
        files.belongs_to_invoker(self.log)
        words = _last_words(said) or "it said nothing"
        return StiefelError(f"{self.label}: {what}: {words}", hint=f"all that it said: {self.log}")

    def _is_plain(self, path: Path) -> bool:
        """Whether it is a regular file, reached by no link: what ran in the tree may have made
        links that lead out of it."""
        below = [one for one in (path, *path.parents) if self.tree in one.parents]
        return path.is_file() and not any(one.is_symlink() for one in below)


def _last_words(log: str) -> str:
    """The last lines, but for those in which make only says that something failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    others = [line for line in lines if not re.match(r"make(\[\d+\])?: ", line)]
    return " / ".join((others or lines)[-_LAST_LINES:])
