"""systemd-boot: how its entries are sorted, which one is the default, and what is in it."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from stiefelsystem.bootloader import bls, systemd_boot, versions
from stiefelsystem.bootloader.entry import Entry
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import empty, loader_variables, make, program

# UAPI.10 has most of these in its examples, in this order.
ORDERED = """
    ~ ~1 '' 121 122.1 123~rc1-1 123 123-a 123-a.1 123-1 123-1.1 123^post1 123.a-1 123.1-1
    123A 123a 123a-1 124-1 124.0 0999 1000 11111111111111111111111 22222222222222222222222
"""


def test_versions() -> None:
    words = ["" if word == "''" else word for word in ORDERED.split()]
    for older, newer in pairwise(words):
        assert versions.key(older) < versions.key(newer), (older, newer)
    shuffled = random.Random(1).sample(words, len(words))
    assert sorted(shuffled, key=versions.key) == words


EQUAL = [("1", "01"), ("1_2", "1+2"), ("a.b", "a.b_"), ("1ü2", "1 2")]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_versions(one: str, other: str) -> None:
    assert versions.key(one) == versions.key(other)


def names(*items: bls.Item) -> list[str]:
    return [item.path.stem for item in bls.in_order(items)]


def item(name: str, **values: str) -> bls.Item:
    lists = {key.replace("_", "-"): [value] for key, value in values.items()}
    return bls.Item(path=Path(f"/boot/loader/entries/{name}.conf"), values=lists)


def test_order() -> None:
    """By sort key upwards, then machine, then version downwards; what has no sort key is last."""
    assert names(item("a-9"), item("a-10"), item("b-1")) == ["b-1", "a-10", "a-9"]
    keyed = [
        item("x1", sort_key="debian", machine_id="2", version="7"),
        item("x2", sort_key="debian", machine_id="1", version="6.9"),
        item("x3", sort_key="debian", machine_id="1", version="6.12"),
        item("x4", sort_key="arch", version="1"),
        item("z"),
    ]
    assert names(*keyed) == ["x4", "x3", "x2", "x1", "z"]
    assert names(item("new-2+0-3"), item("new-1+3")) == ["new-1+3", "new-2+0-3"]


COUNTED = [
    ("a.conf", "a.conf", False),
    ("a+3.conf", "a.conf", False),
    ("a+2-1.conf", "a.conf", False),
    ("a+0-3.conf", "a.conf", True),
    ("a+b.conf", "a+b.conf", False),
    ("linux-6.1+deb12.conf", "linux-6.1+deb12.conf", False),
    ("+3.conf", "+3.conf", False),
]


@pytest.mark.parametrize(("name", "identity", "is_bad"), COUNTED)
def test_boot_counting(name: str, identity: str, is_bad: bool) -> None:
    entry = bls.Item(path=Path("/") / name)
    assert (entry.id, entry.is_bad) == (identity, is_bad)


MACHINE = "0123456789abcdef0123456789abcdef"
FOLDER = "efi/loader/entries"


def type_1(version: str, *, more: str = "") -> dict[str, str]:
    """What kernel-install makes: the entry, and the files beside it."""
    place = f"/{MACHINE}/{version}"
    text = f"""\
# Boot Loader Specification type#1 entry
title      Debian GNU/Linux
version    {version}
machine-id {MACHINE}
sort-key   debian
options    root=UUID=1 rootflags=subvol=@
options    quiet
linux      {place}/linux
initrd     {place}/microcode
initrd\t{place}/initrd.img
{more}
"""
    files = empty(*(f"efi{place}/{name}" for name in ("linux", "microcode", "initrd.img")))
    return {f"{FOLDER}/{MACHINE}-{version}.conf": text, **files}


def default(root: Path) -> Entry:
    tree = Tree(root)
    found = systemd_boot.config(tree)
    assert found
    return systemd_boot.default(tree, found)


def version(entry: Entry) -> str:
    return entry.kernel.parent.name


def test_newest(tmp_path: Path) -> None:
    make(tmp_path, {**type_1("6.9.7"), **type_1("6.12.1"), "efi/loader/loader.conf": "timeout 3\n"})
    place = Path(f"/efi/{MACHINE}/6.12.1")
    assert default(tmp_path) == Entry(
        title="Debian GNU/Linux",
        kernel=place / "linux",
        initrds=(place / "microcode", place / "initrd.img"),
        cmdline="root=UUID=1 rootflags=subvol=@ quiet",
        source=Path(f"/{FOLDER}/{MACHINE}-6.12.1.conf"),
        kind="bls",
    )


DEFAULTS = [
    ("", {}, "6.12.1"),
    ("default *-6.9.7.conf", {}, "6.9.7"),
    ("default\t*-6.9.?.CONF", {}, "6.9.7"),
    ("default gone-*", {}, "6.12.1"),
    ("default *-6.9.7", {}, "6.12.1"),  # the name is whole, or it is another
    ("default [z-a]", {}, "6.12.1"),
    ("default @saved", {}, "6.12.1"),
    ("default @saved", {"LoaderEntryLastBooted": f"{MACHINE}-6.9.7.conf"}, "6.9.7"),
    ("default *-6.9.7.conf", {"LoaderEntryLastBooted": f"{MACHINE}-6.12.1.conf"}, "6.9.7"),
    ("default *-6.12*", {"LoaderEntryDefault": f"{MACHINE}-6.9.7.conf"}, "6.9.7"),
    ("default *-6.9.7.conf", {"LoaderEntryDefault": "gone.conf"}, "6.9.7"),
    ("", {"LoaderEntryOneShot": f"{MACHINE}-6.9.7.conf"}, "6.12.1"),  # no default
]


@pytest.mark.parametrize(("conf", "variables", "expected"), DEFAULTS)
def test_default(tmp_path: Path, conf: str, variables: dict[str, str], expected: str) -> None:
    make(tmp_path, {**type_1("6.9.7"), **type_1("6.12.1"), **loader_variables(**variables)})
    make(tmp_path, {"efi/loader/loader.conf": f"# default x\n{conf}\n"})
    assert version(default(tmp_path)) == expected


def test_what_is_not_shown(tmp_path: Path) -> None:
    """Entries for another architecture, whose kernel is gone, or that start no Linux."""
    make(tmp_path, {**type_1("6.9.7"), **type_1("7", more="architecture nope")})
    make(tmp_path, {**type_1("8"), f"{FOLDER}/.half.conf": "linux /half\n", "efi/half": ""})
    (tmp_path / f"efi/{MACHINE}/8/linux").unlink()
    make(tmp_path, {f"{FOLDER}/shell.conf": "sort-key a\nefi /shell.efi\n", "efi/shell.efi": "x"})
    assert version(default(tmp_path)) == "6.9.7"


def test_missing_initrd(tmp_path: Path) -> None:
    make(tmp_path, type_1("6.9.7"))
    (tmp_path / f"efi/{MACHINE}/6.9.7/initrd.img").unlink()
    with pytest.raises(StiefelError, match=r"6.9.7.conf: there is no initrd /efi/"):
        default(tmp_path)


def test_boot_partition(tmp_path: Path) -> None:
    """Entries are on either partition; loader.conf is on the EFI system partition."""
    files = {name.replace("efi/", "boot/", 1): text for name, text in type_1("6.9.7").items()}
    make(tmp_path, {**files, "boot/efi/loader/loader.conf": "default @saved"})
    assert default(tmp_path).kernel == Path(f"/boot/{MACHINE}/6.9.7/linux")


def image(release: str, cmdline: str = "root=UUID=1") -> bytes:
    parts = ((".osrel", release), (".cmdline", cmdline), (".linux", "k"), (".initrd", "i"))
    return program(*((name, content.encode()) for name, content in parts))


def test_images_are_entries(tmp_path: Path) -> None:
    """They are sorted by their os-release among the others."""
    release = 'ID=arch\nVERSION_ID=1\nPRETTY_NAME="Arch Linux"\n'
    make(tmp_path, {**type_1("6.9.7"), "efi/EFI/Linux/arch+3.efi": image(release)})
    entry = default(tmp_path)
    assert (entry.kind, entry.kernel) == ("uki", Path("/efi/EFI/Linux/arch+3.efi"))
    assert (entry.title, entry.cmdline) == ("Arch Linux", "root=UUID=1")
    make(tmp_path, {"efi/loader/loader.conf": "default arch.efi\n"})
    assert default(tmp_path).kind == "uki"
    make(tmp_path, {"efi/loader/loader.conf": f"default {MACHINE}*\n"})
    assert default(tmp_path).kind == "bls"


@pytest.mark.parametrize("key", ["efi", "uki", "linux"])
def test_entry_with_an_image(tmp_path: Path, key: str) -> None:
    files = {f"{FOLDER}/x.conf": f"title mine\n{key} /EFI/x.efi\n", "efi/EFI/x.efi": image("")}
    entry = default(make(tmp_path, files))
    assert (entry.kind, entry.kernel) == ("uki", Path("/efi/EFI/x.efi"))
    assert entry.source == Path(f"/{FOLDER}/x.conf")
    make(tmp_path, {f"{FOLDER}/x.conf": f"{key} /EFI/x.efi\noptions quiet\n"})
    with pytest.raises(StiefelError, match="options"):
        default(tmp_path)


@pytest.mark.parametrize(("own", "count"), [(MACHINE, 0), ("f" * 32, 1), ("", 0)])
def test_another_system(tmp_path: Path, own: str, count: int) -> None:
    entry = default(make(tmp_path, {**type_1("6.9.7"), "etc/machine-id": f"{own}\n"}))
    assert len(entry.notes) == count


def test_nothing_to_boot(tmp_path: Path) -> None:
    make(tmp_path, {"efi/loader/loader.conf": ""})
    with pytest.raises(StiefelError, match="no entry") as caught:
        default(tmp_path)
    assert "boot.load" in caught.value.hint
