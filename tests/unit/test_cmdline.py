"""Kernel command lines: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stiefelsystem import cmdline
from stiefelsystem.cmdline import Link, ServerSettings, encode, inner
from stiefelsystem.console import StiefelError

SETTINGS = ServerSettings(
    disk=Path("/dev/disk/by-id/nvme-X_1"),
    part=Path("/dev/disk/by-uuid/12-AB"),
    kernel="vmlinuz-*",
    initrd="initrd.img-*",
    cmdline='root=/dev/sda2 quiet dyndbg="file a +p"',
)
WORDS = (
    "stiefel_bootdisk=/dev/disk/by-id/nvme-X_1 stiefel_bootpart=/dev/disk/by-uuid/12-AB "
    "stiefel_kernel=vmlinuz-* stiefel_initrd=initrd.img-* "
    "stiefel_cmdline=cm9vdD0vZGV2L3NkYTIgcXVpZXQgZHluZGJnPSJmaWxlIGEgK3Ai"
)

words_of_paths = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="\"'/"), min_size=1
).filter(lambda name: name not in (".", ".."))


def test_words() -> None:
    """As they have stood on command lines before: a former ramdisk must read them, too."""
    assert SETTINGS.words() == WORDS


def test_roundtrip() -> None:
    line = f"BOOT_IMAGE=/x {cmdline.SERVER_UNIT} {SETTINGS.words()} quiet --"
    assert ServerSettings.parse(line) == SETTINGS


@given(disk=words_of_paths, part=words_of_paths, kernel=words_of_paths, text=st.text())
def test_roundtrip_of_anything(disk: str, part: str, kernel: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # no text that a configuration file can hold
    settings = ServerSettings(
        disk=Path("/dev") / disk,
        part=Path("/dev") / part,
        kernel=kernel,
        initrd="sub/folder=x",
        cmdline=text,
    )
    assert ServerSettings.parse(settings.words()) == settings


@pytest.mark.parametrize("name", ["stiefel_bootdisk", "stiefel_bootpart"])
def test_missing_word(name: str) -> None:
    for line in (
        WORDS.replace(name, "other"),
        f"{WORDS} {name}=",
        WORDS.replace(f"{name}=", name),
    ):
        with pytest.raises(StiefelError) as caught:
            ServerSettings.parse(line)
        assert str(caught.value) == f"kernel command line: {name}= is missing"
        assert "stiefel-autokexec" in caught.value.hint


def test_nothing() -> None:
    with pytest.raises(StiefelError, match="stiefel_bootdisk= is missing"):
        ServerSettings.parse("")


@pytest.mark.parametrize("extra", ["", "stiefel_kernel= stiefel_initrd= stiefel_cmdline="])
def test_defaults(extra: str) -> None:
    settings = ServerSettings.parse(f"stiefel_bootdisk=/dev/a stiefel_bootpart=/dev/b {extra}")
    assert (settings.kernel, settings.initrd) == ("vmlinuz-*", "initrd.img-*")
    assert settings.cmdline == ""


BAD_BASE64 = [
    "x",
    "====",
    "YQ",
    "YQ=",
    "Y\u00e4Q=",
    "YQ==!",
    "a.b=",
    "//79",
    "gICA",
]


@pytest.mark.parametrize("word", BAD_BASE64)
def test_bad_base64(word: str) -> None:
    line = f"stiefel_bootdisk=/dev/a stiefel_bootpart=/dev/b stiefel_cmdline={word}"
    message = "kernel command line: stiefel_cmdline is not base64: "
    with pytest.raises(StiefelError) as caught:
        ServerSettings.parse(line)
    assert str(caught.value) == message + word
    with pytest.raises(StiefelError, match="stiefel_innercmdline is not base64"):
        inner(f"stiefel_innercmdline={word}")


def test_last_word_wins() -> None:
    line = f"{SETTINGS.words()} stiefel_bootdisk=/dev/other stiefel_cmdline={encode('single')}"
    settings = ServerSettings.parse(line)
    assert settings.disk == Path("/dev/other")
    assert settings.part == SETTINGS.part
    assert settings.cmdline == "single"


@pytest.mark.parametrize("field", ["disk", "part", "kernel", "initrd"])
@pytest.mark.parametrize(
    "blank", [" ", "\t", "\n", "\u00a0", "\u2003", "\0", "\x1b", '"', "'", "\x85"]
)
def test_blanks_are_refused(field: str, blank: str) -> None:
    value = f"/dev/a{blank}b"
    made = {
        name: getattr(SETTINGS, name) for name in ("disk", "part", "kernel", "initrd", "cmdline")
    }
    made[field] = Path(value) if field in ("disk", "part") else value
    with pytest.raises(StiefelError) as caught:
        ServerSettings(**made).words()
    name = {"disk": "stiefel_bootdisk", "part": "stiefel_bootpart"}.get(field, f"stiefel_{field}")
    assert str(caught.value) == f"{name}: {value!r} cannot stand on a kernel command line"


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@example("???>>>")  # with + and / in the usual base64
def test_inner(text: str) -> None:
    word = encode(text)
    assert re.fullmatch(r"[A-Za-z0-9_-]*=*", word)
    assert inner(f"{cmdline.CLIENT_UNIT} stiefel_innercmdline={word} quiet") == text


def test_inner_is_optional() -> None:
    assert inner("") == inner("quiet stiefel_innercmdline") == inner("stiefel_innercmdline=") == ""


def test_inner_last_word_wins() -> None:
    line = f"stiefel_innercmdline={encode('a')} stiefel_innercmdline={encode('b c')}"
    assert inner(line) == "b c"


def test_link() -> None:
    link = Link(
        mac="52:54:00:00:00:01",
        address="fe80::2",
        server="fe80::1",
        port=10809,
        export="disk",
        sector_size=4096,
    )
    assert link.words() == (
        "stiefel_link=52:54:00:00:00:01 stiefel_address=fe80::2 stiefel_server=fe80::1 "
        "stiefel_port=10809 stiefel_export=disk stiefel_sector=4096"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mac", "52:54:00:00:00:0G"),
        ("address", "fe80::2 init=/bin/sh"),
        ("address", ""),
        ("server", "fe80::1\n"),
        ("server", ["fe80::1"]),
        ("port", True),
        ("port", -1),
        ("port", 1.5),
        ("export", None),
        ("export", "disk\u20ac"),
        ("sector_size", float("inf")),
    ],
)
def test_link_refuses_what_the_hook_would(field: str, value: Any) -> None:
    good = {"mac": "0:1", "address": "fe80::2", "server": "fe80::1"}
    good |= {"port": 1, "export": "disk", "sector_size": 512}
    assert Link(**good).words()
    with pytest.raises(StiefelError, match="is not what the target's hook takes"):
        Link(**{**good, field: value}).words()


def test_running() -> None:
    assert cmdline.running() == Path("/proc/cmdline").read_text().strip()
