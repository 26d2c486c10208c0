"""What is handed over, from whole trees: by the boot loader, the configuration, a preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem import cmdline, config
from stiefelsystem.bootloader import loaders
from stiefelsystem.bootloader.entry import Entry
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.laptop import partition, served
from stiefelsystem.laptop.partition import Place
from stiefelsystem.laptop.served import Served
from tests.unit.bootloader import empty, make, program

UUID = Path("/dev/disk/by-uuid/1-2")
ENTRY = "menuentry 'Debian GNU/Linux' {{\nlinux {0}\n{1}\n}}\n"


def grub(kernel: str = "/vmlinuz-6.12", *initrds: str, words: str = "root=UUID=1") -> str:
    initrd = f"initrd {' '.join(initrds or ('/initrd.img-6.12',))}"
    return ENTRY.format(f"{kernel} {words}", initrd)


def settings(system: str = "system-debian", **boot: str) -> Config:
    keys = "".join(f", {name}: {value}" for name, value in boot.items())
    text = f"modules: [{system}]\nboot: {{disk: /dev/sda{keys}}}\n"
    return config.parse(text, name="config.yaml")


def find(root: Path, system: str = "system-debian", **boot: str) -> Served:
    return served.find(settings(system, **boot), root)


def names(found: Served) -> tuple[str, ...]:
    return (found.kernel, *found.initrds)


DEBIAN = {
    "boot/grub/grub.cfg": grub(words="root=UUID=1 quiet resume=UUID=9"),
    **empty(*(f"boot/{one}-{n}" for one in ("vmlinuz", "initrd.img") for n in ("6.9", "6.12"))),
}
UKI = {
    "efi/EFI/Linux/arch.efi": program(
        *((".cmdline", b"root=UUID=4"), (".linux", b"k"), (".initrd", b"i"), (".uname", b"6.12"))
    )
}
PRESET = {
    "etc/mkinitcpio.d/stiefelsystem.preset": "PRESETS=('stiefel')\n"
    "ALL_kver='/boot/vmlinuz-linux-lts' # mine\nstiefel_image=\"/boot/initramfs-stiefel.img\"\n",
    **empty("boot/vmlinuz-linux", "boot/vmlinuz-linux-lts", "boot/initramfs-stiefel.img"),
}


def test_boot_loader(tmp_path: Path) -> None:
    """The newest is found by its pattern: what is installed on the desktop is found, too."""
    found = find(make(tmp_path, DEBIAN))
    assert names(found) == ("vmlinuz-*", "initrd.img-*")
    assert found.files == (Path("/boot/vmlinuz-6.12"), Path("/boot/initrd.img-6.12"))
    assert found.source == "GRUB's default entry 'Debian GNU/Linux' (/boot/grub/grub.cfg)"
    assert found.cmdline == "root=UUID=1 quiet noresume"
    assert [one.word for one in found.dropped] == ["resume=UUID=9"]
    assert found.part is None
    assert found.notes == (f"{tmp_path} is no mounted system: the partition is known when it runs",)


def test_not_the_newest(tmp_path: Path) -> None:
    older = grub("/vmlinuz-6.9", "/initrd.img-6.9")
    found = find(make(tmp_path, {**DEBIAN, "boot/grub/grub.cfg": older}))
    assert names(found) == ("vmlinuz-6.9", "initrd.img-6.9")


def test_other_names(tmp_path: Path) -> None:
    files = empty("boot/id/6.12/linux", "boot/id/6.12/initrd")
    text = grub("/id/6.12/linux", "/id/6.12/initrd")
    found = find(make(tmp_path, {"boot/grub/grub.cfg": text, **files}))
    assert names(found) == ("id/6.12/linux", "id/6.12/initrd")


def test_links_lead_to_the_newest(tmp_path: Path) -> None:
    make(tmp_path, {**DEBIAN, "boot/grub/grub.cfg": grub("/vmlinuz", "/initrd.img")})
    for name in ("vmlinuz", "initrd.img"):
        (tmp_path / "boot" / name).symlink_to(f"{name}-6.12")
    found = find(tmp_path)
    assert names(found) == ("vmlinuz-*", "initrd.img-*")
    assert found.files[0] == Path("/boot/vmlinuz-6.12")


def test_microcode(tmp_path: Path) -> None:
    """Several initrds; the last one is the system's own."""
    text = grub("/vmlinuz-6.12", "/ucode.img", "/initrd.img-6.12")
    found = find(make(tmp_path, {**DEBIAN, **empty("boot/ucode.img"), "boot/grub/grub.cfg": text}))
    assert names(found) == ("vmlinuz-*", "ucode.img", "initrd.img-*")
    assert len(found.files) == 3


def test_unified(tmp_path: Path) -> None:
    found = find(make(tmp_path, UKI), "system-arch-dracut")
    assert names(found) == ("EFI/Linux/arch.efi",) * 2
    assert found.files == (Path("/efi/EFI/Linux/arch.efi"),)
    assert found.cmdline == "root=UUID=4 noresume"


def test_loader_is_not_understood(tmp_path: Path) -> None:
    make(tmp_path, {**DEBIAN, "boot/grub/grub.cfg": "menuentry a {"})
    found = find(tmp_path)
    assert names(found) == ("vmlinuz-*", "initrd.img-*")
    assert found.source == "the newest vmlinuz-*"
    assert "not closed; taken instead: the newest vmlinuz-*, the command line" in found.notes[0]
    for name in ("vmlinuz-6.9", "vmlinuz-6.12"):
        (tmp_path / "boot" / name).unlink()
    with pytest.raises(StiefelError, match=r"grub.cfg:1: .*not closed"):
        find(tmp_path)


def test_running_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a boot loader that is known, as in a virtual machine that QEMU boots directly."""

    def unknown(root: Path) -> Entry:
        raise StiefelError(f"nothing is found in {root}")

    monkeypatch.setattr(loaders, "default", unknown)
    monkeypatch.setattr(cmdline, "running", lambda: "BOOT_IMAGE=/x root=UUID=1 -- single")
    files = "{kernel: etc/passwd, initrd: etc/group}"
    found = find(Path("/"), load=files, part="/dev/nothing")
    assert names(found) == ("etc/passwd", "etc/group")
    assert found.cmdline == "root=UUID=1 noresume -- single"
    assert [one.word for one in found.dropped] == ["BOOT_IMAGE=/x"]
    note = "nothing is found in /; taken instead: the running kernel's command line"
    assert found.notes == (note,)


def test_entry_without_an_initrd(tmp_path: Path) -> None:
    text = "menuentry a {\nlinux /vmlinuz-6.12 root=/dev/sda1\n}\n"
    make(tmp_path, {"boot/grub/grub.cfg": text, **empty("boot/vmlinuz-6.12")})
    with pytest.raises(StiefelError, match="the default 'a' has no initrd"):
        find(tmp_path)
    found = find(make(tmp_path, empty("boot/initrd.img-6.12")))
    assert "has no initrd" in found.notes[0]


def test_no_loader_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="no boot loader's configuration"):
        find(tmp_path)


# --- the configuration


def test_written_names(tmp_path: Path) -> None:
    make(tmp_path, {**DEBIAN, **empty("boot/arch/k-1", "boot/arch/k-2", "boot/u", "boot/i-1")})
    found = find(tmp_path, load="{kernel: arch//k-*, initrd: 'u,i-*'}")
    assert names(found) == ("arch/k-*", "u", "i-*")
    assert found.files[0] == Path("/boot/arch/k-1")
    assert found.source == "boot.load in config.yaml"
    assert found.cmdline == "root=UUID=1 quiet noresume", "the boot loader's"
    with pytest.raises(StiefelError, match=r"there is no k-9 with its initrd\.img"):
        find(tmp_path, load="{kernel: k-9, initrd: initrd.img}")


def test_one_written_name(tmp_path: Path) -> None:
    make(tmp_path, {**DEBIAN, **empty("boot/k-6.9")})
    assert names(find(tmp_path, load="{kernel: k-*}")) == ("k-*", "initrd.img-*")


def test_written_command_line(tmp_path: Path) -> None:
    """Whoever writes one gets it as it is."""
    found = find(make(tmp_path, DEBIAN), load="{cmdline: root=/dev/sda1 resume=/dev/sda2}")
    assert found.cmdline == "root=/dev/sda1 resume=/dev/sda2 noresume"
    assert found.dropped == ()
    assert names(found) == ("vmlinuz-*", "initrd.img-*")


def test_nothing_is_said_of_a_loader_that_is_not_asked(tmp_path: Path) -> None:
    make(tmp_path, empty("boot/k", "boot/i"))
    found = find(tmp_path, load="{kernel: k, initrd: i, cmdline: ro}", part="/dev/sda1")
    assert (found.notes, found.part) == ((), Path("/dev/sda1"))


def test_a_partition_that_is_not_mounted(tmp_path: Path) -> None:
    """The ramdisk finds what is there."""
    found = find(tmp_path, load="{kernel: k-*, initrd: i-*, cmdline: ro}", part="/dev/sda1")
    assert (names(found), found.part, found.files) == (("k-*", "i-*"), Path("/dev/sda1"), ())


def test_encrypted_boot_partition(tmp_path: Path) -> None:
    part = "{type: luks, block: /dev/mapper/x, luks_block: /dev/sda2}"
    with pytest.raises(StiefelError, match="cannot open an encrypted boot partition"):
        find(make(tmp_path, DEBIAN), part=part)


# --- mkinitcpio


def test_preset(tmp_path: Path) -> None:
    make(tmp_path, PRESET)
    found = find(tmp_path, "system-arch")
    assert names(found) == ("vmlinuz-linux-lts", "initramfs-stiefel.img")
    assert found.source == "/etc/mkinitcpio.d/stiefelsystem.preset"
    make(tmp_path, {"boot/grub/grub.cfg": grub("/vmlinuz-linux", "/initramfs-stiefel.img")})
    found = find(tmp_path, "system-arch")
    assert names(found) == ("vmlinuz-linux-lts", "initramfs-stiefel.img")
    assert "the boot loader's default is vmlinuz-linux, but" in found.notes[0]
    assert found.cmdline == "root=UUID=1 noresume"
    make(tmp_path, {"boot/grub/grub.cfg": grub("/vmlinuz-linux-lts", "/initramfs-stiefel.img")})
    assert len(find(tmp_path, "system-arch").notes) == 1, "of the tree alone"


def test_the_kernel_of_the_preset_itself(tmp_path: Path) -> None:
    """It counts more than that of all: mkinitcpio(8)."""
    make(tmp_path, PRESET)
    (path,) = tmp_path.glob("etc/mkinitcpio.d/*")
    path.write_text(f"{path.read_text()}stiefel_kver=/boot/vmlinuz-linux\n")
    assert find(tmp_path, "system-arch").kernel == "vmlinuz-linux"


def test_preset_beside_a_unified_image(tmp_path: Path) -> None:
    """Which package its kernel is from is known by its version."""
    make(tmp_path, {**PRESET, **UKI})
    assert len(find(tmp_path, "system-arch").notes) == 1
    make(tmp_path, {"usr/lib/modules/6.12/pkgbase": "linux-zen\n"})
    assert "default is vmlinuz-linux-zen" in find(tmp_path, "system-arch").notes[0]
    make(tmp_path, {"usr/lib/modules/6.12/pkgbase": "linux-lts\n"})
    assert len(find(tmp_path, "system-arch").notes) == 1


def test_preset_that_is_not_understood(tmp_path: Path) -> None:
    (name,) = (name for name in PRESET if name.startswith("etc"))
    for text in ("ALL_kver=/boot/vmlinuz-linux\n", "ALL_kver=6.12\nstiefel_image=/boot/i\n", ""):
        make(tmp_path, {**PRESET, name: text})
        with pytest.raises(StiefelError, match="paths of kernel and image are not plainly told"):
            find(tmp_path, "system-arch")


def test_image_is_not_made_yet(tmp_path: Path) -> None:
    make(tmp_path, PRESET)
    (tmp_path / "boot/initramfs-stiefel.img").unlink()
    with pytest.raises(StiefelError, match=r"names /boot/initramfs-stiefel.img, which is not"):
        find(tmp_path, "system-arch")


def test_no_preset(tmp_path: Path) -> None:
    make(tmp_path, empty("boot/vmlinuz-linux", "boot/initramfs-stiefel.img"))
    found = find(tmp_path, "system-arch")
    assert names(found) == ("vmlinuz-linux", "initramfs-stiefel.img")
    assert found.source == "the module system-arch"


# --- the partition


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree as if it were mounted from the btrfs subvolume @; test_partition has real mounts."""
    monkeypatch.setattr("os.path.ismount", tmp_path.__eq__)
    device = tmp_path / "dev/sda2"

    def place(path: Path) -> Place:
        return Place(device, f"@/{path.relative_to(tmp_path)}")

    monkeypatch.setattr(partition, "place", place)
    monkeypatch.setattr(partition, "common", lambda *_: UUID)
    return make(tmp_path, DEBIAN)


def test_names_on_the_partition(mounted: Path) -> None:
    found = find(mounted)
    assert names(found) == ("@/boot/vmlinuz-*", "@/boot/initrd.img-*")
    assert (found.part, found.notes) == (UUID, ())
    found = find(mounted, load="{kernel: boot/vmlinuz-6.9, initrd: boot/initrd.img-6.9}")
    assert names(found) == ("@/boot/vmlinuz-6.9", "@/boot/initrd.img-6.9")


def test_names_on_a_named_partition(mounted: Path) -> None:
    """On the one that is mounted, its own names; on another one, those from its top."""
    part = str(mounted / "dev/sda2")
    assert names(find(mounted, part=f"{part}")) == ("@/boot/vmlinuz-*", "@/boot/initrd.img-*")
    found = find(mounted, part="/dev/sdb1")
    assert (names(found), found.part) == (("vmlinuz-*", "initrd.img-*"), Path("/dev/sdb1"))


def test_links_out_of_a_pattern(mounted: Path) -> None:
    """Where a link leads elsewhere, only the files themselves are certain."""
    (mounted / "boot/k-1").symlink_to("grub/kernel")
    make(mounted, empty("boot/grub/kernel", "boot/i-1"))
    found = find(mounted, load="{kernel: k-*, initrd: i-*}")
    assert names(found) == ("@/boot/grub/kernel", "@/boot/i-1")


# --- what the ramdisk is told


def test_server_settings(mounted: Path) -> None:
    wanted = settings(swap="true")
    told = served.server_settings(wanted, served.find(wanted, mounted))
    assert told == cmdline.ServerSettings(
        disk=Path("/dev/sda"),
        part=UUID,
        kernel="@/boot/vmlinuz-*",
        initrd="@/boot/initrd.img-*",
        cmdline="root=UUID=1 quiet noresume",
        swap=True,
    )
    found = find(mounted, load="{kernel: vmlinuz-6.9, initrd: 'initrd.img-6.9,vmlinuz-6.9'}")
    told = served.server_settings(wanted, found)
    assert told.initrds == ("@/boot/initrd.img-6.9", "@/boot/vmlinuz-6.9")


def test_what_the_ramdisk_cannot_be_told(tmp_path: Path) -> None:
    make(tmp_path, DEBIAN)
    with pytest.raises(StiefelError, match="partition with kernel and initrd is not known"):
        served.server_settings(settings(), find(tmp_path))
    text = grub("/vmlinuz-6.12", "/a,b", "/initrd.img-6.12")
    make(tmp_path, {"boot/grub/grub.cfg": text, **empty("boot/a,b")})
    with pytest.raises(StiefelError, match="'a,b' has a comma in its name"):
        served.server_settings(settings(), find(tmp_path, part="/dev/sda1"))
