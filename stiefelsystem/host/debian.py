"""Trees with a Debian in them: made by debootstrap, worked in by systemd-nspawn.

Both the ramdisk and the demo's laptop start from the same base tree, which is made once and kept
as a tar file in the cache, beside the downloaded packages.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from stiefelsystem import files
from stiefelsystem.console import StiefelError, say, step
from stiefelsystem.run import run

SUITE = "trixie"
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
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """This machine's name in Debian: `amd64`, `arm64`. Raises `StiefelError` for others."""
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise StiefelError(f"there is no ramdisk for {machine} machines yet")
    return _ARCHITECTURES[machine]


def host_mirror() -> str | None:
    """The Debian mirror in this machine's apt configuration, None where there is none."""
    if shutil.which("apt-get") is None:
        return None
    columns = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    done = run(
        ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"], check=False
    )
    for line in done.stdout.splitlines():
        origin, label, uri = line.split("|", 2)
        if origin == label == "Debian":
            return uri
    return None


def base_tree(tree: Path, *, cache: Path, mirror: str | None) -> None:
    """Make a new base tree at `tree`, from the cache if it has one."""
    mirror = mirror or host_mirror()
    recipe = "\n".join((SUITE, architecture(), mirror or "", *BASE_PACKAGES))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    archive = cache / f"base-{SUITE}-{digest}.tar"
    remove_tree(tree)
    if archive.exists():
        tree.mkdir(parents=True)
        with step("unpack the base system"):
            run(["tar", "--extract", "--numeric-owner", "--file", archive, "--directory", tree])
        return
    with step("debootstrap the base system"):
        _debootstrap(tree, cache=cache, mirror=mirror)
    new = archive.with_suffix(".new")
    options = ["--numeric-owner", "--one-file-system"]
    run(["tar", "--create", *options, "--file", new, "--directory", tree, "."])
    new.rename(archive)


def _debootstrap(tree: Path, *, cache: Path, mirror: str | None) -> None:
    packages = cache / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    log = cache / "debootstrap.log"
    options = [f"--cache-dir={packages.resolve()}", f"--include={','.join(BASE_PACKAGES)}"]
    source = [mirror] if mirror else []
    # In namespaces of its own: what debootstrap mounts and starts goes when it goes, however.
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    command = [*alone, "debootstrap", "--force-check-gpg", "--variant=minbase", *options]
    with log.open("w") as output:
        done = run([*command, SUITE, str(tree), *source], log=output, check=False)
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise StiefelError(
            f"debootstrap of {SUITE} failed: {' '.join(last)}",
            hint=f"see {log}; --debian-mirror chooses another mirror",
        )


def packaged_tree(tree: Path, packages: Sequence[str], *, cache: Path, mirror: str | None) -> None:
    """Make a tree that is the base and `packages`, unless there is just that already.

    It is made beside its place, so that after an interruption there is either none or a whole one.
    """
    recipe = "\n".join((SUITE, *BASE_PACKAGES, *packages)) + "\n"
    if (tree / _RECIPE).exists() and (tree / _RECIPE).read_text() == recipe:
        say(f"{tree.name}: its packages are as they should be")
        return
    new = tree.with_suffix(".new")
    files.make_folder(cache)
    files.make_folder(tree.parent)
    base_tree(new, cache=cache, mirror=mirror)
    with step(f"{tree.name}: install {len(packages)} packages and what they need"):
        install(new, packages, cache=cache)
    with step(f"{tree.name}: compile Python's library"):
        libraries = (f"/{path.relative_to(new)}" for path in new.glob("usr/lib/python3.*"))
        compile_python(new, "/usr/lib/python3", *libraries)
    files.write(new / _RECIPE, recipe)
    remove_tree(tree)
    new.rename(tree)


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
) -> str:
    """Run a program inside `tree` and return its output; `binds` maps host folders into it."""
    options = [
        f"--bind={str(source.resolve()).replace(':', chr(92) + ':')}:{target}"
        for source, target in (binds or {}).items()
    ]
    options += [f"--setenv={name}={value}" for name, value in (env or {}).items()]
    options += ["--quiet", "--pipe", "--resolv-conf=replace-host", f"--directory={tree}"]
    return run(["systemd-nspawn", *_unregistered(), *options, *argv], text=text).stdout


def boot_command(tree: Path) -> list[str]:
    """The argv that boots `tree` in a container, with a console; changes in it are forgotten."""
    options = ["--boot", "--volatile=overlay", "--private-network", f"--directory={tree}"]
    return ["systemd-nspawn", *_unregistered(), *options]


def _unregistered() -> list[str]:
    """systemd-nspawn's options for a container that nobody else has to know, with a name of its
    own; where PID 1 is not systemd, there is nobody who would make a unit for it."""
    options = ["--register=no", f"--machine=stiefel-{os.getpid()}"]
    return options if Path("/run/systemd/system").is_dir() else [*options, "--keep-unit"]


def install(tree: Path, packages: Sequence[str], *, cache: Path) -> None:
    """Install packages inside `tree`; what is downloaded is kept in the cache."""
    archives = cache / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    inside = {archives: "/var/cache/apt/archives"}
    # INITRD=No: a kernel makes no initrd now; who wants one asks for it when all is in place.
    noninteractive = {"DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"}
    nspawn(tree, ["apt-get", "update", "--quiet"], env=noninteractive)
    options = ["--quiet", "--yes", "--no-install-recommends"]
    options += ["-o", "APT::Keep-Downloaded-Packages=true", "-o", "Dpkg::Options::=--force-confold"]
    nspawn(tree, ["apt-get", "install", *options, *packages], binds=inside, env=noninteractive)


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
    if tree.exists():
        run(["rm", "--recursive", "--force", "--one-file-system", "--", tree])
