"""Checks of config.yaml's single values: each returns the value, or raises what is wrong."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from stiefelsystem.schema import Invalid, Rule, did_you_mean, printable


def _cmdline(text: str) -> str:
    # Lines as in a YAML block: to the kernel, a line break is a blank like any other.
    return printable(" ".join(line.strip() for line in text.splitlines()).strip())


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise Invalid("is not an absolute path", hint="write it with all folders, from / on")
    return _without_dots(text)


def _without_dots(text: str) -> str:
    if ".." in PurePosixPath(text).parts:
        raise Invalid("contains '..'", hint="write the path that is really meant")
    return printable(text)


def _block(text: str) -> str:
    """A block device, which will stand on a kernel cmdline, where a blank ends a word."""
    if re.search(r"[\s\"']", text):
        raise Invalid("contains a blank or a quote", hint="udev's links in /dev/disk have none")
    return _absolute(text)


def disk(text: str) -> str:
    if PurePosixPath("/dev") not in PurePosixPath(_block(text)).parents:
        raise Invalid("is not below /dev", hint="ls -l /dev/disk/by-id shows the disks")
    return text


def _pattern(text: str) -> str:
    if text.startswith("/"):
        raise Invalid("is not relative to the boot partition", hint="leave out the leading /")
    if text.count("*") > 1:
        raise Invalid("contains more than one *")
    return _name(text)


def _name(text: str) -> str:
    """A path below some folder, and not that folder itself."""
    if PurePosixPath(text).is_absolute():
        raise Invalid("is not a relative path", hint="leave out the leading /")
    if not PurePosixPath(text).parts:
        raise Invalid("is not the name of a file")
    return _without_dots(text)


def _folder(text: str) -> str:
    if text.startswith("~"):
        raise Invalid("does not stand for your home here", hint="write the path without ~")
    if text == "" or PurePosixPath(text) == PurePosixPath("/"):
        raise Invalid("is not a folder of its own")
    return printable(text)


def _mac(text: str) -> str:
    mac = text.lower().replace("-", ":")
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
        raise Invalid("is not a MAC address", hint="such as 00:11:22:aa:bb:cc; ip link shows them")
    return mac


def package(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", text):
        raise Invalid(
            "is not a Debian package's name",
            hint="two or more of a-z 0-9 + - . and the first one a letter or digit",
        )
    return text


def command(text: str) -> str:
    try:
        words = shlex.split(printable(text))
    except ValueError as error:
        raise Invalid(f"is not a command: {str(error).lower()}") from error
    if not words or not words[0]:
        raise Invalid("is not a command", hint="such as zstd -T0 -18")
    return text


def password(text: str) -> str:
    if not text:
        raise Invalid("is empty", hint="null: nobody logs in with a password")
    return printable(text)


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise Invalid("is not a SHA-256", hint="64 hex digits, as sha256sum prints them")
    return text.lower()


def relative(text: str) -> str:
    """A path, or glob, below some folder."""
    return _name(text)


def choice_or_file(choices: tuple[str, ...], suffix: str) -> Callable[[str], str]:
    """One of `choices`, or the path of a file whose name ends in `suffix`."""

    def check(text: str) -> str:
        if text not in choices and not text.endswith(suffix):
            one_of = f"choose one of: {', '.join(choices)}, or the path of a {suffix} file"
            hint = did_you_mean(text, choices, otherwise=one_of)
            raise Invalid("is not a valid choice", hint=hint)
        return printable(text)

    return check


def _source_url(text: str) -> str:
    if not text or re.search(r"\s", text):
        raise Invalid("is not a URL")
    try:
        parts = urlsplit(printable(text))
    except ValueError as error:  # such as [ without ]
        raise Invalid(f"is not a URL: {error}") from error
    if "@" in parts.netloc:
        raise Invalid("has a user's name in it", hint="file:///… takes a copy on this machine")
    remote = parts.scheme in {"https", "http"} and parts.hostname
    local = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    if not (remote or local):
        raise Invalid("is not a URL to download", hint="https://…, http://… or file:///…")
    return text


def between(low: int, high: int) -> Callable[[int], int]:
    def check(number: int) -> int:
        if not low <= number <= high:
            raise Invalid(f"is not within {low} and {high}")
        return number

    return check


Absolute = Annotated[Path, Rule(_absolute)]
Block = Annotated[Path, Rule(_block)]
Cmdline = Annotated[str, Rule(_cmdline)]
Folder = Annotated[Path, Rule(_folder)]
Glob = Annotated[str, Rule(_absolute)]
Mac = Annotated[str, Rule(_mac, literal=True)]
Name = Annotated[Path, Rule(_name)]
Package = Annotated[str, Rule(package, literal=True)]
Pattern = Annotated[str, Rule(_pattern)]
Sha256 = Annotated[str, Rule(_sha256, literal=True)]
SourceUrl = Annotated[str, Rule(_source_url)]
