"""A config.yaml that is no YAML, or YAML that says nothing, or that cannot be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stiefelsystem.config import load
from stiefelsystem.console import StiefelError
from tests.unit.one_config import MINIMAL, assert_refused, refusal

ROOT = Path(__file__).resolve().parents[2]


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "  part: a: b\n",
            "4: not YAML: mapping values are not allowed here",
            "check the indentation, the space after each colon, and the quotes",
        ),
        (
            "\tcmdline: x\n",
            "4: not YAML: found character '\\t' that cannot start any token",
            "indent with spaces, not with tabs",
        ),
        ("  load: {initrd: *.img}\n", None, "put a value that starts with * or & in quotes"),
        (
            "--- {}\n",
            "4: not YAML: but found another document",
            "a configuration has no line with --- or ... in it",
        ),
        ("  cmdline: \x07\n", "4: not YAML: the control character U+0007", ""),
        (
            "  cmdline: !!python/object/apply:os.system [id]\n",
            "4: boot.cmdline: the tag 'tag:yaml.org,2002:python/object/apply:os.system' "
            "is not a text",
            "",
        ),
        ("  cmdline: !x y\n", "4: boot.cmdline: the tag '!x' is not a text", ""),
        (
            "  load: !x {}\n",
            "4: boot.load: the tag '!x' is not a section of keys and values",
            "its keys are: kernel, initrd, cmdline",
        ),
        ("autokexec:\n  delay: !!int ten\n", "5: autokexec.delay: ten is not a whole number", ""),
        (
            "autokexec:\n  broadcast: !!bool maybe\n",
            "5: autokexec.broadcast: maybe is not true or false",
            "",
        ),
        ("initrd: &x\n  packing: *x\n", "5: initrd.packing.packing: unknown key", None),
        (
            "initrd:\n  include-packages: &x [*x]\n",
            "5: initrd.include-packages[0]: a list is not a text",
            "",
        ),
        ('  cmdline: "\\UFFFFFFFF"\n', None, None),
        ("  cmdline: " + "[" * 100_000 + "\n", None, None),
        ("  cmdline: [" + "a, " * 1000 + "]\n", "4: boot.cmdline: a list is not a text", ""),
        (
            "  part: " + "a" * 1000 + "\n",
            "4: boot.part: '" + "a" * 60 + "…' is not an absolute path",
            "write it with all folders, from / on",
        ),
    ],
)
def test_refusal(text: str, message: str | None, hint: str | None) -> None:
    assert_refused(MINIMAL + text, message, hint)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_empty(text: str) -> None:
    said, advised = refusal(text)
    assert said == "config.yaml: is empty"
    assert advised == "config-example.yaml shows what belongs there"


def test_billion_laughs_are_not_expanded() -> None:
    lines = ["l0: &l0 [lol]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 40)]
    said, _ = refusal("\n".join(lines) + "\n")
    assert said == "config.yaml:1: l0: unknown key"


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with pytest.raises(StiefelError) as caught:
        load(path)
    assert str(caught.value) == f"cannot read {path}: there is no such file"
    assert caught.value.hint == f"cp config-example.yaml {path}, and edit it"


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(StiefelError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"cannot read {tmp_path}: Is a directory"


def test_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path, b"modules:\n- caf\xe9\n")
    with pytest.raises(StiefelError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:2: the byte 0xe9 is not UTF-8"
    assert caught.value.hint == "save the file as UTF-8"


def test_errors_name_the_file_as_given(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "x: y\n")
    with pytest.raises(StiefelError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:4: x: unknown key"


def test_without_pyyaml() -> None:
    # -S leaves out site-packages, and with them PyYAML; the module itself must still import.
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from stiefelsystem.config import parse
from stiefelsystem.console import StiefelError
try:
    parse("x: y", name="config.yaml")
except StiefelError as error:
    print(error)
    print(error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "cannot read config.yaml: Python's YAML module is missing",
        "install python3-yaml (Debian), python-yaml (Arch) or PyYAML (PyPI)",
    ]
