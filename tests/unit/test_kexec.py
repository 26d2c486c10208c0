"""Loading a kernel: what is asked of the running one, and what is believed. kexec is a stand-in."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from stiefelsystem import kexec
from stiefelsystem.console import StiefelError
from tests.unit.standin_commands import Commands

KERNEL = Path("/boot/vmlinuz")


class Kernel:
    """The files by which the running kernel speaks of kexec."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded, self.disabled = folder / "kexec_loaded", folder / "kexec_load_disabled"
        self.lockdown = folder / "lockdown"
        self.loaded.write_text("0\n")
        self.disabled.write_text("0\n")
        for name in ("loaded", "disabled", "lockdown"):
            monkeypatch.setattr(kexec, f"_{name.upper()}", getattr(self, name))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(tmp_path / "bin", monkeypatch)


@pytest.fixture
def initrd() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def test_the_newer_call_comes_first(kernel: Kernel, commands: Commands, initrd: IO[bytes]) -> None:
    commands.add("kexec", f"echo 1 >'{kernel.loaded}'")
    kexec.load(KERNEL, initrd, "a b")
    (call,) = commands.calls("kexec")
    assert call == (
        f"kexec --kexec-file-syscall --load --initrd=/proc/self/fd/{initrd.fileno()} "
        "--command-line=a b /boot/vmlinuz"
    )
    assert kexec.is_loaded()


def test_the_older_call_is_tried(kernel: Kernel, commands: Commands, initrd: IO[bytes]) -> None:
    commands.add("kexec", f"[ \"$1\" = --kexec-syscall ] && echo 1 >'{kernel.loaded}'")
    kexec.load(KERNEL, initrd, "")
    assert [call.split()[1] for call in commands.calls("kexec")] == [
        "--kexec-file-syscall",
        "--kexec-syscall",
    ]


@pytest.mark.parametrize(
    ("lockdown", "hint"),
    [
        ("none [integrity] confidentiality\n", "locked down (integrity)"),
        ("none integrity [confidentiality]\n", "locked down (confidentiality)"),
        ("[none] integrity confidentiality\n", "with Secure Boot on"),
        (None, "with Secure Boot on"),
    ],
)
def test_a_refusal_names_all_reasons_and_the_lockdown(
    kernel: Kernel, commands: Commands, initrd: IO[bytes], lockdown: str | None, hint: str
) -> None:
    """Lockdown forbids the older call whatever is to be loaded."""
    commands.add("kexec", 'echo "no $1" >&2; exit 255')
    if lockdown:
        kernel.lockdown.write_text(lockdown)
    with pytest.raises(StiefelError) as caught:
        kexec.load(KERNEL, initrd, "")
    reasons = "no --kexec-file-syscall"
    if "locked down" not in hint:
        reasons += "; then no --kexec-syscall"
    assert str(caught.value).endswith(f": {reasons}")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("lockdown", "said", "untrusted"),
    [
        ("none [integrity]", "Operation not permitted", True),
        ("none [integrity]", "Permission denied", True),
        ("none [integrity]", "Key was rejected by service", True),
        ("none [integrity]", "Required key not available", True),
        ("none [integrity]", "No data available", True),
        # It is not for its signature, so the next attempt may succeed.
        ("none [integrity]", "Cannot allocate memory", False),
        ("none [integrity]", "Exec format error", False),
        ("[none] integrity", "Operation not permitted", False),
    ],
)
def test_a_kernel_that_is_not_trusted(
    kernel: Kernel, commands: Commands, lockdown: str, said: str, untrusted: bool
) -> None:
    commands.add("kexec", f'echo "kexec failed: {said}" >&2; exit 255')
    kernel.lockdown.write_text(lockdown)
    refuses = pytest.raises(StiefelError, match=f"refuses to load .*{said}")
    with tempfile.TemporaryFile() as initrd, refuses as caught:
        kexec.load(KERNEL, initrd, "")
    assert isinstance(caught.value, kexec.Untrusted) is untrusted


def test_what_is_loaded_is_asked_of_the_kernel(
    kernel: Kernel, commands: Commands, initrd: IO[bytes]
) -> None:
    commands.add("kexec")  # which says that all is well, and does nothing
    with pytest.raises(StiefelError, match="says that nothing is"):
        kexec.load(KERNEL, initrd, "")


def test_a_command_line_that_would_be_cut(commands: Commands) -> None:
    commands.add("kexec")
    with pytest.raises(StiefelError, match="2048 bytes"):
        kexec.load(KERNEL, io.BytesIO(), "x" * 2048)
    assert commands.calls("kexec") == []


def test_possible(kernel: Kernel) -> None:
    kexec.require_possible()
    kernel.disabled.unlink()  # older than the sysctl
    kexec.require_possible()


def test_what_somebody_else_has_loaded_is_not_replaced(kernel: Kernel) -> None:
    kernel.loaded.write_text("1\n")
    with pytest.raises(StiefelError, match="somebody else has loaded"):
        kexec.require_possible()


def test_loading_is_disabled(kernel: Kernel) -> None:
    kernel.disabled.write_text("1\n")
    with pytest.raises(StiefelError, match="kexec_load_disabled is 1"):
        kexec.require_possible()


def test_a_kernel_without_kexec(kernel: Kernel) -> None:
    kernel.loaded.unlink()
    with pytest.raises(StiefelError, match="has no kexec"):
        kexec.require_possible()
    assert not kexec.is_loaded()
