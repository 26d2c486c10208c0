"""config.yaml: what loads, as what, and what every refusal says."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from stiefelsystem.config import ClientSetup, Config, Part, load, parse
from stiefelsystem.schema import key_paths

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config-example.yaml"

MINIMAL = """\
modules: [system-debian]
boot:
  disk: /dev/sda
"""

MAXIMAL = """\
modules: [base, nbd, lvm, debug, r8152, clevo-fancontrol, system-arch]
boot:
  disk: /dev/disk/by-id/nvme-X_1
  part:
    type: luks
    block: /dev/mapper/root
    luks_block: /dev/sda2
  cmdline: nomodeset
  swap: true
  load:
    kernel: arch/vmlinuz-*
    initrd: arch/initramfs-*.img
    cmdline: root=/dev/mapper/root rw
autokexec:
  macs: [00:11:22:33:44:55, "AA-BB-CC-DD-EE-FF", 10:11:22:33:44:55, aa:bb:cc:dd:ee:ff]
  mac_detection: no
  broadcast: off
  delay: 0
server:
  after-session: poweroff
  wait: 30
link:
  encryption: none
server-setup:
  stiefelsystem-kernel: /boot/s/vmlinuz
  stiefelsystem-initrd: /boot/s/initrd
  cmdline: >
    console=ttyS0
    quiet
client-setup:
  cmdline: nomodeset
  timeout: 60
  first-sector: 63
initrd:
  include-packages: [vim, 0xffff, g++]
  shell: /bin/zsh
  password: "1234"
  packing:
    compressor: xz --check=crc32 -T0
    exclude-paths: [/usr/share/doc/*]
    exclude-packages: [perl-base]
paths:
  cache: /var/cache/stiefel
  workdir: ../work
  key: secret/aes-key
  workdir-subpaths:
    cpio: out/image.cpio
    initrd: tree
    initrd-devel: devel
module-configs:
  debug:
    better-shell: false
    dont-exclude-packages: false
    dont-exclude-paths: false
    faster-compressor: false
    extra-packages: [htop]
  r8152:
    url: https://example.org/r8152.tar.gz
    sha256: ABCDEFabcdefABCDEFabcdefABCDEFabcdefABCDEFabcdefABCDEFabcdefABCD
  clevo-fancontrol:
    url: https://example.org/clevo.tar.gz
    sha256: 0000000000000000000000000000000000000000000000000000000000000000
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL))
    assert config.modules == ("base", "nbd", "system-debian")
    assert config.system == "system-debian"
    assert config.debug is None
    assert config.boot.disk == Path("/dev/sda")
    assert config.boot.part is None
    assert config.boot.cmdline == ""
    assert config.boot.load.cmdline is None
    assert config.autokexec.macs == ()
    assert config.autokexec.mac_detection is True
    assert config.autokexec.broadcast is True
    assert config.autokexec.delay == 10
    assert config.boot.swap is False
    assert (config.server.after_session, config.server.wait) == ("reboot", 600)
    assert config.link.encryption == "wireguard"
    assert config.server_setup.stiefelsystem_kernel == Path("/boot/stiefelsystem/vmlinuz")
    assert config.server_setup.stiefelsystem_initrd == Path("/boot/stiefelsystem/initrd")
    assert config.initrd.shell == Path("/bin/bash")
    assert config.initrd.password is None
    assert config.initrd.packing.compressor_argv == ("zstd", "-T0", "-18")
    assert config.paths.cache == tmp_path / "cache"
    assert config.paths.workdir == tmp_path / "workdir"
    assert config.paths.cpio == tmp_path / "workdir/stiefel.cpio"
    assert config.paths.initrd == tmp_path / "workdir/initrd"
    assert config.paths.initrd_devel == tmp_path / "workdir/initrd-devel"
    assert config.module_configs.debug.better_shell is True
    assert config.module_configs.r8152.url is None


def test_every_key(tmp_path: Path) -> None:
    config = load(write(tmp_path, MAXIMAL))
    assert config.boot.part == Part(
        type="luks", block=Path("/dev/mapper/root"), luks_block=Path("/dev/sda2")
    )
    assert config.boot.load.kernel == "arch/vmlinuz-*"
    assert config.autokexec.macs == (
        "00:11:22:33:44:55",
        "aa:bb:cc:dd:ee:ff",
        "10:11:22:33:44:55",
    )
    assert (config.autokexec.mac_detection, config.autokexec.broadcast) == (False, False)
    assert config.autokexec.delay == 0
    assert config.boot.swap is True
    assert (config.server.after_session, config.server.wait) == ("poweroff", 30)
    assert config.link.encryption == "none"
    assert config.server_setup.cmdline == "console=ttyS0 quiet"
    assert config.client_setup == ClientSetup(cmdline="nomodeset", timeout=60, first_sector=63)
    assert config.initrd.include_packages == ("vim", "0xffff", "g++")
    assert config.initrd.password == "1234"
    assert "1234" not in repr(config)
    assert config.initrd.packing.compressor_argv == ("xz", "--check=crc32", "-T0")
    assert config.paths.cache == Path("/var/cache/stiefel")
    assert config.paths.cpio == tmp_path / "../work/out/image.cpio"
    assert config.debug is not None
    assert config.debug.extra_packages == ("htop",)
    assert config.module_configs.clevo_fancontrol.url == "https://example.org/clevo.tar.gz"
    missing = [path for path in key_paths(Config) if f"{path.rpartition('.')[2]}:" not in MAXIMAL]
    assert missing == []


def test_config_cannot_be_changed() -> None:
    config = parse(MINIMAL, name="x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.boot.cmdline = "x"  # type: ignore[misc]


def test_null_means_the_default() -> None:
    names = [path for path in key_paths(Config) if "." not in path]
    nulls = "".join(f"{name}: null\n" for name in names if name not in ("modules", "boot"))
    assert parse(MINIMAL + "  part: null\n  load: ~\n" + nulls, name="x") == parse(
        MINIMAL, name="x"
    )


def test_byte_order_mark(tmp_path: Path) -> None:
    assert load(write(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode())) == load(
        write(tmp_path, MINIMAL)
    )


def test_relative_paths_are_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load(Path("config.yaml")).paths.cache == tmp_path / "cache"
    assert parse(MINIMAL, name="x", base=Path("/b")).paths.workdir == Path("/b/workdir")


@pytest.mark.parametrize(
    ("system", "kernel", "initrd"),
    [
        ("system-debian", "vmlinuz-*", "initrd.img-*"),
        ("system-arch", "vmlinuz-linux", "initramfs-stiefel.img"),
        ("system-arch-dracut", "vmlinuz-linux", "initramfs-linux.img"),
        ("system-gentoo", "vmlinuz-*", "initramfs-*.img"),
    ],
)
def test_load_follows_the_system(system: str, kernel: str, initrd: str) -> None:
    text = MINIMAL.replace("system-debian", system)
    config = parse(text, name="x")
    assert config.usual_names == config.load_names == (kernel, initrd)
    assert (config.boot.load.kernel, config.boot.load.initrd) == ("", ""), "nothing is written"
    config = parse(f"{text}  load: {{initrd: mine.img}}\n", name="x")
    assert config.load_names == (kernel, "mine.img")
    assert config.usual_names == (kernel, initrd)


@pytest.mark.parametrize(
    "part", ["part: /dev/sda2", "part: {block: /dev/sda2}", "part: {type: plain, block: /dev/sda2}"]
)
def test_plain_part(part: str) -> None:
    assert parse(f"{MINIMAL}  {part}\n", name="x").boot.part == Part(block=Path("/dev/sda2"))


def test_aliases_that_make_sense_work() -> None:
    text = MINIMAL + "initrd:\n  include-packages: &p [vim]\n  packing: {exclude-packages: *p}\n"
    assert parse(text, name="x").initrd.packing.exclude_packages == ("vim",)


# --- the example


def test_example_loads_and_shows_the_defaults() -> None:
    config = load(EXAMPLE)
    text = MINIMAL.replace("/dev/sda", "/dev/disk/by-id/nvme-YOUR_DISK")
    assert config == parse(text, name="x", base=ROOT)


def test_example_shows_every_key() -> None:
    # Settings are commented out with a bare #, prose with a # and a blank.
    text = re.sub(r"(?m)^( *)#(?=[a-z-]|  (?:type|block|luks_block|-))", r"\1", EXAMPLE.read_text())
    text = text.replace("  part: null\n", "").replace("macs: []", "macs:")
    config = parse(text, name="config-example.yaml")
    assert "lvm" in config.modules
    assert config.boot.part is not None
    assert config.boot.part.luks_block is not None
    assert config.autokexec.macs == ("00:11:22:aa:bb:cc",)

    found, above = set(), list[tuple[int, str]]()
    for match in re.finditer(r"(?m)^( *)([a-z0-9_-]+):", text):
        above = [item for item in above if item[0] < len(match[1])] + [(len(match[1]), match[2])]
        found.add(".".join(name for _, name in above))
    assert found == set(key_paths(Config))


# --- refusals. Each text is appended to MINIMAL, whose last line is the third, inside of boot.
