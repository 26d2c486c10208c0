"""Kernel command lines: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stiefelsystem import cmdline
from stiefelsystem.cmdline import ServerSettings, encode, inner
from stiefelsystem.console import StiefelError

SETTINGS = ServerSettings(
    disk=Path("/dev/disk/by-id/nvme-X_1"),
    part=Path("/dev/disk/by-uuid/12-AB"),
    kernel="vmlinuz-*",
    initrd="initrd.img-*",
    cmdline='root=/dev/sda2 quiet dyndbg="file a +p"',
)
FORMER_WORDS = (
    "stiefel_bootdisk=/dev/disk/by-id/nvme-X_1 stiefel_bootpart=/dev/disk/by-uuid/12-AB "
    "stiefel_kernel=vmlinuz-* stiefel_initrd=initrd.img-* "
    "stiefel_cmdline=cm9vdD0vZGV2L3NkYTIgcXVpZXQgZHluZGJnPSJmaWxlIGEgK3Ai"
)
WORDS = (
    f"{FORMER_WORDS} stiefel_encryption=wireguard stiefel_after=reboot "
    "stiefel_wait=600 stiefel_swap=no"
)

words_of_paths = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="\"'/"), min_size=1
).filter(lambda name: name not in (".", ".."))


def test_words() -> None:
    """As they have stood on command lines before: a former ramdisk must read them, too."""
    assert SETTINGS.words() == WORDS
    assert ServerSettings.parse(FORMER_WORDS) == SETTINGS


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


SERVING = {"encryption": "none", "after": "poweroff", "wait": 1, "swap": True}


def test_several_initrds() -> None:
    settings = replace(SETTINGS, initrd="ucode.img,initrd.img-*")
    assert settings.initrds == ("ucode.img", "initrd.img-*")
    assert ServerSettings.parse(settings.words()) == settings
    assert SETTINGS.initrds == ("initrd.img-*",)


def test_how_it_serves() -> None:
    settings = replace(SETTINGS, **SERVING)
    assert ServerSettings.parse(settings.words()) == settings
    assert {name: getattr(settings, name) for name in SERVING} == SERVING
    assert "stiefel_after=poweroff" in settings.words().split()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("encryption=wiregard", "stiefel_encryption=wiregard is none of wireguard, none"),
        ("encryption=None", "is none of wireguard, none"),
        ("after=halt", "stiefel_after=halt is none of reboot, wait, poweroff"),
        ("swap=true", "stiefel_swap=true is none of no, yes"),
        ("wait=0", "stiefel_wait=0 is no number from 1 to 1000000"),
        ("wait=1000001", "is no number from 1 to 1000000"),
        ("wait=-1", "is no number"),
        ("wait=6e2", "is no number"),
        ("wait=" + "9" * 5000, "is no number"),
        ("wait=\u0663", "is no number"),
    ],
)
def test_how_it_cannot_serve(word: str, message: str) -> None:
    with pytest.raises(StiefelError) as caught:
        ServerSettings.parse(f"{WORDS} stiefel_{word}")
    assert str(caught.value).startswith("kernel command line: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", SERVING)
def test_an_empty_word_is_the_default(name: str) -> None:
    settings = ServerSettings.parse(f"{replace(SETTINGS, **SERVING).words()} stiefel_{name}=")
    assert settings == replace(SETTINGS, **{**SERVING, name: getattr(SETTINGS, name)})


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


def test_target() -> None:
    mac = "52:54:00:00:00:01"
    assert cmdline.target(mac, swap=False) == f"stiefel_link={mac} systemd.swap=0"
    assert cmdline.target(mac, swap=True) == f"stiefel_link={mac}"


def test_running() -> None:
    assert cmdline.running() == Path("/proc/cmdline").read_text().strip()
