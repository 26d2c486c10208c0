"""Tests in a network, or with mounts, of their own, where they may do what only root may, and
disturb nobody."""

from __future__ import annotations

import ctypes
import functools
import os
import pickle
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import capabilities

# linux/sched.h
_NEW_MOUNTS, _NEW_USER, _NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000
_SECONDS = 120


def in_own_network(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own, in an empty network namespace."""
    return _in_namespace(test, _NEW_NETWORK)


def in_own_mounts(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own, whose mounts nobody else sees."""

    def privately(*args: Any, **kwargs: Any) -> None:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        test(*args, **kwargs)

    return _in_namespace(functools.wraps(test)(privately), _NEW_MOUNTS)


def _in_namespace(test: Callable[..., None], kind: int) -> Callable[..., None]:
    @functools.wraps(test)
    def in_child(*args: Any, **kwargs: Any) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run(lambda: test(*args, **kwargs), kind, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        assert said, f"the test's process ended with status {status}"
        outcome, text = pickle.loads(said)
        if outcome == "skipped":
            capabilities.require(False, text)
        if outcome != "passed":
            pytest.fail(text, pytrace=False)

    return in_child


def link(name: str, *addresses: str) -> int:
    """A link in the test's network, with link-local addresses; returns its index."""
    for words in (
        ["link", "set", "lo", "up"],
        ["link", "add", "name", name, "type", "bridge"],
        ["link", "set", name, "up"],
        *(["address", "add", f"{one}/64", "dev", name, "nodad"] for one in addresses),
    ):
        subprocess.run(["ip", *words], check=True, capture_output=True)
    return socket.if_nametoindex(name)


def _run(test: Callable[[], None], kind: int, writing: int) -> None:
    """The whole life of the test's process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_SECONDS)
    result = "passed", ""
    try:
        problem = _enter(kind)
        if problem:
            result = "skipped", problem
        else:
            test()
    except pytest.skip.Exception as reason:
        result = "skipped", str(reason)
    except BaseException:
        result = "failed", traceback.format_exc()
    with os.fdopen(writing, "wb") as pipe:
        pickle.dump(result, pipe)
    os._exit(0)


def _enter(kind: int) -> str:
    """Go into a namespace; why that is not possible."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(kind | (_NEW_USER if user else 0)):
        return f"cannot make a namespace: {os.strerror(ctypes.get_errno())}"
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    return ""
