"""Get the boot archive from a server that was found: one session, one request, one answer."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import requests
import requests.adapters
import urllib3

from stiefelsystem import keys
from stiefelsystem.console import StiefelError, say
from stiefelsystem.framing import Opener, Sealer
from stiefelsystem.ramdisk import archive, exchange
from stiefelsystem.ramdisk.archive import Received
from stiefelsystem.ramdisk.http import PORT
from stiefelsystem.ramdisk.search import Found

_CONNECT_SECONDS = 5.0
# The server may have to wait for its disk before the first byte of an archive.
_READ_SECONDS = 60.0
_PROGRESS_SECONDS = 1.0


class _NeighbourAdapter(requests.adapters.HTTPAdapter):
    """Requests since 2.32 hands the URL's host to urllib3 without its brackets, so that urllib3
    does not know it for an IPv6 address and leaves the "%25" in it, which no resolver takes."""

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return {**host, "host": f"[{host['host']}]"}, pool


def fetch(key: bytes, found: Found, folder: Path) -> tuple[dict[str, Any], Received]:
    """Open a session and receive kernel, initrd and command line into `folder`, verified.

    Returns the server's answer and the archive. Raises `StiefelError` for whatever the server or
    the link do wrong, and where another client has the disk.
    """
    with requests.Session() as http:
        http.mount("http://", _NeighbourAdapter())
        http.trust_env = False  # no proxy stands between two neighbours
        try:
            session = _open_session(http, keys.subkey(key, keys.SESSION), found)
            return _boot(http, session, found, folder)
        except requests.RequestException as error:
            raise StiefelError(f"the laptop at {found.peer} went away: {error}") from error


def _url(found: Found, path: str) -> str:
    # A link-local address needs its interface, whose "%" a URL writes as "%25" (RFC 6874).
    return f"http://[{found.peer.address}%25{found.peer.interface}]:{PORT}{path}"


def _post(http: requests.Session, url: str, body: bytes) -> requests.Response:
    response = http.post(
        url,
        data=body,
        stream=True,
        timeout=(_CONNECT_SECONDS, _READ_SECONDS),
        allow_redirects=False,
    )
    if response.status_code != 200:
        raise StiefelError(f"the laptop refused the request: HTTP status {response.status_code}")
    return response


def _read(response: requests.Response, size: int) -> bytes:
    try:
        return response.raw.read(size) or b""
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def _open_session(http: requests.Session, key: bytes, found: Found) -> exchange.Keys:
    opening = exchange.Client(key, found.offer)
    with _post(http, _url(found, "/session"), opening.request) as response:
        return opening.finish(_read(response, exchange.ANSWER_SIZE + 1))


def _boot(
    http: requests.Session, session: exchange.Keys, found: Found, folder: Path
) -> tuple[dict[str, Any], Received]:
    body = io.BytesIO()
    with Sealer(body.write, session.to_server) as request:
        request.write(json.dumps({}).encode())
    url = _url(found, f"/boot/{session.id.hex()}")
    with (
        _post(http, url, body.getvalue()) as response,
        Opener(lambda size: _read(response, size), session.to_client) as stream,
    ):
        receiver = archive.Receiver(stream)
        answer = receiver.answer()
        if answer.get("status") == "ok":
            size = answer.get("size")
            progress = _Progress(size if isinstance(size, int) else 0)
            return answer, receiver.files(folder, progress.advance)
        receiver.finish()
    reason, hint = (str(answer.get(name, "")) for name in ("reason", "hint"))
    how = "refuses" if answer.get("status") == "in use" else "cannot serve"
    raise StiefelError(f"the laptop {how}: {reason}", hint=hint)


class _Progress:
    """Says how far it is, about once a second."""

    def __init__(self, total: int) -> None:
        self._total = max(total, 1)
        self._done = 0
        self._started = self._said = time.monotonic()

    def advance(self, size: int) -> None:
        self._done += size
        now = time.monotonic()
        if now - self._said >= _PROGRESS_SECONDS:
            self._said = now
            rate = self._done / (now - self._started) / 1e6
            share = min(100 * self._done // self._total, 100)
            of = f"{share} % of {self._total / 1e6:.0f} MB"
            say(f"receiving: {of}, {rate:.0f} MB/s")
