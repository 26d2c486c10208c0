"""GRUB: which entry its script boots by default, and where its files are in the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.bootloader import grub
from stiefelsystem.bootloader.entry import Entry
from stiefelsystem.bootloader.places import Tree
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import VARIABLES, empty, environment, make, program, sample

CONFIG = Path("/boot/grub/grub.cfg")
DEBIAN_ROOT = "root=UUID=11111111-aaaa-4000-8000-000000000003 ro  quiet".replace("  ", " ")
DEBIAN = {
    "etc/fstab": "UUID=11111111-aaaa-4000-8000-000000000003 / ext4 defaults 0 1\n"
    "UUID=11111111-AAAA-4000-8000-000000000002 /boot ext4 defaults 0 2\n",
    **empty(*(f"boot/vmlinuz-{v}-amd64" for v in ("6.12.9", "6.1.0-28"))),
    **empty(*(f"boot/initrd.img-{v}-amd64" for v in ("6.12.9", "6.1.0-28"))),
}


def default(root: Path, config: str = CONFIG.as_posix()) -> Entry:
    return grub.default(Tree(root), Path(config))


def debian(root: Path, default_entry: str, **more: str) -> Path:
    config = sample("debian-grub.cfg").replace("@DEFAULT@", default_entry)
    return make(root, {"boot/grub/grub.cfg": config, **DEBIAN, **more})


def script(root: Path, text: str, **more: str) -> Path:
    files = empty("boot/vmlinuz", "boot/initrd.img", "boot/vmlinuz-2", "boot/initrd.img-2")
    return make(root, {"boot/grub/grub.cfg": text, **files, **more})


def test_debian(tmp_path: Path) -> None:
    """The first entry; the filesystem's UUID leads to /boot, in whatever case it is written."""
    assert default(debian(tmp_path, "0")) == Entry(
        title="Debian GNU/Linux",
        kernel=Path("/boot/vmlinuz-6.12.9-amd64"),
        initrds=(Path("/boot/initrd.img-6.12.9-amd64"),),
        cmdline=f"{DEBIAN_ROOT} resume=UUID=5",
        source=CONFIG,
        kind="grub",
    )


ADVANCED = "gnulinux-advanced-11111111-aaaa-4000-8000-000000000003"
OLD = "Debian GNU/Linux, with Linux 6.1.0-28-amd64"
TITLE = "Advanced options for Debian GNU/Linux"


@pytest.mark.parametrize(
    "wanted",
    [
        "1>1",
        f"{TITLE}>{OLD}",
        f"{ADVANCED}>gnulinux-6.1.0-28-amd64-advanced-11111111-aaaa-4000-8000-000000000003",
        f"1>{OLD}",
    ],
)
def test_in_a_submenu(tmp_path: Path, wanted: str) -> None:
    entry = default(debian(tmp_path, wanted))
    assert entry.title == f"{TITLE} > {OLD}"
    assert entry.kernel == Path("/boot/vmlinuz-6.1.0-28-amd64")
    assert entry.initrds == (Path("/boot/initrd.img-6.1.0-28-amd64"),)
    assert entry.cmdline == DEBIAN_ROOT


@pytest.mark.parametrize("wanted", ["", "99", "a title that is gone", "gone>1"])
def test_what_is_not_there_is_the_first_entry(tmp_path: Path, wanted: str) -> None:
    assert default(debian(tmp_path, wanted)).kernel == Path("/boot/vmlinuz-6.12.9-amd64")


def test_a_submenu_itself_is_its_first_entry(tmp_path: Path) -> None:
    assert default(debian(tmp_path, "1")).title.endswith("with Linux 6.12.9-amd64")
    assert default(debian(tmp_path, "1>gone")).title.endswith("with Linux 6.12.9-amd64")


def test_saved_entry(tmp_path: Path) -> None:
    """What next time only shall be booted is no default."""
    block = environment(saved_entry=f"{TITLE}>{OLD}", next_entry="0")
    debian(tmp_path, "${saved_entry}", **{"boot/grub/grubenv": block})
    assert default(tmp_path).kernel == Path("/boot/vmlinuz-6.1.0-28-amd64")
    # A choice for one boot that was made in the menu is over, too.
    block = environment(saved_entry="0", prev_saved_entry="1>1")
    make(tmp_path, {"boot/grub/grubenv": block})
    assert default(tmp_path).kernel == Path("/boot/vmlinuz-6.1.0-28-amd64")


def test_no_linux(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match=r"grub.cfg:1\d\d.*Windows.*chainloader") as caught:
        default(debian(tmp_path, "2"))
    assert "boot.load" in caught.value.hint


def test_an_entry_that_may_be_there(tmp_path: Path) -> None:
    """The firmware's entry is the last one: it shifts no number, and is one itself."""
    debian(tmp_path, "3")
    (tmp_path / VARIABLES).mkdir(parents=True)
    with pytest.raises(StiefelError, match="known at boot only"):
        default(tmp_path)
    debian(tmp_path, "1>1")
    assert default(tmp_path).kernel == Path("/boot/vmlinuz-6.1.0-28-amd64")


def test_custom_cfg(tmp_path: Path) -> None:
    custom = "menuentry mine --id=mine {\n linux /vmlinuz-6.1.0-28-amd64 ro\n}\nset default=mine"
    debian(tmp_path, "0", **{"boot/grub/custom.cfg": custom})
    entry = default(tmp_path)
    assert (entry.title, entry.cmdline, entry.initrds) == ("mine", "ro", ())


UBUNTU = """
function gfxmode {
	set gfxpayload="${1}"
	if [ "${1}" = "keep" ]; then
		set vt_handoff=vt.handoff=7
	else
		set vt_handoff=
	fi
}
if [ "${recordfail}" != 1 ]; then
  if [ -e ${prefix}/gfxblacklist.txt ]; then
    if [ ${grub_platform} != pc ]; then
      set linux_gfx_mode=keep
    elif hwmatch ${prefix}/gfxblacklist.txt 3; then
      if [ ${match} = 0 ]; then
        set linux_gfx_mode=keep
      else
        set linux_gfx_mode=text
      fi
    else
      set linux_gfx_mode=text
    fi
  else
    set linux_gfx_mode=keep
  fi
else
  set linux_gfx_mode=text
fi
export linux_gfx_mode
menuentry Ubuntu {
	gfxmode $linux_gfx_mode
	linux /boot/vmlinuz ro quiet splash $vt_handoff
}
"""
SPLASH = [
    ("sys/firmware/efi/x", " vt.handoff=7"),
    ("sys/firmware/x", ""),  # it depends on the graphics card
    ("x", ""),
]


@pytest.mark.parametrize(("firmware", "handoff"), SPLASH)
def test_ubuntu(tmp_path: Path, firmware: str, handoff: str) -> None:
    """What only the machine knows there does not matter."""
    files = empty("boot/grub/gfxblacklist.txt", firmware)
    assert default(script(tmp_path, UBUNTU, **files)).cmdline == f"ro quiet splash{handoff}"


FEDORA_ID = "0123456789abcdef0123456789abcdef"


def fedora(root: Path, **variables: str) -> Path:
    """Two kernels, of which one has variables in it, and the rescue entry."""
    new, old, rescue = "6.12.9-200.fc41.x86_64", "6.9.4-100.fc41.x86_64", f"0-rescue-{FEDORA_ID}"
    entries = {
        f"boot/loader/entries/{FEDORA_ID}-{version}.conf": f"title Fedora ({version})\n"
        f"version {version}\nlinux /vmlinuz-{version}\n"
        f"initrd /initramfs-{version}.img $tuned_initrd\noptions {options}\n"
        "grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class fedora\n"
        for version, options in (
            (new, "$kernelopts rhgb $tuned_params"),
            (old, "root=UUID=2 ro\toldest"),
            (rescue, "root=UUID=2"),
        )
    }
    names = [
        f"boot/{n}" for v in (new, old, rescue) for n in (f"vmlinuz-{v}", f"initramfs-{v}.img")
    ]
    return make(
        root,
        {
            "boot/grub2/grub.cfg": sample("fedora-grub.cfg"),
            "boot/grub2/grubenv": environment(**variables),
            "etc/fstab": "UUID=22222222-bbbb-4000-8000-000000000002 /boot xfs defaults 0 0\n",
            **entries,
            **empty(*names),
        },
    )


def test_fedora(tmp_path: Path) -> None:
    """Without a choice, the newest kernel; variables are those of grub.cfg, or empty."""
    entry = default(fedora(tmp_path), "/boot/grub2/grub.cfg")
    assert entry == Entry(
        title="Fedora (6.12.9-200.fc41.x86_64)",
        kernel=Path("/boot/vmlinuz-6.12.9-200.fc41.x86_64"),
        initrds=(Path("/boot/initramfs-6.12.9-200.fc41.x86_64.img"),),
        cmdline="root=UUID=22222222-bbbb-4000-8000-000000000003 ro rootflags=subvol=root rhgb",
        source=Path(f"/boot/loader/entries/{FEDORA_ID}-6.12.9-200.fc41.x86_64.conf"),
        kind="bls",
    )


def test_fedora_saved(tmp_path: Path) -> None:
    """The environment's kernelopts count more than those of grub.cfg."""
    fedora(tmp_path, saved_entry=f"{FEDORA_ID}-6.9.4-100.fc41.x86_64", kernelopts="root=UUID=9")
    assert default(tmp_path, "/boot/grub2/grub.cfg").cmdline == "root=UUID=2 ro oldest"
    fedora(tmp_path, saved_entry=f"{FEDORA_ID}-6.12.9-200.fc41.x86_64", kernelopts="root=UUID=9")
    assert default(tmp_path, "/boot/grub2/grub.cfg").cmdline == "root=UUID=9 rhgb"


def test_fedora_boot_counter(tmp_path: Path) -> None:
    """A system that has failed too often boots its second entry."""
    fedora(tmp_path, boot_counter="0", boot_success="0")
    assert "6.9.4" in str(default(tmp_path, "/boot/grub2/grub.cfg").kernel)
    fedora(tmp_path, boot_counter="2", boot_success="0")
    assert "6.12.9" in str(default(tmp_path, "/boot/grub2/grub.cfg").kernel)


def test_entry_without_options(tmp_path: Path) -> None:
    text = "default_kernelopts=root=UUID=7\nblscfg"
    script(tmp_path, text, **{"boot/loader/entries/a.conf": "title a\nlinux /vmlinuz\n"})
    assert default(tmp_path).cmdline == "root=UUID=7"


def test_by_hand(tmp_path: Path) -> None:
    """Quotes, continued lines, comments, subvolumes by fstab; microcode apart; quoted words."""
    names = ["vmlinuz-linux-lts", "intel-ucode.img", "initramfs-linux-lts.img"]
    make(
        tmp_path,
        {
            "boot/grub/grub.cfg": sample("by-hand-grub.cfg"),
            "etc/fstab": "LABEL=arch_root / btrfs rw,noatime,subvol=/@ 0 0\n"
            "LABEL=arch_root /home btrfs rw,subvol=/@home 0 0\n",
            **empty(*(f"boot/{name}" for name in names)),
        },
    )
    entry = default(tmp_path)
    assert entry.title == "rescue me"
    assert [path.name for path in (entry.kernel, *entry.initrds)] == names
    assert entry.cmdline == (
        "root=UUID=33333333-cccc-4000-8000-000000000003 rootflags=subvol=@ ro"
        ' "dyndbg=file drivers/usb/* +p" single#user'
    )


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
    ("function f { a=$2$1$3; }\nf 1 2\n" + ENTRY % "$a$1", "21"),
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
