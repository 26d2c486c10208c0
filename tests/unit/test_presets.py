"""mkinitcpio's presets, as they are found in the world."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem.laptop import presets


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        ('ALL_kver="/boot/vmlinuz-linux"\n', "/boot/vmlinuz-linux"),
        ("ALL_kver='/boot/vmlinuz-linux-lts'", "/boot/vmlinuz-linux-lts"),
        ("\t ALL_kver=/boot/vmlinuz-linux # mine\n", "/boot/vmlinuz-linux"),
        ('#ALL_kver="/boot/old"\nALL_kver="/boot/new"\n', "/boot/new"),
        ('ALL_kver="/boot/old"\nALL_kver="/boot/new"\n', "/boot/new"),
        ('ALL_kver="/boot/vmlinuz-$KIND"\n', ""),
        ("ALL_kver=$(uname -r)\n", ""),
        ('MY_ALL_kver="/boot/other"\n', ""),
        ("ALL_kver=\n", ""),
        # It would end the quotes of our own preset.
        ("ALL_kver=\"/boot/vm';reboot;'linuz\"\n", ""),
        ("", ""),
    ],
)
def test_value(text: str, kernel: str) -> None:
    assert presets.value(text, "ALL_kver") == kernel


def test_kernels_of_the_users_presets(tmp_path: Path) -> None:
    folder = tmp_path / presets.FOLDER.lstrip("/")
    folder.mkdir(parents=True)
    (folder / "linux.preset").write_text('ALL_kver="/boot/vmlinuz-linux"\n')
    (folder / "linux-lts.preset").write_text("ALL_kver=/boot/vmlinuz-linux-lts\n")
    (folder / "by-version.preset").write_text("ALL_kver=6.12.1-arch1\n")
    (folder / "stiefelsystem.preset").write_text("ALL_kver=/boot/vmlinuz-ours\n")
    assert presets.kernels(tmp_path) == ["/boot/vmlinuz-linux-lts", "/boot/vmlinuz-linux"]


def test_no_presets_at_all(tmp_path: Path) -> None:
    assert presets.kernels(tmp_path) == []
