"""GRUB as distributions set it up, and as one does by hand: which entry is booted by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.bootloader.entry import Entry
from stiefelsystem.console import StiefelError
from tests.unit.bootloader import VARIABLES, empty, environment, make, sample
from tests.unit.one_grub import CONFIG, default, script

DEBIAN_ROOT = "root=UUID=11111111-aaaa-4000-8000-000000000003 ro  quiet".replace("  ", " ")
DEBIAN = {
    "etc/fstab": "UUID=11111111-aaaa-4000-8000-000000000003 / ext4 defaults 0 1\n"
    "UUID=11111111-AAAA-4000-8000-000000000002 /boot ext4 defaults 0 2\n",
    **empty(*(f"boot/vmlinuz-{v}-amd64" for v in ("6.12.9", "6.1.0-28"))),
    **empty(*(f"boot/initrd.img-{v}-amd64" for v in ("6.12.9", "6.1.0-28"))),
}


def debian(root: Path, default_entry: str, **more: str) -> Path:
    config = sample("debian-grub.cfg").replace("@DEFAULT@", default_entry)
    return make(root, {"boot/grub/grub.cfg": config, **DEBIAN, **more})


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
