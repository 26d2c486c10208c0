"""Stamps beside what was built, to know whether it was made of what there is now."""

from __future__ import annotations

import hashlib
from pathlib import Path

from stiefelsystem import files


class Stamp:
    """The stamp of a `product` that is made of `parts`: texts, files, and folders of files."""

    def __init__(self, product: Path, *parts: str | Path) -> None:
        self._product = product
        self._stamp = product.with_name(f"{product.name}.stamp")
        self._digest = _digest(parts)

    def is_current(self) -> bool:
        """Whether the product is there, and was made of just these parts."""
        stamped = self._stamp.read_text() if self._stamp.exists() else ""
        return self._product.exists() and stamped == self._digest

    def remove(self) -> None:
        """To be called before the product is touched: half a product has no stamp."""
        self._stamp.unlink(missing_ok=True)

    def write(self) -> None:
        """To be called when the product is complete."""
        files.write(self._stamp, self._digest)


def _digest(parts: tuple[str | Path, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            _add(digest, "text", part.encode())
            continue
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if file.is_symlink():
                _add(digest, str(file.relative_to(part)), str(file.readlink()).encode())
            elif file.is_file() and "__pycache__" not in file.parts:
                _add(digest, str(file.relative_to(part)), file.read_bytes())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, content: bytes) -> None:
    digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
