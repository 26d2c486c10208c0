"""Sources of modules: what may stand in a module's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem import schema
from stiefelsystem.console import StiefelError
from stiefelsystem.host.sources import Source
from tests.unit.a_source import DIGEST, KERNEL, RESULT


def read(text: str) -> Source:
    return schema.read(text, Source, name="module.yaml")


def refusal(text: str) -> tuple[str, str]:
    with pytest.raises(StiefelError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith("module.yaml:")
    return message.removeprefix("module.yaml:"), caught.value.hint


def test_a_whole_source() -> None:
    source = read(f"""\
url: https://example.org/r8152-2.20.1.tar.gz
sha256: {DIGEST.upper()}
build:
  - make -C /lib/modules/{{kernel}}/build M=$PWD modules
  - strip --strip-debug r8152.ko
packages: [bc]
kernel-headers: true
results:
  - file: r8152.ko
    to: /usr/lib/modules/{{kernel}}/updates/r8152.ko
""")
    assert source.sha256 == DIGEST
    assert source.build[0] == "make -C /lib/modules/{kernel}/build M=$PWD modules"
    assert source.kernel_headers
    (result,) = source.results
    assert result.place(KERNEL) == Path(f"usr/lib/modules/{KERNEL}/updates/r8152.ko")


def test_a_source_without_a_url_waits_for_that_of_the_configuration() -> None:
    source = read("results: [{file: fan, to: /usr/sbin/fan}]\n")
    assert source == Source(results=(RESULT,))
    assert source.build == ("make",)


def test_a_source_in_a_folder_of_ours() -> None:
    source = read("folder: nbd-hook/keeper\nresults: [{file: fan, to: /usr/sbin/fan}]\n")
    assert source == Source(folder="nbd-hook/keeper", results=(RESULT,))


def test_a_digest_of_digits_alone_is_not_a_number() -> None:
    text = f"url: file:///x\nsha256: {'1' * 64}\nresults: [{{file: fan, to: /usr/sbin/fan}}]\n"
    assert read(text).sha256 == "1" * 64


URL = f"url: https://example.org/x\nsha256: {DIGEST}\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("url: https://example.org/x\n", "1: url: a url needs the sha256", "sha256sum"),
        (URL, "1: results: a source needs results", "the files that"),
        ("folder: a\n", "1: results: a source needs results", "the files that"),
        (URL + "folder: a\n", "3: folder: a source is at a url or in a folder, not in both", ""),
        ("folder: ../a\n", "'../a' contains '..'", ""),
        ("folder: /a\n", "'/a' is not a relative path", ""),
        ("url: ftp://example.org/x\n", "'ftp://example.org/x' is not a URL to", "https://"),
        ("url: /home/x.tar\n", "'/home/x.tar' is not a URL to", "file:///"),
        ("url: file://x.tar\n", "'file://x.tar' is not a URL to", "file:///"),
        ("url: https:///x\n", "'https:///x' is not a URL to", "https://"),
        ("url: https://[::1/x\n", "'https://[::1/x' is not a URL: ", ""),
        ("url: https://me:pw@example.org/x\n", "has a user's name in it", "file:///"),
        ("url: 'https://example.org/a b'\n", "is not a URL", ""),
        ("sha256: 1234\n", "1: sha256: 1234 is not a SHA-256", "64 hex digits"),
        (f"sha256: {DIGEST}0\n", "is not a SHA-256", "64 hex digits"),
        ("build: make\n", "1: build: 'make' is not a list", "write [make]"),
        ("build: ['make \"x']\n", "build[0]: 'make \"x' is not a command", ""),
        ("packages: [Linux]\n", "packages[0]: 'Linux' is not a Debian package's name", ""),
        ("kernel_headers: true\n", "kernel_headers: unknown key", "kernel-headers"),
        ("results: [{file: fan}]\n", "results[0].to: is missing", ""),
        ("results: [{file: ../fan, to: /usr/fan}]\n", "'../fan' contains '..'", ""),
        ("results: [{file: /fan, to: /usr/fan}]\n", "'/fan' is not a relative path", ""),
        ("results: [{file: fan, to: usr/fan}]\n", "'usr/fan' is not an absolute path", ""),
        ("results: [{file: fan, to: /usr/../x}]\n", "'/usr/../x' contains '..'", ""),
        ("results: [{file: fan, to: /fan}]\n", "results[0].to: '/fan' is not a file in a f", ""),
        ("results: [{file: fan, to: /}]\n", "'/' is not a file in a folder", "/usr/bin"),
        ("results: [{file: fan, to: /bin/fan}]\n", "/bin is a link to", "write /usr/bin/fan"),
        (
            "results: [{file: fan, to: '/usr/{version}/fan'}]\n",
            "'/usr/{version}/fan' has a placeholder",
            "{kernel}",
        ),
        (
            "results: [{file: a, to: /usr/x}, {file: b, to: /usr/x/b}]\n",
            "results: '/usr/x/b' is in the way of another result",
            "",
        ),
    ],
)
def test_refused(text: str, message: str, hint: str) -> None:
    said, hinted = refusal(text)
    assert message in said
    assert hint in hinted
