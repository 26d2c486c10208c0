"""What is found on a boot partition, here a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem import boot_files
from stiefelsystem.console import StiefelError

DEBIAN = ("vmlinuz-*", "initrd.img-*")


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """A boot partition; what is beside it is not on it."""
    (tmp_path / "boot").mkdir()
    (tmp_path / "vmlinuz-9.9").write_text("outside")
    (tmp_path / "initrd.img-9.9").write_text("outside")
    return tmp_path / "boot"


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def pairs(folder: Path, *versions: str) -> None:
    for version in versions:
        fill(folder, *(pattern.replace("*", version) for pattern in DEBIAN))


def found(boot: Path, kernel: str = DEBIAN[0], initrd: str = DEBIAN[1]) -> tuple[str, str]:
    """The names of what is found, relative to the partition."""
    one, (other,) = boot_files.find(boot, kernel, [initrd])
    assert one.is_file()
    assert other.is_file()
    return str(one.relative_to(boot)), str(other.relative_to(boot))


def nothing(boot: Path, kernel: str = DEBIAN[0], initrd: str = DEBIAN[1]) -> None:
    with pytest.raises(StiefelError) as caught:
        boot_files.find(boot, kernel, [initrd])
    assert str(caught.value) == f"the boot partition has no {kernel} with its {initrd}"
    assert "boot.load" in caught.value.hint


@pytest.mark.parametrize(
    "versions",
    [
        ["6.12.9", "6.12.10"],
        ["6.12.9-1-amd64", "6.12.10-1-amd64"],
        ["6.9", "6.12"],
        ["6.1.0-9-amd64", "6.1.0-28-amd64", "6.1.0-119-amd64"],
        ["5.19.17", "6.1.0"],
        ["6.12", "6.12.1"],
        ["9", "10"],
        ["6.12.30+deb13-amd64", "6.12.100+deb13-amd64"],
    ],
)
def test_newest_version_by_number(boot: Path, versions: list[str]) -> None:
    newest = versions[-1]
    for order in (versions, versions[::-1]):
        pairs(boot, *order)
        assert found(boot) == (f"vmlinuz-{newest}", f"initrd.img-{newest}")


def test_pair_is_required(boot: Path) -> None:
    pairs(boot, "6.12.9")
    fill(boot, "vmlinuz-6.12.10", "initrd.img-6.12.11")
    assert found(boot) == ("vmlinuz-6.12.9", "initrd.img-6.12.9")


def test_no_pair(boot: Path) -> None:
    nothing(boot)
    fill(boot, "vmlinuz-6.12.10", "initrd.img-6.12.11", "vmlinuz-", "initrd.img-")
    nothing(boot)


def test_version_is_the_same_in_both(boot: Path) -> None:
    fill(boot, "vmlinuz-1", "initrd.img-11", "vmlinuz-11.old", "initrd.img-1.old")
    nothing(boot)


def test_folders_are_no_files(boot: Path) -> None:
    pairs(boot, "6.1")
    (boot / "vmlinuz-6.2").mkdir()
    fill(boot, "initrd.img-6.2", "vmlinuz-6.3")
    (boot / "initrd.img-6.3").mkdir()
    assert found(boot) == ("vmlinuz-6.1", "initrd.img-6.1")


def test_boot_folder_on_a_root_partition(boot: Path) -> None:
    pairs(boot / "boot", "6.1")
    assert found(boot) == ("boot/vmlinuz-6.1", "boot/initrd.img-6.1")


def test_partition_comes_before_its_boot_folder(boot: Path) -> None:
    pairs(boot / "boot", "6.2")
    pairs(boot, "6.1")
    assert found(boot) == ("vmlinuz-6.1", "initrd.img-6.1")
    (boot / "vmlinuz-6.1").unlink()
    assert found(boot) == ("boot/vmlinuz-6.2", "boot/initrd.img-6.2")


def test_pair_is_not_torn_between_the_folders(boot: Path) -> None:
    fill(boot, "vmlinuz-6.1", "boot/initrd.img-6.1")
    nothing(boot)


def test_fixed_names(boot: Path) -> None:
    fill(boot, "vmlinuz-linux", "initramfs-linux.img", "initramfs-linux-fallback.img")
    expected = ("vmlinuz-linux", "initramfs-linux.img")
    assert found(boot, *expected) == expected
    nothing(boot, "vmlinuz-linux-lts", "initramfs-linux.img")
    nothing(boot, "vmlinuz-linux", "initramfs.img")


def test_fixed_initrd_for_every_kernel(boot: Path) -> None:
    fill(boot, "vmlinuz-9", "vmlinuz-10", "initrd")
    assert found(boot, "vmlinuz-*", "initrd") == ("vmlinuz-10", "initrd")


def test_star_within_the_name(boot: Path) -> None:
    fill(boot, "vmlinuz-linux", "vmlinuz-linux-lts", "initramfs-linux.img")
    expected = ("vmlinuz-linux", "initramfs-linux.img")
    assert found(boot, "vmlinuz-*", "initramfs-*.img") == expected


def test_files_in_folders(boot: Path) -> None:
    fill(boot, "arch/kernel-6.1.efi", "arch/sub/6.1/initrd", "kernel-7.efi", "sub/7/initrd")
    expected = ("arch/kernel-6.1.efi", "arch/sub/6.1/initrd")
    assert found(boot, "arch/kernel-*.efi", "arch/sub/*/initrd") == expected


def test_version_of_the_folder(boot: Path) -> None:
    """As systemd's kernel-install lays them out."""
    fill(boot, *(f"id/6.12.{n}/{name}" for n in (9, 10, 8) for name in ("linux", "initrd")))
    assert found(boot, "id/*/linux", "id/*/initrd") == ("id/6.12.10/linux", "id/6.12.10/initrd")


@pytest.mark.parametrize("start", ["/", "//", "./", "sub//", "/sub/./"])
def test_other_spellings_of_a_path(boot: Path, start: str) -> None:
    pairs(boot / start.lstrip("/"), "6.1")
    one, (other,) = boot_files.find(boot, start + DEBIAN[0], [start + DEBIAN[1]])
    assert (one.name, other.name) == ("vmlinuz-6.1", "initrd.img-6.1")


@pytest.mark.parametrize(
    "name", ["a.c", "a+b", "(a|b)", "a$", "^a", r"a\d", "{a}", "[abc]", "a?c", "[!a]", "a b", "ä"]
)
def test_only_the_star_is_special(boot: Path, name: str) -> None:
    """Whatever means something to a regular expression or a shell means itself."""
    fill(boot, "abc-1", "aab-1", "a-1", "b-1", "a5-1", "initrd-1")
    nothing(boot, f"{name}-*", "initrd-*")
    nothing(boot, f"{name}-1", "initrd-1")
    fill(boot, f"{name}-1", f"{name}-1.img")
    for kernel, initrd in ((f"{name}-*", f"{name}-*.img"), (f"{name}-1", f"{name}-1.img")):
        assert found(boot, kernel, initrd) == (f"{name}-1", f"{name}-1.img")


@pytest.mark.parametrize(
    "version", ["[1]", "1?", r"\1", r"\g<0>", "1 2", "²", "1²3", "٣", "ä+()", "*"]
)
def test_odd_versions(boot: Path, version: str) -> None:
    pairs(boot, version)
    fill(boot, "initrd.img-1", "initrd.img-vmlinuz-1")
    assert found(boot) == (f"vmlinuz-{version}", f"initrd.img-{version}")


def test_links_within_the_partition(boot: Path) -> None:
    pairs(boot, "6.1.0")
    (boot / "vmlinuz").symlink_to("vmlinuz-6.1.0")
    (boot / "initrd.img").symlink_to("initrd.img-6.1.0")
    assert found(boot, "vmlinuz", "initrd.img") == ("vmlinuz", "initrd.img")


@pytest.mark.parametrize("to", ["../vmlinuz-9.9", "/etc/passwd", "folder/../../vmlinuz-9.9"])
@pytest.mark.parametrize("which", [0, 1])
def test_links_that_lead_outside(boot: Path, to: str, which: int) -> None:
    """The partition's files are another machine's; these links lead into the ramdisk's own."""
    (boot / "folder").mkdir()
    pairs(boot, "6.1", "6.2")
    name = DEBIAN[which].replace("*", "6.2")
    (boot / name).unlink()
    (boot / name).symlink_to(to)
    assert (boot / name).is_file()
    assert found(boot) == ("vmlinuz-6.1", "initrd.img-6.1")
    nothing(boot, "vmlinuz-6.2", "initrd.img-6.2")


def test_folder_that_leads_outside(boot: Path) -> None:
    (boot / "boot").symlink_to("..")
    nothing(boot)
    nothing(boot, "boot/vmlinuz-*", "boot/initrd.img-*")


def test_pattern_that_leads_outside(boot: Path) -> None:
    nothing(boot, "../vmlinuz-*", "../initrd.img-*")
    nothing(boot, "../vmlinuz-9.9", "../initrd.img-9.9")
    pairs(boot, "6.1")
    nothing(boot, "vmlinuz-*", "../initrd.img-9.9")


def test_version_that_leads_outside(boot: Path) -> None:
    fill(boot, "vmlinuz-..", "a/x")
    nothing(boot, "vmlinuz-*", "a/*/../initrd.img-9.9")


def test_broken_links_and_loops(boot: Path) -> None:
    pairs(boot, "6.1")
    (boot / "vmlinuz-6.2").symlink_to("nothing")
    (boot / "vmlinuz-6.3").symlink_to("vmlinuz-6.3")
    fill(boot, "initrd.img-6.2", "initrd.img-6.3")
    assert found(boot) == ("vmlinuz-6.1", "initrd.img-6.1")


def test_partition_reached_by_a_link(boot: Path) -> None:
    pairs(boot, "6.1")
    (boot.parent / "link").symlink_to(boot)
    assert found(boot.parent / "link") == ("vmlinuz-6.1", "initrd.img-6.1")


@given(
    versions=st.lists(
        st.lists(st.integers(0, 300), min_size=3, max_size=3).map(tuple), min_size=1, unique=True
    )
)
def test_newest_of_any(
    tmp_path_factory: pytest.TempPathFactory, versions: list[tuple[int, ...]]
) -> None:
    boot = tmp_path_factory.mktemp("boot")
    names = {version: ".".join(map(str, version)) + "-amd64" for version in versions}
    pairs(boot, *names.values())
    assert found(boot)[0] == f"vmlinuz-{names[max(versions)]}"


@given(
    version=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
)
def test_any_version(tmp_path_factory: pytest.TempPathFactory, version: str) -> None:
    boot = tmp_path_factory.mktemp("boot")
    if len(version.encode()) < 200:
        pairs(boot, version, "0")
        assert found(boot)[0] in (f"vmlinuz-{version}", "vmlinuz-0")
        (boot / "vmlinuz-0").unlink()
        if version != "0":
            assert found(boot) == (f"vmlinuz-{version}", f"initrd.img-{version}")


def test_several_initrds(boot: Path) -> None:
    """Of the newest version that has all of them, in their order."""
    fill(boot, "ucode", "k-1", "i-1", "more-1", "k-2", "i-2")
    names = ["ucode", "i-*", "more-*"]
    expected = [boot / name for name in ("ucode", "i-1", "more-1")]
    assert boot_files.find(boot, "k-*", names) == (boot / "k-1", tuple(expected))
    (boot / "ucode").unlink()
    with pytest.raises(StiefelError) as caught:
        boot_files.find(boot, "k-*", names)
    message = "the boot partition has no k-* with its ucode and i-* and more-*"
    assert str(caught.value) == message


def test_one_file_for_both(boot: Path) -> None:
    """A unified kernel image."""
    fill(boot, "EFI/Linux/a-9.efi", "EFI/Linux/a-10.efi")
    name = "EFI/Linux/a-*.efi"
    assert found(boot, name, name) == ("EFI/Linux/a-10.efi",) * 2
