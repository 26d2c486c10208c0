"""The real ifupdown, of Debian's package, beside a link that the real keeper keeps.

A user's pattern may take all NICs, also for a stanza of another name; without our rule, `ifup -a`
gives the link an IPv4 address then, and `ifdown -a` takes all its addresses, and switches it off.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.keeper.conftest import program as program  # noqa: PLC0414 # a fixture
from tests.long.test_managers import ALONE, INTERFACES, Manager, Watch, elsewhere, system
from tests.long.test_managers import debian_tree as debian_tree  # noqa: PLC0414 # a fixture
from tests.namespaces import in_own_mounts, in_own_network
from tests.netns.test_link_settings import ip, is_there, keeping, run

_SOURCE = "source /etc/network/interfaces.d/*\n"
_ALL = "auto /*=lan\niface lan inet static\n address 192.0.2.5/24\n"
_OTHER = "auto lo other\niface other inet static\n address 192.0.2.5/24\n"
# What a user has in the file, and whether that reaches the link.
USERS = {
    "as Debian has it": (_SOURCE + _OTHER, False),
    "all NICs": (_SOURCE + _ALL, True),
    "all NICs, before our folder": (_ALL + _SOURCE, True),
    "all NICs, without our folder": (_ALL, True),
}


@pytest.mark.parametrize("rule", [True, False], ids=["with our rule", "without it"])
@pytest.mark.parametrize("user", USERS.values(), ids=list(USERS))
@in_own_mounts
@in_own_network
def test_hands_off(
    program: Path, debian_tree: Path, tmp_path: Path, user: tuple[str, bool], rule: bool
) -> None:
    text, reaches = user
    files = {INTERFACES: text}
    tree = system(debian_tree, tmp_path / "system", Manager((), files), rule=rule)
    (tree / "run/network").mkdir()
    with keeping(program, tmp_path / "own"), elsewhere() as ends:
        ends.plug_in("other")
        watch = Watch()
        run(*ALONE, f"--root={tree}", "ifup", "-a")
        assert "192.0.2.5" in ip("address", "show", "dev", "other")
        ends.pull_and_plug()
        run(*ALONE, f"--root={tree}", "ifdown", "-a")
        assert "192.0.2.5" not in ip("address", "show", "dev", "other")
        seen = watch.seen()
        assert (seen == set()) is (rule or not reaches), seen
        assert is_there() or not rule
