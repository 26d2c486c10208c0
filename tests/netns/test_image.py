"""What is in the ramdisk's image, what is not, and what is said about it."""

from __future__ import annotations

import ast
import stat
import subprocess
import xml.etree.ElementTree
from pathlib import Path

import pytest

from tests import images
from tests.builds import CACHE, REPO, WORKDIR
from tests.processes import Program

CONFIG = """\
modules: [system-debian]
boot: {{disk: /dev/vda}}
initrd:
  packing:
    exclude-paths: [/usr/share/nothing-here, /usr/bin/top]
    exclude-packages: [no-such-package, dash]
paths: {{cache: {cache}, workdir: {workdir}, key: {workdir}/aes-key}}
"""


@pytest.fixture
def config(image: Path, tmp_path: Path) -> Path:
    """A configuration for packing the shared tree once more."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(cache=CACHE, workdir=WORKDIR))
    return path


def pack(config: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [REPO / "create-initrd-cpio", "--config", config, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_in(image: Path, ramdisk: Path) -> None:
    listed = images.contents(image)
    assert listed["init"].startswith("lrwx")
    assert listed["usr/bin/kmod"].startswith("-rwxr-xr-x   1 root     root")
    assert listed["tmp"].startswith("drwxrwxrwt")
    assert not [name for name in listed if name.startswith("boot/")]
    # Opened by name, when a thread outlives its program's end: no linker and no import shows it.
    assert [name for name in listed if name.endswith("/libgcc_s.so.1")]
    modules = {Path(name).name for name in listed if name.endswith(".ko")}
    assert {"virtio_net.ko", "r8169.ko", "nvme.ko", "ext4.ko", "xfs.ko", "btrfs.ko"} <= modules
    assert {"dm-snapshot.ko", "dm-crypt.ko", "nls_ascii.ko", "wireguard.ko"} <= modules
    assert {"vmd.ko", "ufshcd-pci.ko", "usbhid.ko", "nf_tables.ko", "thunderbolt.ko"} <= modules
    assert [name for name in listed if name.endswith("rtl_nic/rtl8168h-2.fw")]
    # Secure Boot wants the signatures: 28 bytes at the end of a signed module (Linux,
    # scripts/sign-file.c).
    unsigned = [
        str(path)
        for path in ramdisk.rglob("*.ko")
        if not path.read_bytes().endswith(b"~Module signature appended~\n")
    ]
    assert not unsigned


def test_what_is_secret_travels_apart(image: Path) -> None:
    assert not {"etc/shadow", "etc/stiefelsystem/aes-key"} & set(images.contents(image))
    secrets = image.with_suffix(".key.cpio")
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    key = (WORKDIR / "aes-key").read_bytes()
    assert all(key not in archive for archive in images.archives(image))
    assert key in secrets.read_bytes()


def test_nobody_can_log_in_from_the_network(image: Path) -> None:
    """What listens is tested where the server runs; here, what could be started at all."""
    names = {Path(name).name for name in images.contents(image)}
    logins = {"sshd", "dropbear", "telnetd", "in.telnetd", "rlogind", "rshd", "inetd", "xinetd"}
    assert not names & {*logins, "systemd-socket-activate", "systemd-networkd"}


def test_no_two_ramdisks_start_with_the_same_randomness(image: Path, ramdisk: Path) -> None:
    """The kernel's generator gets its seed from the machine, and nothing in the image is one."""
    names = {Path(name).name for name in images.contents(image)}
    assert not names & {"random-seed", "systemd-random-seed", "haveged", "rngd"}
    assert "virtio-rng.ko" in names
    assert (ramdisk / "etc/machine-id").read_bytes() == b""


def imports(path: Path) -> set[str]:
    """Every import in a source file, wherever it stands, as a statement of its own."""
    return {
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def test_every_import_of_our_programs_works_in_the_image(ramdisk: Path) -> None:
    package = ramdisk / "usr/lib/python3/dist-packages/stiefelsystem"
    sources = sorted(package.rglob("*.py"))
    assert len(sources) > 20
    statements = set[str]().union(*map(imports, sources))
    # `Crypto` is PyPI's name of what Debian calls `Cryptodome`, `_typeshed` the type checker's.
    lines = sorted(line for line in statements if "Crypto." not in line and "_typeshed" not in line)
    lines.remove("from __future__ import annotations")
    command = ["chroot", ramdisk, "python3", "-I", "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_program_finds_its_libraries(ramdisk: Path) -> None:
    for folder in ("usr/bin", "usr/sbin", "usr/lib/systemd", "usr/lib/udev"):
        for path in (ramdisk / folder).iterdir():
            if not stat.S_ISREG(path.lstat().st_mode) or path.read_bytes()[:4] != b"\x7fELF":
                continue
            name = f"/{path.relative_to(ramdisk)}"
            command = ["chroot", ramdisk, "/usr/lib64/ld-linux-x86-64.so.2", "--list", name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_another_packing_of_the_same_tree(config: Path, tmp_path: Path) -> None:
    image = tmp_path / "out/ramdisk.cpio"
    done = pack(config, "--out", image, "--compressor", "zstd -1 -T0")
    assert done.returncode == 0, done.stderr
    assert "nothing in the ramdisk matches /usr/share/nothing-here" in done.stderr
    assert "there is no package no-such-package" in done.stderr
    assert done.stderr.count("warning") == 2, done.stderr
    listed = images.contents(image)
    assert "usr/bin/free" in listed
    assert not {"usr/bin/top", "usr/bin/dash"} & set(listed)
    names = sorted(path.name for path in image.parent.iterdir())
    assert names == [
        "ramdisk.cpio",
        "ramdisk.key.cpio",
        "ramdisk.packages",
        "ramdisk.vmlinuz",
    ]


EXPLAINED = [
    ("/usr/bin/ls", "is in: a shell, for looking around (package coreutils)"),
    ("/bin/ls", "/usr/bin/ls is in: a shell"),
    ("/usr/bin/top", "is left out: initrd.packing.exclude-paths: /usr/bin/top"),
    ("/usr/bin/dash", "is left out: initrd.packing.exclude-packages: dash"),
    ("/usr/bin/perl", "is not in: nothing takes it (package perl-base)\nto have it, name"),
    ("/usr/lib/x86_64-linux-gnu/libz.so.1", "is in: libraries: usr/"),
    ("/usr/lib/python3.13/json/decoder.py", "is in: Python, as our programs import it"),
    ("r8169.ko", "is in: wired NICs of PCs and laptops"),
    ("rtl8168h-2.fw", "is in: firmware: for r8169"),
    ("/etc/shadow", "is in: what is secret: in the small archive beside the image"),
    ("/etc/systemd/system/stiefel-server.service", "is in: our own files"),
    ("/nowhere", "is not in the ramdisk's tree"),
]


def test_explanations(config: Path) -> None:
    done = pack(config, "--explain", *(path for path, _ in EXPLAINED))
    assert done.returncode == 0, done.stderr
    said = done.stdout
    for path, reason in EXPLAINED:
        assert reason in said, path
        said = said[said.index(reason) + len(reason) :]


def test_the_report(config: Path, image: Path, tmp_path: Path) -> None:
    picture = tmp_path / "ramdisk.svg"
    done = pack(config, "--report", "--picture", picture)
    assert done.returncode == 0, done.stderr
    assert "kernel modules" in done.stdout
    assert f"{image.stat().st_size / 1e6:.1f}" in done.stdout
    xml.etree.ElementTree.parse(picture)


def test_a_failing_compressor_leaves_the_former_image(config: Path, tmp_path: Path) -> None:
    image = tmp_path / "former.cpio"
    image.write_bytes(b"former")
    for compressor, complaint in (
        ("false", "failed with status 1"),
        ("no-such", "no such program"),
    ):
        with Program(
            [
                *(REPO / "create-initrd-cpio", "--config", config),
                *("--out", image, "--compressor", compressor),
            ]
        ) as program:
            assert program.wait(60) == 1
        assert complaint in program.output
        assert "Traceback" not in program.output
        assert image.read_bytes() == b"former"
