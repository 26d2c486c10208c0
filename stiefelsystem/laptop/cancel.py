"""How a countdown is cancelled: whoever connects to its socket says no.

The socket is there as long as the countdown. Everyone on this machine may use it: it is their work
that would end, and ten seconds are not the time for a password.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from stiefelsystem.console import StiefelError

_NAME = "cancel"
_ANSWER = b"cancelled\n"
# How long the countdown may take to answer: it may be looking for inhibitors just then.
_TIMEOUT = 20.0
# socket(7), SO_PEERCRED: pid, uid, gid.
_CREDENTIALS = struct.Struct("=iII")


class Cancelled(StiefelError):
    """Somebody has said no."""


class Listener:
    """The countdown's end of it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        # What a killed program has left; that we are alone here, a lock has shown.
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._path))
        os.chmod(self._path, 0o666)
        self._socket.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def raise_if_asked(self) -> None:
        """Raise `Cancelled` if somebody has asked for it."""
        try:
            asker, _ = self._socket.accept()
        except BlockingIOError:
            return
        with asker:
            credentials = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _, user, _ = _CREDENTIALS.unpack(credentials)
            with suppress(OSError):  # who is gone again has said no all the same
                asker.send(_ANSWER, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        raise Cancelled(f"cancelled by {_name(user)}")


def ask(folder: Path) -> bool:
    """Cancel the countdown that runs; False if there is none, or it is too late."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(_TIMEOUT)
        try:
            asker.connect(str(folder / _NAME))
            return asker.recv(len(_ANSWER)) == _ANSWER
        except (FileNotFoundError, ConnectionError):
            return False
        except TimeoutError as error:
            raise StiefelError(
                f"the countdown has not answered within {_TIMEOUT:g} s",
                hint="end it: systemctl stop stiefel-autokexec",
            ) from error


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
