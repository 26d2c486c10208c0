"""What makes a run of a target quick, and each one like the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from stiefelsystem import framing


class _AtOnce(Executor):
    """Does what it is given in the caller's own thread."""

    def __init__(self, _threads: int) -> None:
        pass

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


def without_threads() -> AbstractContextManager[object]:
    """Frames are sealed and opened one after the other, as long as the block runs."""
    return mock.patch.object(framing, "ThreadPoolExecutor", _AtOnce)
