"""Which parts of Python the ramdisk needs: those that its programs import.

The imports are followed through the byte code, those inside of functions too, by the interpreter
that will run them. What an interpreter imports by itself, or by a name that it computes, no byte
code shows: `_COMPUTED`. What stands in the code, but never runs in the ramdisk, is cut: `_CUT`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from stiefelsystem.host import debian

# What starts an interpreter, and codecs by their names.
_COMPUTED = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "encodings.utf_8_sig",
    "runpy",
    "site",
    "sitecustomize",
)
# Tests, debuggers and documentation that modules carry along, and other systems' ways.
_CUT = (
    "_hashlib",  # OpenSSL's, which takes long to load; what is hashed here is small
    "_aix_support",
    "_android_support",
    "_apple_support",
    "_ios_support",
    "_osx_support",
    "_pyrepl",
    "asyncio",
    "bdb",
    "concurrent.futures.process",
    "ctypes.macholib",
    "ctypes.wintypes",
    "decimal",
    "difflib",
    "doctest",
    "ftplib",
    "getopt",
    "importlib.metadata",
    "msvcrt",
    "multiprocessing",
    "nturl2path",
    "pdb",
    "pickle",
    "pydoc",
    "ssl",
    "statistics",
    "sysconfig",
    "tkinter",
    "unittest",
    "urllib.request",
    "webbrowser",
    "xml",
    "xmlrpc",
)
_TRACE = """
import json, modulefinder, sys
wanted, cut = json.load(sys.stdin)
finder = modulefinder.ModuleFinder(excludes=cut)
for name in wanted:
    try:
        finder.import_hook(name)
    except ImportError:
        pass
print(json.dumps(sorted(m.__file__ for m in finder.modules.values() if m.__file__)))
"""


def imported(tree: Path, programs: Iterable[str]) -> list[str]:
    """The files, without leading slash, that hold what the modules `programs` import."""
    wanted = json.dumps([[*_COMPUTED, *programs], _CUT])
    output = debian.nspawn(tree, ["python3", "-I", "-c", _TRACE], text=wanted)
    return [path.lstrip("/") for path in json.loads(output)]


def compiled(source: str, tree: Path) -> str | None:
    """The byte code of a module's source file, None if there is none."""
    path = Path(source)
    found = sorted((tree / path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"))
    plain = [one for one in found if ".opt-" not in one.name]
    return str(plain[0].relative_to(tree)) if plain else None
