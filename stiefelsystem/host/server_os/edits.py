"""Edits to the files that network managers have one of: text in, text out, once.

What is there already is not added again, and nothing else is changed by a byte: with CRLF, without
a newline at the end, with several sections of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

# What is there, our rule, and the names that it is about.
Edit = Callable[[str, str, Sequence[str]], str]

# Whatever comes behind one of these in dhcpcd.conf(5) is about some interfaces only.
_DHCPCD_BLOCKS = ("interface", "profile", "ssid")
_CONNMAN_GROUP = "[General]"
_CONNMAN_LIST = re.compile(r"\s*NetworkInterfaceBlacklist\s*=")
# Where interfaces(5) names what `ifup -a` brings up; a pattern there has a slash.
_AT_BOOT = ("auto", "allow-auto")


def dhcpcd(text: str, rule: str, names: Sequence[str]) -> str:
    """dhcpcd.conf with the rule at its head, unless it denies these interfaces already."""
    denied: list[str] = []
    for line in text.split("\n"):
        word, *patterns = line.split(maxsplit=1) or [""]
        if word in _DHCPCD_BLOCKS:
            break
        if word == "denyinterfaces":
            denied += re.split("[, ]", "".join(patterns).rstrip())
    if all(any(fnmatchcase(name, pattern) for pattern in denied) for name in names):
        return text
    return rule + text


def connman(text: str, rule: str, names: Sequence[str]) -> str:
    """connman's main.conf with these names in its list of interfaces to leave alone.

    Without a list of the user's, the rule's takes the place of the built-in one. The format is that
    of GKeyFile: groups of one name are one, and the last of equal keys counts.
    """
    lines = text.split("\n")
    header = found = None
    group = ""
    for number, line in enumerate(lines):
        if line.lstrip().startswith("["):
            group = line.strip()
            if group == _CONNMAN_GROUP and header is None:
                header = number
        elif group == _CONNMAN_GROUP and _CONNMAN_LIST.match(line):
            found = number
    if found is not None:
        lines[found] = _extended(lines[found], names)
    elif header is not None:
        (listed,) = (line for line in rule.split("\n") if _CONNMAN_LIST.match(line))
        # A header that ends the file without a newline gets one.
        lines.insert(header + 1, listed)
    else:
        return _on_lines_of_its_own(text) + rule
    return "\n".join(lines)


def _extended(line: str, names: Sequence[str]) -> str:
    """A line with a list of the beginnings of names."""
    body = line.rstrip()
    entries = [entry.strip() for entry in body.partition("=")[2].split(",")]
    begun = tuple(entry for entry in entries if entry)
    missing = [name for name in names if not name.startswith(begun)]
    if not missing:
        return line
    comma = "," if begun and not body.endswith(",") else ""
    return body + comma + ",".join(missing) + line[len(body) :]


def interfaces(text: str, rule: str, names: Sequence[str]) -> str:
    """ifupdown's interfaces(5) with the rule at its head, unless it has these interfaces."""
    defined = {words[1] for words in _stanzas(text) if words[0] == "iface" and len(words) > 1}
    return text if defined.issuperset(names) else rule + text


def reads(text: str, path: str, *, of: str) -> bool:
    """Whether the interfaces(5) file `of`, with this text, takes in the file `path` as well, and
    before anything of its own that may match every interface.

    Of the shell's patterns, those that are common; where others are used, it says no.
    """
    file, base = PurePosixPath(path), PurePosixPath(of).parent
    for word, *patterns in _stanzas(text):
        for pattern in patterns:
            if word in _AT_BOOT and "/" in pattern:
                return False
            whole = str(base / pattern)
            if word == "source" and file.match(whole):
                return True
            if word == "source-directory" and file.parent.match(whole):
                return True
    return False


def _stanzas(text: str) -> Iterator[list[str]]:
    """The words of each line; a line that ends in a backslash goes on, a comment does not."""
    whole = ""
    for line in text.split("\n"):
        if not whole and line.lstrip().startswith("#"):
            continue
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        if words := whole.split():
            yield words
        whole = ""


def _on_lines_of_its_own(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"
