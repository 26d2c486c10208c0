"""GRUB's environment block: variables in a file of fixed size, by default 1024 bytes."""

from __future__ import annotations

import re

_HEADER = b"# GRUB Environment Block\n"


def read(data: bytes) -> dict[str, str]:
    """An environment block, as grub-editenv(1) makes it: lines of `name=value`, filled up with #.

    What is no such block has no variables; GRUB refuses it, too.
    """
    if not data.startswith(_HEADER):
        return {}
    text = data.removeprefix(_HEADER).decode("utf-8", errors="replace")
    found = {}
    for match in re.finditer(r"((?:\\.?|[^\\\n])*+)\n?", text, re.S):  # \ keeps a line end
        name, separator, value = match[1].partition("=")
        if separator and not name.startswith("#"):
            found[name] = re.sub(r"\\(.)", r"\1", value, flags=re.S)
    return found
