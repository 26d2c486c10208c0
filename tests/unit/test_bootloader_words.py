"""The laptop's command line on the desktop: what stays, what goes, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.bootloader import words
from stiefelsystem.bootloader.words import clean_cmdline

KEPT = """
root=UUID=1 root="LABEL=my disk" rootflags=subvol=@ rootfstype=btrfs ro rw quiet splash
rd.luks.uuid=luks-1 rd.luks.name=1=root rd.luks.options=discard luks.uuid=1
cryptdevice=UUID=1:root:allow-discards cryptkey=rootfs:/key rd.lvm.lv=vg/root rd.lvm.vg=vg
rd.md.uuid=1 zfs=rpool/ROOT/debian root=ZFS=rpool/ROOT/debian zfs_force=1 bootfs=rpool
init=/usr/lib/systemd/systemd systemd.unit=multi-user.target rd.auto=1 dolvm crypt_root=UUID=1
nomodeset i915.enable_psr=0 amdgpu.dc=0 nvidia-drm.modeset=1 intel_iommu=on iommu=pt
console=tty0 console=ttyS0,115200n8 earlyprintk=vga video=eDP-1:1920x1080@60 video=efifb:off
acpi_osi=Linux acpi_backlight=vendor pci=noaer modprobe.blacklist=nouveau,nbdx net.ifnames=0
mitigations=off noresume hibernate=no zswap.enabled=1 mem_sleep_default=deep resume
systemd.machine_id=1 single memory=x vt.handoff=7 "dyndbg=file a +p" video=HDMI-A-1:e video=xd
ipv6.disable_ipv6=1 ipv6.disable=0
"""
GONE = """
BOOT_IMAGE=/vmlinuz initrd=\\initramfs.img resume=UUID=1 resume="UUID=1" "resume=/dev/a b"
resume_offset=34816 resumeflags=subvol=@ rd.resume=1 resumewait resumedelay=5 hibernate=nocompress
mem=8G memmap=1G$0x1000 maxcpus=4 nr_cpus=8 isolcpus=2-3 nohz_full=1 rcu_nocbs=1
earlycon=uart8250,mmio32,0xfe031000 earlyprintk=pciserial,0:1f.0 vfio-pci.ids=10de:1c03
pci-stub.ids=8086:1 drm.edid_firmware=eDP-1:edid/x.bin video=HDMI-A-1:d video=DP-1:1024x768,d
hugepages=8192 hugepagesz=2M default_hugepagesz=1G crashkernel=512M module_blacklist=x,nbd,y
modprobe.blacklist=wireguard rd.driver.blacklist=nbd
fbcon=rotate:1 fbcon=rotate_all:3 ip=dhcp ip=::::laptop:eth0:on rd.neednet=1 ipv6.disable=1
stiefel_link=00:11:22:33:44:55
"""


@pytest.mark.parametrize("word", words.split(KEPT))
def test_kept(word: str) -> None:
    assert clean_cmdline(f"first {word} last") == (f"first {word} last", [])


@pytest.mark.parametrize("word", words.split(GONE))
def test_dropped(word: str) -> None:
    line, dropped = clean_cmdline(f"first {word} last")
    assert line == "first last"
    assert [one.word for one in dropped] == [word]
    assert 10 < len(dropped[0].reason) < 100


def test_what_init_gets_stays() -> None:
    assert clean_cmdline("mem=1 a -- resume=1") == ("a -- resume=1", words_dropped("mem=1"))


def words_dropped(*expected: str) -> list[words.Dropped]:
    return [clean_cmdline(word)[1][0] for word in expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        (" a\tb\n c ", ["a", "b", "c"]),
        ('a="b c"d e', ['a="b c"d', "e"]),
        ('"a b', ['"a b']),
        ("a\u00a0b 'c d'", ["a\u00a0b", "'c", "d'"]),
    ],
)
def test_split(line: str, expected: list[str]) -> None:
    assert words.split(line) == expected


@given(line=st.text(alphabet='ab=" -'))
def test_nothing_else_is_changed(line: str) -> None:
    assert clean_cmdline(line) == (" ".join(words.split(line)), [])


def test_value() -> None:
    assert words.value('root=a root="b c" -- root=d', "root") == "b c"
    assert words.value("rootflags=a", "root") is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "noresume"),
        ("root=/dev/a quiet", "root=/dev/a quiet noresume"),
        ("noresume quiet", "noresume quiet"),
        ("quiet -- noresume", "quiet noresume -- noresume"),
        ('dyndbg="a  noresume"', 'dyndbg="a  noresume" noresume'),
    ],
)
def test_with_word(before: str, after: str) -> None:
    assert words.with_word(before, "noresume") == after
    assert words.with_word(after, "noresume") == after
