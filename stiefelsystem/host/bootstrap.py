"""A new Debian tree, by mmdebstrap where the machine has it (it is faster), else by debootstrap."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from stiefelsystem.console import StiefelError
from stiefelsystem.run import run

SUITE = "trixie"
COMPONENTS = ("main", "non-free-firmware")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


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


def bootstrap(
    tree: Path, packages: Sequence[str], *, archives: Path, log: Path, mirror: str | None
) -> None:
    """Make `tree`: Debian's required packages, apt, and `packages`. Downloads are kept in
    `archives`, where earlier ones are found again; the tool's output goes to `log`."""
    by_mmdebstrap = shutil.which("mmdebstrap") and shutil.which("apt-get")
    command = _mmdebstrap if by_mmdebstrap else _debootstrap
    # In namespaces of its own: what is mounted and started there goes when it goes, however.
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = [*alone, *command(tree, packages, archives.resolve(), mirror)]
    with log.open("w") as output:
        done = run(argv, log=output, check=False, env={"STIEFEL_ARCHIVES": str(archives.resolve())})
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise StiefelError(
            f"making a {SUITE} tree failed: {' '.join(last)}",
            hint=f"see {log}; --debian-mirror chooses another mirror",
        )


def _debootstrap(
    tree: Path, packages: Sequence[str], archives: Path, mirror: str | None
) -> list[str]:
    options = [f"--components={','.join(COMPONENTS)}", f"--cache-dir={archives}"]
    options += ["--force-check-gpg", "--variant=minbase", f"--include={','.join(packages)}"]
    return ["debootstrap", *options, SUITE, str(tree), *([mirror] if mirror else [])]


def _mmdebstrap(
    tree: Path, packages: Sequence[str], archives: Path, mirror: str | None
) -> list[str]:
    options = [f"--components={','.join(COMPONENTS)}", "--mode=root", "--format=directory"]
    options += ["--variant=minbase", f"--include={','.join(packages)}"]
    options += [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
    # As in its manual: the cache is copied in, and what was downloaded is copied out. The hooks
    # get the tree as $1, and our environment.
    inside = '"$1/var/cache/apt/archives"'
    options += [
        "--skip=download/empty,essential/unlink,cleanup/apt/cache,cleanup/apt/lists",
        f'--setup-hook=mkdir -p {inside}; cp "$STIEFEL_ARCHIVES"/*.deb {inside} || true',
        f'--customize-hook=cp -n {inside}/*.deb "$STIEFEL_ARCHIVES" || true',
        f"--customize-hook=rm -f {inside}/*.deb",
    ]
    return ["mmdebstrap", *options, SUITE, str(tree), *([mirror] if mirror else [])]
