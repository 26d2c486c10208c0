"""Layers: compressed once, found again by their bytes, joined to an image that can be unpacked."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
from pathlib import Path

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.host import layers

GZIP = ("gzip", "-n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/hostname").write_text("here\n")
    return folder


def entries(tree: Path) -> list[tuple[str, Path]]:
    return [("etc", tree / "etc"), ("etc/hostname", tree / "etc/hostname")]


def made(tree: Path, cache: Path, command: tuple[str, ...] = GZIP) -> Path:
    return layers.compressed("a layer", entries(tree), command=command, cache=cache)


def test_a_layer_is_an_archive_of_its_files(tree: Path, tmp_path: Path) -> None:
    plain = gzip.decompress(made(tree, tmp_path / "cache").read_bytes())
    listed = subprocess.run(["cpio", "-t", "--quiet"], input=plain, capture_output=True, check=True)
    assert listed.stdout.decode().split() == ["etc", "etc/hostname"]


def test_the_same_files_are_compressed_once(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = made(tree, tmp_path / "cache")
    assert "compress a layer" in capsys.readouterr().err
    os.utime(tree / "etc/hostname", (1, 1))
    assert made(tree, tmp_path / "cache") == first
    assert "compress" not in capsys.readouterr().err


def test_another_content_mode_or_compressor_is_another_layer(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found = {made(tree, cache), made(tree, cache, ("gzip", "-n", "-1"))}
    (tree / "etc/hostname").chmod(0o600)
    found.add(made(tree, cache))
    (tree / "etc/hostname").write_text("there\n")
    found.add(made(tree, cache))
    assert len(found) == 4


def test_a_failing_compressor_leaves_no_layer(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(StiefelError, match="failed with status 1"):
        made(tree, tmp_path / "cache", ("false",))
    assert not list((tmp_path / "cache/layers").iterdir())


def test_old_layers_are_removed(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = made(tree, cache)
    os.utime(first, (1, 1))
    for number in range(20):
        (tree / "etc/hostname").write_text(f"{number}\n")
        last = made(tree, cache)
    assert last.exists()
    assert not first.exists()
    assert len(list((cache / "layers").iterdir())) <= 12


@pytest.mark.parametrize("sizes", [(4, 8), (5, 6, 7), (1,), (4, 4)])
def test_joined_layers_lie_on_boundaries_with_zeros_between(
    sizes: tuple[int, ...], tmp_path: Path
) -> None:
    parts = []
    for number, size in enumerate(sizes):
        parts.append(tmp_path / str(number))
        parts[-1].write_bytes(bytes([number + 1]) * size)
    out = io.BytesIO()
    layers.join(parts, out)
    image = out.getvalue()
    for number, size in enumerate(sizes):
        start = image.index(bytes([number + 1]))
        assert start % 4 == 0
        assert image[start : start + size] == bytes([number + 1]) * size
        if number:
            assert image[start - 4 : start] == bytes(4)
