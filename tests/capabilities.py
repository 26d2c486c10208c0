"""What this machine can do, asked of the machine itself."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def require(condition: bool, reason: str) -> None:
    """Skip the test with the reason; in CI, where everything has to be there, fail."""
    if not condition:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def require_tools(*names: str) -> None:
    """The programs that a test runs."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for name in names:
        require(shutil.which(name, path=path) is not None, f"{name} is not installed")


def require_root() -> None:
    """Namespaces, trees and images with foreign owners need root."""
    require(os.geteuid() == 0, "needs root")


def require_namespaces() -> None:
    """Network namespaces and veth pairs, tried out."""
    require_root()
    require_tools("ip")
    name = f"stiefel-probe-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    require(tried.returncode == 0, f"cannot make network namespaces: {tried.stderr.decode()}")


def as_root_of_a_namespace(*kinds: str) -> list[str]:
    """The argv before that of a program which is to be root in namespaces of its own, of these
    kinds (unshare(1)): `--mount`, `--net`."""
    require_tools("unshare")
    # Who is root already needs no namespace for that; and in a chroot there is none to be had.
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, *kinds, "--"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    require(tried.returncode == 0, f"cannot make namespaces: {tried.stderr.decode()}")
    return command
