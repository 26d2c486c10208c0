"""The shared key and what is derived from it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stiefelsystem import crypto, keys
from stiefelsystem.console import StiefelError

LABELS = (keys.SERVER, keys.AUTOKEXEC, keys.SESSION)
# RFC 5869, appendix A, cases 1 to 3: IKM, salt, info, and the first 32 bytes of OKM.
HKDF_VECTORS = [
    (
        "0b" * 22,
        bytes(range(0x0D)).hex(),
        bytes(range(0xF0, 0xFA)).hex(),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c",
    ),
    ("0b" * 22, "", "", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"),
]


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(StiefelError) as caught:
        keys.load(path)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize("vector", HKDF_VECTORS)
def test_hkdf_vectors(vector: tuple[str, ...]) -> None:
    secret, salt, info, expected = map(bytes.fromhex, vector)
    assert crypto.hkdf(secret, salt=salt, info=info) == expected


def test_create(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "aes-key"
    keys.create(path)
    assert capsys.readouterr().err == f"made a new key: {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = keys.load(path)
    assert len(key) == 32
    assert key == path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_create_makes_another_each_time(tmp_path: Path) -> None:
    made = set()
    for number in range(20):
        keys.create(tmp_path / str(number))
        made.add(keys.load(tmp_path / str(number)))
    assert len(made) == 20


@pytest.mark.parametrize("content", [b"k" * 32, b"k" * 16, b"broken", b""])
def test_create_keeps_what_is_there(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "aes-key", content)
    keys.create(path)
    assert path.read_bytes() == content
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_load(tmp_path: Path, size: int, mode: int) -> None:
    content = bytes(range(size))
    assert keys.load(written(tmp_path / "aes-key", content, mode)) == content


@pytest.mark.parametrize("size", [0, 1, 15, 17, 24, 31, 33, 64, 100000])
def test_other_sizes_are_refused(tmp_path: Path, size: int) -> None:
    path = written(tmp_path / "aes-key", bytes(size))
    message, _ = refusal(path)
    assert message.startswith(f"{path} is not a key: its size is not 32 bytes")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601, 0o610, 0o602, 0o620, 0o777])
def test_key_of_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "aes-key", bytes(32), mode)
    message, hint = refusal(path)
    assert message == f"{path} can be read by others; it may be known to them"
    assert f"chmod 600 {path}" in hint


def test_mode_of_the_file_counts_and_not_that_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(written(tmp_path / "key", bytes(32), 0o644))
    assert "can be read by others" in refusal(tmp_path / "link")[0]


def test_missing_key(tmp_path: Path) -> None:
    path = tmp_path / "aes-key"
    assert refusal(path) == (f"there is no key at {path}", "create-initrd-nspawn makes one")


def test_unreadable_key(tmp_path: Path) -> None:
    message, _ = refusal(tmp_path)
    assert message.startswith("cannot read the key: ")
    assert str(tmp_path) in message


def test_load_subkey(tmp_path: Path) -> None:
    path = written(tmp_path / "autokexec-key", bytes(range(32)))
    assert keys.load_subkey(path) == bytes(range(32))
    for size in (0, 16, 31, 33, 100):
        path = written(tmp_path / "autokexec-key", bytes(size))
        with pytest.raises(StiefelError, match=f"^{path} is not a subkey: its size is not 32"):
            keys.load_subkey(path)
    path = written(tmp_path / "autokexec-key", bytes(32), 0o640)
    with pytest.raises(StiefelError, match="can be read by others"):
        keys.load_subkey(path)


def test_subkey_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "autokexec-key", bytes(32))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StiefelError, match=f"belongs to user {os.getuid()}; it may be known"):
        keys.load_subkey(path)


def test_errors_do_not_tell_the_key(tmp_path: Path) -> None:
    secret = b"very secret words!"
    for mode in (0o600, 0o644):
        assert "secret" not in "".join(refusal(written(tmp_path / "k", secret, mode)))


def test_subkeys_are_fixed() -> None:
    """Both sides derive them, in whatever version they are: these were written down once."""
    key = bytes(range(32))
    assert {label: keys.subkey(key, label).hex() for label in LABELS} == {
        "discovery, server": "e3de9c326b48f87671c2eba83665be1f360c7b79e50a096289c8b48d5167e290",
        "discovery, autokexec": "6eadd734e2a4b3a593e573f9a929e2b171accea9d23291d6fbe9ef978ec42a9f",
        "session": "1a38406e49b58e6040bba59111d94d3c7bb8c004b1dbec5092a697154f7d4b29",
    }


@pytest.mark.parametrize("size", [16, 32])
def test_subkeys_differ(size: int) -> None:
    key, other = b"k" * size, b"l" * size
    made = {keys.subkey(one, label) for one in (key, other) for label in LABELS}
    assert len(made) == 6
    assert {len(one) for one in made} == {32}
    assert key not in {one[:size] for one in made}


def test_short_key_is_not_its_padded_self() -> None:
    assert keys.subkey(b"k" * 16, "x") != keys.subkey(b"k" * 16 + bytes(16), "x")
