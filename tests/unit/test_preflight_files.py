"""Reading what is in a tree."""

from __future__ import annotations

from stiefelsystem.host.preflight import tree
from stiefelsystem.host.setup.root import Root


def test_the_running_kernels_own_files() -> None:
    """Those of /proc/sys refuse a large buffer."""
    assert tree.text(Root(), "/proc/sys/kernel/ostype") == "Linux\n"
