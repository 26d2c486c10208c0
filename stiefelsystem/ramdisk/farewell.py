"""The end of a session, as the desktop's keeper says it when all is flushed.

By UDP, over the link or the tunnel: 32 bytes that only the two ends of this session know, said
until they are answered by 32 others. Each is of use once; so nothing else has to prove it.
"""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from stiefelsystem.ramdisk.exchange import Secrets

PORT = 61571
_LOOK_SECONDS = 0.5
_MAX_SIZE = 64


class Farewell:
    """Listens for the end of one session, at `address` on one interface, until `close`.

    `ended` is called when it has been said, in a thread of its own, until it returns True: then
    everything is on the medium, and only then it is confirmed, as often as it is said again.
    """

    def __init__(
        self, address: str, ifindex: int, secrets: Secrets, ended: Callable[[], bool]
    ) -> None:
        self._secrets = secrets
        self._ended = ended
        self._confirmed = False
        self._closed = threading.Event()
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.settimeout(_LOOK_SECONDS)
        try:
            self._socket.bind((address, PORT, 0, ifindex))
        except OSError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _listen(self) -> None:
        with self._socket:
            while not self._closed.is_set():
                with suppress(OSError):  # nothing came; or it is gone, and comes back
                    data, sender = self._socket.recvfrom(_MAX_SIZE)
                    if hmac.compare_digest(data, self._secrets.end):
                        self._confirmed = self._confirmed or self._ended()
                        if self._confirmed:
                            self._socket.sendto(self._secrets.ended, sender)
