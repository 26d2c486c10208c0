"""The programs and the package as a whole: help for anyone, and a place for everything."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "stiefelsystem"
INTERPRETER = "/usr/bin/python3"
EXPECTED = {
    *("create-initrd-nspawn", "create-initrd-cpio", "setup-client-usbdrive"),
    *("test-nspawn", "test-qemu"),
}


def scripts() -> list[Path]:
    """All executables that a user may start."""
    return sorted(
        path
        for folder in (ROOT, ROOT / "autokexec")
        for path in folder.iterdir()
        if path.is_file() and os.access(path, os.X_OK)
    )


def modules() -> dict[str, Path]:
    """All modules of the package, by their dotted names."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def as_nobody(argv: list[str | Path], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a user who owns nothing, in an environment that says nothing."""
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    words = ["env", "-i", "PATH=/usr/bin:/bin", "HOME=/nonexistent"]
    return subprocess.run(
        [
            *(drop if os.geteuid() == 0 else []),
            *words,
            *(f"{k}={v}" for k, v in env.items()),
            *argv,
        ],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="session")
def public() -> Iterator[Path]:
    """A copy of the programs where everyone may read: a checkout may be its owner's alone."""
    with tempfile.TemporaryDirectory(prefix="stiefel-public-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path in (*scripts(), *modules().values()):
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        for copied in folder.rglob("*"):
            copied.chmod(0o755)
        yield folder


def test_scripts_are_there() -> None:
    assert {path.name for path in scripts()} >= {*EXPECTED, "stiefel-autokexec"}


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_interpreter(script: Path) -> None:
    """The distribution's own, where its packages are, whatever stands first in PATH."""
    assert script.read_text().splitlines()[0] == f"#!{INTERPRETER}"


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_help_for_anyone(script: Path, public: Path) -> None:
    env = {} if script.parent == ROOT else {"PYTHONPATH": str(public)}
    done = as_nobody([public / script.relative_to(ROOT), "--help"], **env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {script.name}")


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_help_without_third_party_packages(script: Path, public: Path) -> None:
    """-S leaves out what is installed beside the standard library, -I the rest."""
    start = "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv[:2] = []; "
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    copy = public / script.relative_to(ROOT)
    done = as_nobody([INTERPRETER, "-ISc", start, public, copy, "--help"])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_unknown_option(script: Path, public: Path) -> None:
    copy = public / script.relative_to(ROOT)
    done = as_nobody([copy, "--no-such-option"], PYTHONPATH=str(public))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_script_has_no_effect_as_a_module(script: Path) -> None:
    tree = ast.parse(script.read_text())
    assert ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    run_main(main)"
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in tree.body[1:-1]:  # between docstring and guard
        type_checking = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        assert isinstance(node, allowed) or type_checking, ast.unparse(node)


# What a module that is being imported has no business with; audit events (PEP 578).
WATCH = """
import os, sys

EFFECTS = ("subprocess.", "os.", "shutil.", "socket.connect", "socket.sendto", "socket.sendmsg",
           "signal.", "fcntl.", "tempfile.", "_thread.start", "pty.", "syslog.")
HARMLESS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.add_dll_directory")

def hook(event, args):
    write = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if write or event.startswith(EFFECTS) and event not in HARMLESS:
        print(name, event, args)

import contextlib, importlib, signal, threading
# Other people's packages do as they like: pycryptodome starts file(1).
for package in ("Cryptodome", "Crypto"):
    for part in ("Cipher.AES", "Hash.SHA256", "Protocol.DH", "Protocol.KDF", "PublicKey.ECC"):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"{package}.{part}")
with contextlib.suppress(ImportError):
    importlib.import_module("yaml")
before = signal.getsignal(signal.SIGTERM), os.environ.copy(), os.getcwd(), os.umask(0o22)
sys.addaudithook(hook)
for name in sys.argv[1:]:
    importlib.import_module(name)
after = signal.getsignal(signal.SIGTERM), os.environ.copy(), os.getcwd(), os.umask(0o22)
if (before[:3], threading.active_count()) != (after[:3], 1):
    print("the process has changed")
"""


def test_import_has_no_effect(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", WATCH, *sorted(modules())],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in it."""
    names = modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            found = [
                full if (full := f"{node.module}.{alias.name}") in names else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        yield from (name for name in found if name.partition(".")[0] == "stiefelsystem")


def part(name: str) -> str:
    """Where a module runs: "ramdisk", "host", or "" for both."""
    first = name.split(".")[1:2]
    return first[0] if first in (["ramdisk"], ["host"]) else ""


def test_imports_are_found() -> None:
    """So that the tests below look at something."""
    assert "stiefelsystem.crypto" in imports(PACKAGE / "framing.py")
    assert "stiefelsystem.crypto" in imports(PACKAGE / "keys.py")  # within a function
    assert "stiefelsystem.ramdisk.exchange" in imports(PACKAGE / "ramdisk/http.py")
    assert "stiefelsystem.host.build" in imports(ROOT / "create-initrd-nspawn")
    assert part("stiefelsystem.ramdisk.http") == "ramdisk"
    assert part("stiefelsystem.host") == "host"
    assert part("stiefelsystem.crypto") == part("stiefelsystem") == ""


def test_imports_go_down_only() -> None:
    for name, path in modules().items():
        for other in imports(path):
            assert other in modules(), f"{name} imports {other}, which does not exist"
            assert part(other) in ("", part(name)), f"{name} imports {other}"


def test_autokexec_uses_the_shared_modules_alone() -> None:
    assert {part(name) for name in imports(ROOT / "autokexec/stiefel-autokexec")} == {""}


def test_scripts_do_not_use_the_ramdisk() -> None:
    for script in scripts():
        assert "ramdisk" not in {part(name) for name in imports(script)}, script.name


def test_no_cycles() -> None:
    """One can read the modules in an order in which each uses only what one knows."""
    graph = {name: set(imports(path)) - {name, "stiefelsystem"} for name, path in modules().items()}
    while free := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in free}
    assert graph == {}


@pytest.mark.parametrize("name", sorted(modules()))
def test_module_is_small_and_says_what_it_is(name: str) -> None:
    text = modules()[name].read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


def test_nothing_is_looked_up_by_the_current_folder() -> None:
    for path in (*modules().values(), *scripts()):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("Path.cwd", "os.getcwd", "os.chdir"), path.name
