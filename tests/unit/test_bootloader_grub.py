"""GRUB: which entry its script boots by default, and where its files are in the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.bootloader import grub
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import empty, make, program
from tests.unit.one_grub import CONFIG, default, script


def test_entry_without_options(tmp_path: Path) -> None:
    text = "default_kernelopts=root=UUID=7\nblscfg"
    script(tmp_path, text, **{"boot/loader/entries/a.conf": "title a\nlinux /vmlinuz\n"})
    assert default(tmp_path).cmdline == "root=UUID=7"


ROOTS = [
    ("/vmlinuz", "UUID=1 /boot ext4 rw 0 0"),
    ("/boot/vmlinuz", ""),
    ("/@/boot/vmlinuz", "UUID=1 / btrfs subvol=@ 0 0"),
    ("/root/boot/vmlinuz", "UUID=1 / btrfs subvol=root,compress=zstd:1 0 0"),
    ("/@boot/vmlinuz", "UUID=1 /boot btrfs subvol=/@boot 0 0"),
    ("/volumes/debian/boot/vmlinuz", "UUID=1 / btrfs subvol=/volumes/debian 0 0"),
    ("/@/boot/vmlinuz", ""),  # fstab has no line for it
    ("/BOOT/debian@/vmlinuz", ""),
    ("/ROOT/debian@/boot/vmlinuz", ""),
]


@pytest.mark.parametrize(("name", "fstab"), ROOTS)
@pytest.mark.parametrize(
    "search", ["search --fs-uuid --set=root 1", "search.fs_uuid 1 root hd0", ""]
)
def test_views_of_the_disk(tmp_path: Path, name: str, fstab: str, search: str) -> None:
    text = f"menuentry x {{ {search}\n linux {name} ro\n initrd ${{missing}} }}"
    script(tmp_path, text, **{"etc/fstab": fstab})
    assert default(tmp_path).kernel == Path("/boot/vmlinuz")


def test_known_filesystem_counts(tmp_path: Path) -> None:
    """Debian has links to its kernels in /, and a /boot of its own may have the same names."""
    script(
        tmp_path,
        "menuentry x { search --fs-uuid --set=root AB\n linux /vmlinuz ro }",
        **{"vmlinuz": "another", "etc/fstab": "UUID=ab /boot ext4 rw 0 0\n"},
    )
    assert default(tmp_path).kernel == Path("/boot/vmlinuz")
    make(
        tmp_path,
        {"boot/grub/grub.cfg": "search -u --set=disk ab\nmenuentry x { linux (${disk})/vmlinuz }"},
    )
    assert default(tmp_path).kernel == Path("/boot/vmlinuz")
    make(tmp_path, {"etc/fstab": ""})
    with pytest.raises(StiefelError, match="may be /vmlinuz or /boot/vmlinuz"):
        default(tmp_path)
    (tmp_path / "vmlinuz").unlink()
    (tmp_path / "vmlinuz").symlink_to("boot/vmlinuz")
    assert default(tmp_path).kernel == Path("/boot/vmlinuz")  # one file with two names


def test_links_stay_in_the_tree(tmp_path: Path) -> None:
    script(tmp_path, "menuentry x { linux /boot/kernel ro }")
    (tmp_path / "outside").write_text("")
    (tmp_path / "boot/kernel").symlink_to("/boot/vmlinuz")
    assert default(tmp_path).kernel == Path("/boot/kernel")
    (tmp_path / "boot/kernel").unlink()
    (tmp_path / "boot/kernel").symlink_to(tmp_path / "outside")
    with pytest.raises(StiefelError, match="no file /boot/kernel"):
        default(tmp_path)


ENTRY = "menuentry x { linux /boot/vmlinuz %s }"
KNOWN = [
    ('set a="b c"\n' + ENTRY % "$a", "b c"),
    ('set a="b c"\n' + ENTRY % '"$a"', '"b c"'),
    ("set a='b c'\n" + ENTRY % "x${a}y", "xb cy"),
    ("set a='$b'\n" + ENTRY % "$a", "$b"),
    ('set a="\\$b\\"\\q"\n' + ENTRY % '"$a"', '$b"\\q'),
    (ENTRY % "a#b # c\n", "a#b"),
    (ENTRY % "'a'#b", "a#b"),
    ("a=1\n" + ENTRY % "$a$a", "11"),
    ("unset a\n" + ENTRY % "a$a", "a"),
    ("if true; then a=1; elif false; then a=2; else a=3; fi\n" + ENTRY % "$a", "1"),
    ("if false; then a=1; elif true; then a=2; else a=3; fi\n" + ENTRY % "$a", "2"),
    ("if keystatus --shift; then a=1; else a=3; fi\n" + ENTRY % "$a", "3"),
    ("if loadfont x; then a=1; else a=1; fi\n" + ENTRY % "$a", "1"),
    ("function f { a=1; }\nf\n" + ENTRY % "$a", "1"),
    ("function f { a=$2$1$3; }\nf 1 2\n" + ENTRY % "$a", "21"),
    ("for a in 1 2; do b=1; done\n" + ENTRY % "x", "x"),
    ("submenu s { menuentry y { linux /boot/vmlinuz a$b } }\nb=1", "a"),  # not exported
    ("submenu s { menuentry y { linux /boot/vmlinuz a$b } }\nexport b=1", "a1"),
    ("source /boot/grub/more.cfg\n" + ENTRY % "$more", "from another file"),
    (". ($root)/grub/more.cfg\n" + ENTRY % "$more", "from another file"),
    ("source /missing\n" + ENTRY % "a", "a"),
    ("configfile $prefix/whole.cfg\n" + ENTRY % "never", "whole"),
    (ENTRY % "a" + "; initrd /boot/initrd.img", "a"),
    ("set default=a>>b\nmenuentry y { true }\n" + ENTRY.replace("x", "'a>b'", 1) % "a", "a"),
    (ENTRY.replace("linux ", "linuxefi ") % "a", "a"),
    (ENTRY % "\"acpi_osi='Windows 2015'\"", "\"acpi_osi='Windows 2015'\""),
]
MORE = {
    "boot/grub/more.cfg": 'set more="from another file"\n',
    "boot/grub/whole.cfg": ENTRY % "whole",
}


@pytest.mark.parametrize(("text", "cmdline"), KNOWN)
def test_scripts(tmp_path: Path, text: str, cmdline: str) -> None:
    assert default(script(tmp_path, text, **MORE)).cmdline == cmdline


NOT_KNOWN = [
    ("set default=$?\n" + ENTRY % "", "grub.cfg:1: .*at boot only"),
    ("if loadfont x; then\n default=1\nfi\n" + ENTRY % "", "grub.cfg:1: .*at boot only"),
    ("\nread a\n" + ENTRY % "$a", "grub.cfg:2: .*at boot only"),
    ("\nregexp --set=1:a x y\n" + ENTRY % "$a", "grub.cfg:2: .*at boot only"),
    ("if loadfont x; then\n" + ENTRY % "" + "\nfi", "grub.cfg:2: .*at boot only"),
    ("menuentry x {\n if loadfont y; then\n linux /boot/vmlinuz\n fi }", "grub.cfg:3: .*boot only"),
    (
        "menuentry x { linux /boot/vmlinuz\n if a; then\n initrd /boot/initrd.img\n fi }",
        "boot only",
    ),
    ("for a in 1 2; do\n" + ENTRY % "$a" + "\ndone", "grub.cfg:2: .*at boot only"),
    ("menuentry x { multiboot2 /boot/xen.gz\n module2 /boot/vmlinuz }", "grub.cfg:1: .*multiboot2"),
    ("menuentry x y { linux /boot/vmlinuz root=$2 }", "grub.cfg:1: .*at boot only"),
    ("menuentry x { true }", "loads no kernel"),
    ("menuentry x { linux }", "loads no kernel"),
    ("menuentry x { linux /boot/gone }", "grub.cfg:1: there is no file /boot/gone"),
    ("menuentry x { linux /boot/vmlinuz\n initrd /boot/gone }", "there is no file /boot/gone"),
    ("menuentry x { linux /boot/vmlinuz\n initrd newc:a:/boot/initrd.img }", "newc"),
    ("", "makes no menu"),
    ("menuentry x 'y\n", "grub.cfg:1: a quote"),
    ('a=1\nmenuentry "x {\n}', "grub.cfg:2: a quote"),
    ("\nmenuentry x {\n", "brace after .*grub.cfg:2"),
    ("\n}", "grub.cfg:2: at }"),
    ("if true\nthen a=1\n", "'fi' should stand here"),
    ("if true\n", "'then' should stand here"),
    ("f() {\n" * 60, "nested too deeply"),
    ("function f { f; }\nf", "calls itself"),
    ("source $prefix/grub.cfg", "calls itself|more files"),
    ("submenu a {\n configfile $prefix/grub.cfg\n}", "calls itself|more files|nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), NOT_KNOWN)
def test_what_cannot_be_known(tmp_path: Path, text: str, message: str) -> None:
    """It is said with the line where there is one, and what to do."""
    with pytest.raises(StiefelError, match=message) as caught:
        default(script(tmp_path, text))
    assert "boot.load" in caught.value.hint


def test_chainloaded_image(tmp_path: Path) -> None:
    image = program((".cmdline", b"root=UUID=1"), (".linux", b"k"), (".initrd", b"i"))
    text = "menuentry x { chainloader /EFI/Linux/arch.efi }"
    make(tmp_path, {"boot/grub/grub.cfg": text, "efi/EFI/Linux/arch.efi": image})
    entry = default(tmp_path)
    assert (entry.kind, entry.kernel) == ("uki", Path("/efi/EFI/Linux/arch.efi"))
    assert (entry.cmdline, entry.source) == ("root=UUID=1", CONFIG)


def test_configs(tmp_path: Path) -> None:
    """The file on the EFI system partition leads to the main one, and counts where it is alone."""
    make(tmp_path, {"boot/efi/EFI/debian/grub.cfg": ENTRY % "esp", **empty("boot/vmlinuz")})
    assert grub.configs(Tree(tmp_path)) == [Path("/boot/efi/EFI/debian/grub.cfg")]
    make(tmp_path, {"boot/grub/grub.cfg": ""})
    assert grub.configs(Tree(tmp_path)) == [CONFIG]
    (tmp_path / "boot/grub2").symlink_to("grub")
    assert len(grub.configs(Tree(tmp_path))) == 1
