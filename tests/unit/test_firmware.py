"""What a virtual PC starts with, by QEMU's descriptors of firmware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import firmware
from stiefelsystem.host.firmware import Firmware


def descriptor(name: str, *features: str, **fields: Any) -> str:
    """As QEMU's docs/interop/firmware.json has it; `fields` go into the mapping."""
    mapping = {
        "device": "flash",
        "executable": {"filename": f"/ovmf/{name}.code", "format": "raw"},
        "nvram-template": {"filename": f"/ovmf/{name}.vars", "format": "raw"},
    }
    target = {"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}
    return json.dumps(
        {
            "description": name,
            "interface-types": ["uefi"],
            "mapping": mapping | fields,
            "targets": [target],
            "features": ["acpi-s3", "verbose-dynamic", *features],
            "tags": [],
        }
    )


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    made = tmp_path / "usr", tmp_path / "etc"
    for folder in made:
        folder.mkdir()
    monkeypatch.setattr(firmware, "_FOLDERS", made)
    secure = ("secure-boot", "requires-smm")
    for name, features in {
        "40-enrolled": (*secure, "enrolled-keys"),
        "50-secure": secure,
        "60-plain": (),
        "70-other": (),
    }.items():
        (made[0] / f"{name}.json").write_text(descriptor(name, *features))
    return made


def files(options: list[str]) -> list[str]:
    return [o.rpartition("file=")[2] for o in options if o.startswith("if=pflash")]


def test_bios(folders: tuple[Path, Path]) -> None:
    assert firmware.options(Firmware.BIOS) == []


def test_uefi(folders: tuple[Path, Path]) -> None:
    options = firmware.options(Firmware.UEFI)
    assert options == [
        *("-machine", "q35"),
        *("-drive", "if=pflash,unit=0,readonly=on,format=raw,file=/ovmf/60-plain.code"),
        *("-drive", "if=pflash,unit=1,snapshot=on,format=raw,file=/ovmf/60-plain.vars"),
    ]


def test_secure_boot(folders: tuple[Path, Path]) -> None:
    """Only with keys; and a guest that could write the variables would be no test of it."""
    options = firmware.options(Firmware.SECURE_BOOT)
    assert files(options) == ["/ovmf/40-enrolled.code", "/ovmf/40-enrolled.vars"]
    assert "q35,smm=on" in options
    assert "driver=cfi.pflash01,property=secure,value=on" in options


def test_other_kinds_are_passed_over(folders: tuple[Path, Path]) -> None:
    code = {"filename": "/x", "format": "raw"}
    others = {
        "10-memory": descriptor("m", device="memory", filename="/x"),
        "11-stateless": json.dumps(
            json.loads(descriptor("s"))
            | {"mapping": {"device": "flash", "mode": "stateless", "executable": code}}
        ),
        "12-bios": descriptor("b").replace('["uefi"]', '["bios"]'),
        "13-arm": descriptor("a").replace("x86_64", "aarch64"),
        "14-microvm": descriptor("v").replace("pc-q35-*", "microvm"),
    }
    for name, text in others.items():
        (folders[0] / f"{name}.json").write_text(text)
    assert files(firmware.options(Firmware.UEFI))[0] == "/ovmf/60-plain.code"


def test_format(folders: tuple[Path, Path]) -> None:
    text = descriptor("q").replace('"raw"', '"qcow2"')
    (folders[0] / "55-q.json").write_text(text)
    assert "format=qcow2" in firmware.options(Firmware.UEFI)[3]


def test_commas(folders: tuple[Path, Path]) -> None:
    """In a name, where they would end an option."""
    text = descriptor("a,readonly=off")
    (folders[0] / "55-q.json").write_text(text)
    assert files(firmware.options(Firmware.UEFI))[0] == "/ovmf/a,,readonly=off.code"


def test_administrator_replaces_and_hides(folders: tuple[Path, Path]) -> None:
    (folders[1] / "60-plain.json").write_text(descriptor("mine"))
    assert files(firmware.options(Firmware.UEFI))[0] == "/ovmf/mine.code"
    (folders[1] / "60-plain.json").write_text("")
    assert files(firmware.options(Firmware.UEFI))[0] == "/ovmf/70-other.code"


def test_none(folders: tuple[Path, Path]) -> None:
    for path in folders[0].iterdir():
        path.unlink()
    for kind, words in ((Firmware.UEFI, "UEFI$"), (Firmware.SECURE_BOOT, "with Secure Boot")):
        with pytest.raises(StiefelError, match=words) as caught:
            firmware.options(kind)
        assert caught.value.hint == "install ovmf"


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", '{"interface-types": ["uefi"]}', "7"),
        descriptor("x").replace("features", "others"),
        json.dumps(json.loads(descriptor("x")) | {"features": None}),
        json.dumps(json.loads(descriptor("x")) | {"features": [[]]}),
        descriptor("x").replace("nvram-template", "others"),
        descriptor("x").replace('"format"', '"others"'),
        descriptor("x", executable=None),
        descriptor("x", executable={"filename": None, "format": "raw"}),
    ],
)
def test_rubbish(folders: tuple[Path, Path], text: str) -> None:
    (folders[0] / "10-x.json").write_text(text)
    with pytest.raises(StiefelError, match=r"cannot understand .*10-x\.json"):
        firmware.options(Firmware.UEFI)
