"""Where an address is, in a network of the test's own."""

from __future__ import annotations

import subprocess

from stiefelsystem.ramdisk import link
from tests import namespaces
from tests.namespaces import in_own_network


@in_own_network
def test_holders() -> None:
    one = namespaces.link("one", "fe80::1", "fe80::1:2")
    other = namespaces.link("other", "fe80::1")
    assert link.holders("fe80::1") == [one, other]
    assert link.holders("fe80::1:2") == [one]
    assert link.holders("fe80::12") == []
    subprocess.run(["ip", "link", "delete", "one"], check=True)
    assert link.holders("fe80::1") == [other]
    assert link.holders("fe80::1:2") == []
