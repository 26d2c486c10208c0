"""A source of a module, as several tests need it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from stiefelsystem.host.sources import Result, Source

DIGEST = "0123456789abcdef" * 4
CONTENT = os.urandom(300_000)
KERNEL = "6.12.0-test"
RESULT = Result(file=Path("fan"), to=Path("/usr/sbin/fan"))


def source_at(url: str, content: bytes = CONTENT) -> Source:
    return Source(url=url, sha256=hashlib.sha256(content).hexdigest(), results=(RESULT,))
