"""Modules of the configuration: ours are well-formed, and a user's own are read like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stiefelsystem import config
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import modules
from stiefelsystem.host.modules import Contents
from stiefelsystem.ramdisk import keeper

REPO = Path(__file__).resolve().parents[2]
SHA256 = "0" * 64


def settings(folder: Path, names: str = "", more: str = "") -> Config:
    text = f"modules: [system-debian{names}]\nboot: {{disk: /dev/vda}}\n{more}"
    return config.parse(text, name="config.yaml", base=folder)


def contents(folder: Path, names: str = "", more: str = "") -> Contents:
    return modules.contents(settings(folder, names, more), "amd64")


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPO / "modules").glob("*.yaml")))
def test_our_own_files_are_well_formed(name: str, tmp_path: Path) -> None:
    path = REPO / f"modules/{name}.yaml"
    found = modules.read_module(path)
    assert found.description
    for one in (*found.take, *found.leave_out):
        assert one.reason and (one.files or one.kernel_modules or one.python)


def test_every_module_of_the_configuration_has_its_file() -> None:
    ours = {name for name in config.MODULES if not name.startswith("system-")}
    assert {path.stem for path in (REPO / "modules").glob("*.yaml")} == {*ours, "luks"}


def test_the_architecture_stands_in_package_names(tmp_path: Path) -> None:
    packages = contents(tmp_path).packages_in_part
    assert "linux-image-amd64" in packages
    assert not [name for name in packages if "{" in name]


def test_include_packages_are_packed_whole(tmp_path: Path) -> None:
    found = contents(tmp_path, more="initrd: {include-packages: [htop]}")
    assert found.packages == ("htop",)


def test_an_encrypted_boot_partition_brings_its_module(tmp_path: Path) -> None:
    text = (
        "modules: [system-debian]\nboot: {disk: /dev/vda, part: {type: luks, "
        "block: /dev/mapper/x, luks_block: /dev/vda1}}\n"
    )
    read = config.parse(text, name="config.yaml", base=tmp_path)
    assert "cryptsetup-bin" in modules.contents(read, "amd64").packages


def test_debug_brings_what_its_settings_say(tmp_path: Path) -> None:
    more = "module-configs: {debug: {better-shell: false, extra-packages: [htop]}}"
    assert "nano" in contents(tmp_path, ", debug").packages
    found = contents(tmp_path, ", debug", more).packages
    assert "htop" in found and "strace" in found and "nano" not in found


OWN = """\
description: wakes the neighbours
packages: [etherwake]
take:
  - reason: what it is for
    files: [/etc/ethers]
    kernel-modules: [drivers/net/dummy.ko*]
files:
  - path: /etc/systemd/system/wake.service
    text: |
      [Service]
      ExecStart=/usr/sbin/etherwake 00:11:22:33:44:55
start: [wake.service]
"""


def test_a_users_own_module(tmp_path: Path) -> None:
    (tmp_path / "wake.yaml").write_text(OWN)
    found = contents(tmp_path, ", ./wake.yaml")
    assert found.packages == ("etherwake",)
    assert found.start == ("wake.service",)
    assert "[Service]\nExecStart" in found.files["etc/systemd/system/wake.service"]
    taken = next(one for one in found.take if one.reason == "what it is for")
    assert taken.kernel_modules == ("drivers/net/dummy.ko*",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("description: x\npackage: [a]\n", "wake.yaml:2: package: unknown key"),
        ("packages: [nano]\n", "description: is missing"),
        ("description: x\ntake: [{files: [/etc]}]\n", "take[0].reason: is missing"),
        ("description: x\ntake: [{reason: y, files: [etc]}]\n", "is not an absolute path"),
        ("description: x\npackages: [Nano!]\n", "is not a Debian package's name"),
    ],
)
def test_a_wrong_module_file_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "wake.yaml").write_text(text)
    with pytest.raises(StiefelError) as caught:
        contents(tmp_path, ", wake.yaml")
    assert complaint in str(caught.value)


def test_a_missing_module_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match=r"nowhere\.yaml: No such file"):
        contents(tmp_path, ", nowhere.yaml")


def test_the_kernels_driver_is_taken_where_no_source_is_named(tmp_path: Path) -> None:
    assert "r8152" not in contents(tmp_path, ", r8152").sources
    more = f"module-configs: {{r8152: {{url: 'https://h/x.tar.gz', sha256: {SHA256}}}}}"
    source = contents(tmp_path, ", r8152", more).sources["r8152"]
    assert source.url == "https://h/x.tar.gz"
    assert source.sha256 == SHA256


def test_the_keeper_is_built_of_our_own_source(tmp_path: Path) -> None:
    source = contents(tmp_path).sources["nbd"]
    assert source.folder is not None and (REPO / source.folder / "Makefile").is_file()
    (result,) = source.results
    assert Path("/") / result.place("any") == keeper._PROGRAM


def test_a_module_that_is_nothing_without_its_source_wants_it(tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="clevo-fancontrol") as caught:
        contents(tmp_path, ", clevo-fancontrol")
    assert "sha256" in caught.value.hint


def test_a_source_without_its_digest_is_not_built(tmp_path: Path) -> None:
    more = "module-configs: {r8152: {url: 'https://h/x.tar.gz'}}"
    with pytest.raises(StiefelError, match="is not built without its sha256"):
        contents(tmp_path, ", r8152", more)
