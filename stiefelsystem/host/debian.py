"""Trees with a Debian in them, worked in by systemd-nspawn.

Both the ramdisk and the demo's laptop start from the same base tree, which is made once and kept
as a tar file in the cache, beside the downloaded packages.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError, say, step
from stiefelsystem.host.bootstrap import COMPONENTS, SUITE, bootstrap, host_mirror
from stiefelsystem.run import run

# What the ramdisk and the demo's laptop have in common.
BASE_PACKAGES = (
    "iproute2",
    "kexec-tools",
    "kmod",
    "python3",
    "python3-pycryptodome",
    "systemd-sysv",
    "udev",
)
# What a tree was made of, inside it, so that the record can't outlive it.
_RECIPE = "etc/stiefelsystem/recipe"
# Its packages, with their versions and hashes.
MANIFEST = "etc/stiefelsystem/packages"
# apt verifies what it downloads, by the mirror's signed index.
_UNPACK = """
mkdir /unpack
cd /unpack
apt-get download --quiet "$@" >/dev/null || {
	# The mirror may have gone on since the base system was made.
	apt-get update --quiet >/dev/null
	apt-get download --quiet "$@" >/dev/null
}
for package in *.deb; do
	dpkg-deb --extract "$package" /
	dpkg-deb --show --showformat='${Package} ${Version}\n' "$package"
done
rm -r /unpack
"""
# A container's processes are killed after systemd-nspawn was, by the kernel.
_DYING_SECONDS = 5.0
# Another build's installation, with a slow mirror.
_ARCHIVES_SECONDS = 1800.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """This machine's name in Debian: `amd64`, `arm64`. Raises `StiefelError` for others."""
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise StiefelError(f"there is no ramdisk for {machine} machines yet")
    return _ARCHITECTURES[machine]


@dataclass(frozen=True)
class Supply:
    """Where packages come from: a mirror (None: this machine's own, or else the tool's default),
    and the cache, in which base trees and downloads are kept.

    `offline` takes the cache alone. `refresh` asks the mirror for the newest packages.
    """

    cache: Path
    mirror: str | None = None
    offline: bool = False
    refresh: bool = False


def base_tree(tree: Path, supply: Supply) -> None:
    """Make a new base tree at `tree`, from the cache if it has one and is not to be refreshed."""
    with _archives(supply.cache) as archives:
        _base_tree(tree, supply, archives)


def _base_tree(tree: Path, supply: Supply, archives: Path) -> None:
    cache = supply.cache
    mirror = supply.mirror or host_mirror()
    recipe = "\n".join((SUITE, *COMPONENTS, architecture(), mirror or "", *BASE_PACKAGES))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    archive = cache / f"base-{SUITE}-{digest}.tar"
    remove_tree(tree)
    if archive.exists() and not supply.refresh:
        tree.mkdir(parents=True)
        with step("unpack the base system"):
            run(["tar", "--extract", "--numeric-owner", "--file", archive, "--directory", tree])
        return
    if supply.offline:
        raise StiefelError(
            f"the cache {cache} has no base system", hint="build once without --offline"
        )
    with step("make the base system"):
        log = cache / "bootstrap.log"
        bootstrap(tree, BASE_PACKAGES, archives=archives, log=log, mirror=mirror)
        # What is installed later comes from the same state of the mirror.
        nspawn(tree, ["apt-get", "update", "--quiet"])
    new = archive.with_suffix(".new")
    options = ["--numeric-owner", "--one-file-system"]
    run(["tar", "--create", *options, "--file", new, "--directory", tree, "."])
    new.rename(archive)


@contextmanager
def _archives(cache: Path) -> Iterator[Path]:
    """Where downloaded packages are kept, for all tools, and for one at a time: another build, in
    another workdir, may use the same cache."""
    archives = cache / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    with files.locked(archives, patience=_ARCHIVES_SECONDS):
        # A build that was killed may have left an apt that still works there.
        files.wait_for_unlocked(archives / "lock", patience=_ARCHIVES_SECONDS)
        yield archives


def packaged_tree(tree: Path, packages: Sequence[str], supply: Supply) -> None:
    """Make a tree that is the base and `packages`, unless there is just that already.

    It is made beside its place, so that after an interruption there is either none or a whole one.
    """
    recipe = "\n".join((SUITE, *BASE_PACKAGES, "", *packages)) + "\n"
    present = tree / _RECIPE
    if present.exists() and present.read_text() == recipe and not supply.refresh:
        say(f"{tree.name}: its packages are as they should be")
        return
    new = tree.with_suffix(".new")
    files.make_folder(supply.cache)
    files.make_folder(tree.parent)
    base_tree(new, supply)
    with step(f"{tree.name}: install {len(packages)} packages and what they need"):
        install(new, packages, supply)
    with step(f"{tree.name}: compile Python's library"):
        libraries = (f"/{path.relative_to(new)}" for path in new.glob("usr/lib/python3.*"))
        compile_python(new, "/usr/lib/python3", *libraries)
    files.write(new / MANIFEST, _manifest(new))
    files.write(new / _RECIPE, recipe)
    remove_tree(tree)
    new.rename(tree)


def _manifest(tree: Path) -> str:
    """The packages of a tree, one a line: name, version, architecture, SHA-256 of the package.

    The last is what the mirror's signed index says, or `-` for a package that it does not know.
    """
    show = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture}\\n"]
    installed = [line.split() for line in nspawn(tree, show).splitlines()]
    exact = [f"{name}={version}" for name, version, _ in installed]
    known = nspawn(tree, ["sh", "-c", 'apt-cache show "$@" 2>/dev/null || true', "sh", *exact])
    digests = {}
    for stanza in known.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if "SHA256" in fields:
            digests[fields["Package"], fields["Version"]] = fields["SHA256"]
    lines = [(*one, digests.get((one[0], one[1]), "-")) for one in installed]
    return "".join(f"{' '.join(line)}\n" for line in sorted(lines))


def compile_python(tree: Path, *folders: str) -> None:
    """Byte-compile for good: an image may keep no times by which Python could know its sources.

    Without this, Python would compile all that it imports at every boot of the ramdisk, which
    takes longer than the rest of the boot.
    """
    options = ["-q", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    nspawn(tree, ["python3", "-m", "compileall", *options, *folders])


def nspawn(
    tree: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[Path, str] | None = None,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    network: bool = True,
) -> str:
    """Run a program inside `tree` and return its output; `binds` maps host folders into it."""
    options = [
        f"--bind={str(source.resolve()).replace(':', chr(92) + ':')}:{target}"
        for source, target in (binds or {}).items()
    ]
    options += [f"--setenv={name}={value}" for name, value in (env or {}).items()]
    options += [] if network else ["--private-network"]
    options += ["--quiet", "--pipe", "--resolv-conf=replace-host", f"--directory={tree}"]
    return run(["systemd-nspawn", *_unregistered(), *options, *argv], text=text).stdout


def boot_command(tree: Path) -> list[str]:
    """The argv that boots `tree` in a container, with a console; changes in it are forgotten."""
    options = ["--boot", "--volatile=overlay", "--private-network", f"--directory={tree}"]
    return ["systemd-nspawn", *_unregistered(), *options]


def _unregistered() -> list[str]:
    """systemd-nspawn's options for a container that nobody else has to know, with a name of its
    own; where PID 1 is not systemd, there is nobody who would make a unit for it."""
    options = ["--register=no", f"--machine=stiefel-{os.getpid()}", "--hostname=stiefelsystem"]
    return options if Path("/run/systemd/system").is_dir() else [*options, "--keep-unit"]


def install(tree: Path, packages: Sequence[str], supply: Supply, *, initrd: bool = False) -> None:
    """Install packages inside `tree`; what is downloaded is kept in the cache.

    Without `initrd`, a kernel makes none now; who wants one asks for it when all is in place.
    """
    noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
    if not initrd:
        noninteractive["INITRD"] = "No"
    command = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends"]
    command += ["-o", "APT::Keep-Downloaded-Packages=true", "-o", "Dpkg::Options::=--force-confold"]
    command += ["--no-download"] if supply.offline else []
    with _archives(supply.cache) as archives:
        inside = {archives: "/var/cache/apt/archives"}
        try:
            nspawn(tree, [*command, *packages], binds=inside, env=noninteractive)
        except StiefelError:
            if supply.offline:
                raise
            # The mirror may have gone on since the base system was made.
            nspawn(tree, ["apt-get", "update", "--quiet"], env=noninteractive)
            nspawn(tree, [*command, *packages], binds=inside, env=noninteractive)


def unpack(tree: Path, packages: Sequence[str]) -> str:
    """Lay the files of packages over `tree`, without what they need, and without their scripts.

    Returns their names and versions, a package a line. Raises `StiefelError` if there is none.
    """
    return nspawn(tree, ["sh", "-ec", _UNPACK, "sh", *packages])


def remove_tree(tree: Path) -> None:
    """Remove a tree, but never what is mounted below it: that would be somebody's files."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # Blanks and the like are written in octal: proc_pid_mountinfo(5).
    mounted = [
        re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4])
        for line in lines
    ]
    inside = [point for point in mounted if Path(point).is_relative_to(tree.resolve())]
    if inside:
        raise StiefelError(
            f"{tree} is not removed: {inside[0]} is mounted in it", hint=f"umount {inside[0]}"
        )
    deadline = time.monotonic() + _DYING_SECONDS
    while tree.exists():
        remove = ["rm", "--recursive", "--force", "--one-file-system", "--", str(tree)]
        # Who was interrupted in there may write for another moment.
        run(remove, check=time.monotonic() > deadline)
