"""Whatever a boot loader's files have in them: an answer, or what is wrong, and an end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stiefelsystem.bootloader import (
    bls,
    efi,
    grub_environment,
    grub_script,
    loaders,
    versions,
    words,
)
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import (
    FIRMWARE,
    LOADER,
    VARIABLES,
    empty,
    environment,
    make,
    program,
    sample,
)

FILES = {
    "etc/fstab": "UUID=1 / btrfs subvol=@ 0 0\nLABEL=x /boot ext4 rw 0 0\n",
    "boot/grub/grub.cfg": sample("debian-grub.cfg"),
    "boot/grub/grubenv": environment(saved_entry="1>0"),
    "boot/grub2/grub.cfg": sample("fedora-grub.cfg"),
    "boot/loader/entries/a.conf": "linux /vmlinuz\ninitrd /initrd\noptions root=1 $kernelopts\n",
    "efi/loader/loader.conf": "default a*\n",
    "efi/EFI/Linux/a.efi": program((".osrel", b"ID=a"), (".linux", b"k"), (".initrd", b"i")),
    "boot/syslinux/syslinux.cfg": sample("arch-syslinux.cfg"),
    f"{VARIABLES}/LoaderInfo-{LOADER}": b"\7\0\0\0G\0R\0U\0B\0\0\0",
    f"{VARIABLES}/BootOrder-{FIRMWARE}": b"\7\0\0\0\1\0",
    f"{VARIABLES}/Boot0001-{FIRMWARE}": b"\7\0\0\0\1\0\0\0\x2a\0a\0\0\0\4\4\4\0",
    **empty("boot/vmlinuz", "boot/initrd"),
}
# Texts that look like something get further than others.
PIECES = r"""
if then else elif fi for in do done while { } ; ' " \ $ $a ${a} # = set set a= menuentry submenu
function a [ ] -f -a ( ) ! linux /vmlinuz initrd source $prefix/grub.cfg blscfg configfile
/grub/grub.cfg search --set=a load_env export default=1>1 LABEL DEFAULT INCLUDE TEXT MENU KERNEL
../ MZ options +1-2
"""
OTHERS = ["\n", "\t", "\0", "PE\0\0", "\x7f\xff", "\x80", "\\\n"]
pieces = st.sampled_from(PIECES.split() + OTHERS)
texts = st.lists(pieces | st.text(max_size=4), max_size=60).map(
    lambda parts: " ".join(parts).encode("utf-8", "surrogatepass")
)
contents = st.binary(max_size=300) | texts


def tolerant(call: Callable[[], object]) -> None:
    try:
        call()
    except StiefelError as error:
        assert str(error)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("system"), FILES)


@pytest.mark.parametrize("name", [name for name, content in FILES.items() if content])
@given(content=contents, at=st.integers(0, 4000), whole=st.booleans())
def test_files(root: Path, name: str, content: bytes, at: int, whole: bool) -> None:
    """A file with something else in it, or with something else within it."""
    former = FILES[name]
    data = former if isinstance(former, bytes) else former.encode()
    make(root, {name: content if whole else data[:at] + content + data[at + len(content) :]})
    try:
        for found in loaders.find(root):
            assert (found.entry is None) != (found.problem is None)
            if found.entry:
                assert (root / str(found.entry.kernel)[1:]).is_file()
        if "efi" in name:
            tolerant(lambda: loaders.default(root))
    finally:
        make(root, {name: former})


@given(text=texts.map(lambda data: data.decode("utf-8", "replace")) | st.text())
@example(text='"' + "a" * 100_000)
@example(text="'" * 100_001)
@example(text="{" * 100_000)
@example(text="if " * 100_000)
@example(text="a {\n" * 30 + "}\n" * 30)
@example(text="if a; then b; " + "elif a; then b; " * 3000 + "fi")
@example(text="# c" * 100_000)
@example(text="\\")
def test_grub_script(text: str) -> None:
    tolerant(lambda: grub_script.parse(text, "x"))
    grub_script.variables(text)


def test_long_chains(tmp_path: Path) -> None:
    """What is not known often is followed once each."""
    chain = "if a; then b=1; " + "elif a; then b=2; " * 3000 + "fi\n"
    nested = "if a; then b=$c\n" * 20 + "fi\n" * 20
    calls = "".join(f"function f{i} {{ f{i + 1}; f{i + 1}; }}\n" for i in range(35)) + "f0\n"
    for text in (chain, nested, calls):
        make(tmp_path, {"boot/grub/grub.cfg": text + "menuentry x { linux /boot/vmlinuz }"})
        make(tmp_path, empty("boot/vmlinuz"))
        tolerant(lambda: loaders.default(tmp_path))


@given(data=st.binary(max_size=200))
def test_binary_formats(data: bytes) -> None:
    efi.parse_option(data)
    grub_environment.read(b"# GRUB Environment Block\n" + data)


@pytest.mark.parametrize("end", [b"", b"\n", b"\\", b"\\\n"])
def test_large_environment(end: bytes) -> None:
    """In linear time, or this would take minutes."""
    block = b"# GRUB Environment Block\na=b\n" + b"#" * 60_000 + end
    assert grub_environment.read(block) == {"a": "b"}


@given(text=st.text())
def test_texts(text: str) -> None:
    assert bls.parse(Path("/a.conf"), text).id == "a.conf"
    assert versions.key(text) == versions.key(text + "_")
    words.clean_cmdline(text)


# What a file can be called.
@given(name=st.text(st.characters(exclude_characters="/"), min_size=1).filter(lambda n: n != "."))
def test_names(name: str) -> None:
    assert bls.Item(path=Path("/") / name).id
