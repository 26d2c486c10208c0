"""What GRUB makes of the stick's menu and sets, by our own reader of its scripts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stiefelsystem import cmdline
from stiefelsystem.bootloader.grub_condition import Truth, Value
from stiefelsystem.bootloader.grub_menu import Loaded
from stiefelsystem.bootloader.grub_run import Context, Limits
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick import menu
from stiefelsystem.host.stick.layout import EFI_CONFIG, MENU, SETS, in_set
from stiefelsystem.host.stick.menu import Settings
from tests import capabilities

PLAIN = Settings(inner="root=/dev/nbd0 quiet", words="net.ifnames=0", timeout=7)


class Stick(Context):
    """GRUB with the stick as its only disk. It passes over a file that it cannot read."""

    def _exists(self, name: str) -> Truth:
        return self.tree.is_file(Path(name))

    def run_file(self, path: Path) -> None:
        try:
            super().run_file(path)
        except StiefelError:
            assert path.name == "set.cfg"


def grub(folder: Path, sets: dict[str, str | bytes], *, network: bool = False) -> Stick:
    """GRUB when it has read its menu; `sets` are the contents of the sets' `set.cfg`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in {MENU: menu.menu(network=network), **sets}.items():
        path = folder / (name if name == MENU else in_set(name, "set.cfg"))
        path.parent.mkdir(parents=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    stick = Stick(Tree(folder), {"root": "hd0,msdos1"}, Limits())
    stick.run_file(Path("/") / MENU)
    return stick


def valid(name: str, number: int, settings: Settings = PLAIN) -> str:
    return menu.set_config(name, number, settings)


def booted(stick: Stick, entry: int = 0) -> Loaded:
    item = stick.menu[entry]
    assert item.is_certain
    return stick.boot(item.body)


@pytest.mark.parametrize(
    ("numbers", "chosen"),
    [
        ({"a": 1}, "a"),
        ({"b": 1}, "b"),
        ({"a": 1, "b": 2}, "b"),
        ({"a": 3, "b": 2}, "a"),
        ({"a": 10, "b": 9}, "a"),  # as numbers, not as text
        ({"a": 9, "b": 10}, "b"),
        ({"a": 4, "b": 4}, "a"),
    ],
)
def test_newer_set_is_booted(tmp_path: Path, numbers: dict[str, int], chosen: str) -> None:
    stick = grub(tmp_path / "s", {name: valid(name, number) for name, number in numbers.items()})
    loaded = booted(stick)
    assert loaded.kernel == f"/stiefelsystem/{chosen}/vmlinuz"
    assert loaded.initrds == tuple(
        f"/stiefelsystem/{chosen}/{name}" for name in ("initrd.img", "key.cpio")
    )
    assert stick.variables["timeout"] == "7"
    assert stick.variables["default"] == "0"


def test_words(tmp_path: Path) -> None:
    words = [str(word) for word in booted(grub(tmp_path / "s", {"a": valid("a", 1)})).words]
    assert words[:2] == ["console=ttyS0,115200", "console=tty0"]
    assert cmdline.inner(" ".join(words)) == "root=/dev/nbd0 quiet"
    assert {"net.ifnames=0", cmdline.CLIENT_UNIT, "quiet"} <= set(words)


def test_entries(tmp_path: Path) -> None:
    stick = grub(tmp_path / "s", {"a": valid("a", 1)})
    client, verbose, shell = ([str(w) for w in booted(stick, at).words] for at in range(3))
    assert cmdline.CLIENT_UNIT in client
    assert cmdline.CLIENT_UNIT in verbose
    assert "quiet" not in verbose
    assert cmdline.SHELL_UNIT in shell
    assert booted(stick, 3).other == "halt"
    assert len(stick.menu) == 4


def test_by_network(tmp_path: Path) -> None:
    loaded = booted(grub(tmp_path / "s", {"a": valid("a", 1)}, network=True))
    assert loaded.initrds == ("/stiefelsystem/a/initrd.img",)


def nothing_but_off(stick: Stick) -> bool:
    return len(stick.menu) == 1 and booted(stick).other == "halt"


def test_unfinished_stick_boots_nothing(tmp_path: Path) -> None:
    stick = grub(tmp_path / "s", {})
    assert nothing_but_off(stick)
    assert stick.variables["timeout"] == "-1"  # it stays, with what it says


@pytest.mark.parametrize("other", [None, 11])
@pytest.mark.parametrize("name", SETS)
def test_set_that_is_cut_short(tmp_path: Path, name: str, other: int | None) -> None:
    """It is not booted before its whole command line is there; and GRUB and an update see the
    same number in it."""
    (second,) = (n for n in SETS if n != name)
    others: dict[str, str | bytes] = {second: valid(second, other)} if other else {}
    whole = valid(name, 12).encode()
    complete = words(booted(grub(tmp_path / "s", {name: whole})))
    for size in range(len(whole)):
        for filled in (whole[:size], whole[:size].ljust(len(whole), b"\0")):
            stick = grub(tmp_path / "s", {**others, name: filled})
            number = menu.number_of(filled.decode(), name)
            assert number in (0, 1, 12)
            if number == 12 or (number and not other):
                assert booted(stick).kernel == f"/stiefelsystem/{name}/vmlinuz"
                assert words(booted(stick)) == complete
                assert stick.variables["timeout"] == "7"
            elif other:
                assert booted(stick).kernel == f"/stiefelsystem/{second}/vmlinuz"
            else:
                assert nothing_but_off(stick)


def words(loaded: Loaded) -> list[Value]:
    return list(loaded.words)


@pytest.mark.parametrize(
    "rubbish", ["", "\0" * 300, "set b=7\n", "set a=x\n", "set a=\n", "set a='7\n", "}", "\xff"]
)
def test_rubbish_is_no_set(tmp_path: Path, rubbish: str) -> None:
    assert menu.number_of(rubbish, "a") == 0
    stick = grub(tmp_path / "s", {"a": rubbish.encode("latin-1")})
    assert nothing_but_off(stick)


@pytest.mark.parametrize(
    "word", ["a=$root", "a=${b}", "a;b", "{", "}", "a={x}", "#a", "a=b;c=$?", "a&b|c", "<>", "(x)"]
)
def test_words_that_mean_something_to_grub(tmp_path: Path, word: str) -> None:
    settings = Settings(inner='it\'s "$0" {;}', words=f"one {word} two", timeout=0)
    loaded = words(booted(grub(tmp_path / "s", {"a": valid("a", 1, settings)})))
    at = loaded.index("one")
    assert loaded[at : at + 3] == ["one", word, "two"]
    assert cmdline.inner(" ".join(map(str, loaded))) == 'it\'s "$0" {;}'


@pytest.mark.parametrize("word", ["it's", 'a="b c"', "a\\b"])
def test_words_that_grub_changes_are_refused(word: str) -> None:
    with pytest.raises(StiefelError, match=r"client-setup\.cmdline"):
        Settings(inner="", words=word, timeout=0)


def test_no_words(tmp_path: Path) -> None:
    settings = Settings(inner="", words="", timeout=0)
    stick = grub(tmp_path / "s", {"b": valid("b", 1, settings)})
    assert cmdline.inner(" ".join(map(str, booted(stick).words))) == ""
    assert stick.variables["timeout"] == "0"


def test_number() -> None:
    assert menu.number_of(valid("a", 123456789), "a") == 123456789
    assert menu.number_of(valid("a", 5), "b") == 0
    assert menu.number_of("set a=1234567890\n", "a") == 0  # GRUB's could be another one


@pytest.mark.parametrize("network", [True, False])
def test_grub_accepts_it(tmp_path: Path, network: bool) -> None:
    capabilities.require_tools("grub-script-check")
    for text in (menu.menu(network=network), menu.EFI_CONFIG, valid("a", 1)):
        path = tmp_path / EFI_CONFIG.rpartition("/")[2]
        path.write_text(text)
        subprocess.run(["grub-script-check", path], check=True)


def test_command_line_that_the_kernel_would_cut() -> None:
    """Its last word would be that which says what the ramdisk is to do."""
    Settings(inner="x" * 900, words="x" * 500, timeout=1)
    for inner, words in ((1500, 0), (0, 1900)):
        with pytest.raises(StiefelError, match=r"command line of [12]\d{3} bytes, .* reads 2047"):
            Settings(inner="x" * inner, words="x" * words, timeout=1)
