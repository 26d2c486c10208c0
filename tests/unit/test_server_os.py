"""The plans of all families, on trees that are like theirs: done, done again, and taken back."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stiefelsystem import config
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host import consent
from stiefelsystem.host.server_os import plan
from stiefelsystem.host.setup.execute import execute
from stiefelsystem.host.setup.record import Record
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.steps import File, WriteFiles
from stiefelsystem.host.tree import SOURCE
from tests import capabilities
from tests.unit.one_system import FAMILIES, System, settings
from tests.unit.preflight_tree import put
from tests.unit.setup_tree import snapshot

__all__ = ["settings"]  # the fixture


@pytest.fixture(params=FAMILIES)
def system(request: pytest.FixtureRequest, tmp_path: Path, settings: tuple[Config, str]) -> System:
    return System(tmp_path / "tree", request.param, settings)


def test_set_up_again_and_taken_back(system: System, capfd: pytest.CaptureFixture[str]) -> None:
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    assert b"nbd" in system.initrd.read_bytes()
    assert (system.tree / "etc/stiefelsystem/config.yaml").read_text() == system.text
    assert "[" in capfd.readouterr().err

    done = snapshot(system.tree)
    assert system.set_up()
    assert "nothing to do" in capfd.readouterr().err
    assert snapshot(system.tree) == done

    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


def test_a_hook_that_was_kept_alone_fails_no_initrd(tmp_path: Path) -> None:
    hook = (SOURCE / "nbd-hook/initramfs-tools/hook").read_text()
    hook = hook.replace("/usr/local/lib/stiefelsystem", str(tmp_path))
    done = subprocess.run(["sh"], input=hook, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert f"there is no {tmp_path}/nbd-hook-lib" in done.stderr


def test_a_password_that_goes_is_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc").mkdir()
    for content, secret in ((b"password: hunter2", True), (b"nothing", False)):
        file = File(path="/etc/settings", content=content, secret=secret)
        step = WriteFiles(id="settings", purpose="settings", files=(file,))
        assert execute([step], root=Root(tmp_path), yes=True)
    assert "hunter2" not in capfd.readouterr().err


def test_nothing_waits_for_a_desktop_without_its_packages(system: System) -> None:
    steps = plan.make(
        *(system.config, system.text),
        root=system.root,
        system=system.family,
        generator=system.generator,
    )
    needs = {step.id: step.needs for step in steps}
    assert "packages" in needs["service"]
    assert "service" in needs["enable"]


def test_secrets_are_for_root_alone_and_never_shown(
    system: System, capfd: pytest.CaptureFixture[str]
) -> None:
    assert system.set_up()
    shown = capfd.readouterr()
    etc = system.tree / "etc/stiefelsystem"
    for name in ("config.yaml", "autokexec-key", "ramdisk.key.cpio"):
        assert (etc / name).stat().st_mode & 0o777 == 0o600
    assert "stiefel.key.cpio" not in shown.err + shown.out  # what is in it, here
    kept = "".join(path.read_text(errors="replace") for path in etc.parent.rglob("*setup/*"))
    assert "stiefel.key.cpio" not in kept
    boot = [path for path in (system.tree / "boot").rglob("*") if path.is_file()]
    assert not [path for path in boot if b"stiefel.key" in path.read_bytes()]


def test_an_update_changes_what_is_different_and_no_more(
    system: System, capfd: pytest.CaptureFixture[str]
) -> None:
    assert system.set_up()
    capfd.readouterr()
    system.text += "autokexec: {delay: 30}\n"
    system.config = config.parse(system.text, name="test")
    assert system.set_up()
    shown = capfd.readouterr().err
    assert "+autokexec: {delay: 30}" in shown
    assert "ramdisk:" not in shown
    assert "initrd:" not in shown


def test_what_another_version_had_goes(system: System) -> None:
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    system.text += "server-setup: {stiefelsystem-initrd: /boot/elsewhere/initrd}\n"
    system.config = config.parse(system.text, name="test")
    assert system.set_up()
    assert (system.tree / "boot/elsewhere/initrd").exists()
    assert not (system.tree / "boot/stiefelsystem/initrd").exists()
    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


OURS = (
    "usr/local/bin/stiefel-autokexec",
    "usr/local/lib/stiefelsystem/stiefel-autokexec",
    "etc/stiefelsystem/config.yaml",
    "etc/stiefelsystem/autokexec-key",
    "etc/stiefelsystem/ramdisk.key.cpio",
)
SOMEBODY = 1000
# acl(5), as the kernel has it (posix_acl_xattr.h): the version, then tag, permissions and id for
# the owner, SOMEBODY, the group, the mask, and others.
_NOBODY = 0xFFFFFFFF
THEIR_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        *((0x01, 6, _NOBODY), (0x02, 6, SOMEBODY), (0x04, 4, _NOBODY)),
        *((0x10, 6, _NOBODY), (0x20, 4, _NOBODY)),
    )
)


@pytest.mark.parametrize("name", OURS)
def test_a_link_in_the_place_of_a_file_of_ours(
    tmp_path: Path, settings: tuple[Config, str], name: str
) -> None:
    """It may lead to a program of the system, which is not to be overwritten."""
    system = System(tmp_path / "tree", "dracut", settings)
    theirs = system.tree / "usr/bin/theirs"
    theirs.parent.mkdir()
    theirs.write_text("theirs\n")
    link = system.tree / name
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/bin/theirs")
    with pytest.raises(StiefelError, match="it is a link to /usr/bin/theirs"):
        system.set_up()
    assert theirs.read_text() == "theirs\n"


def test_what_root_runs_and_trusts_belongs_to_root(system: System) -> None:
    """Whoever left such files there could change them, as their owner or by an ACL."""
    capabilities.require_root()
    for name in OURS:
        (system.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (system.tree / name).write_text("theirs\n")
        os.setxattr(system.tree / name, "system.posix_acl_access", THEIR_ACL)
        os.chown(system.tree / name, SOMEBODY, SOMEBODY)
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    ours = {
        file.path for step in system.plan() if isinstance(step, WriteFiles) for file in step.files
    }
    boot = {path for path in ours if path.startswith("/boot/")}
    for path in ours - boot:
        place = system.tree / path.lstrip("/")
        assert place.stat().st_uid == 0, path
        assert "system.posix_acl_access" not in os.listxattr(place), path
    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


@pytest.mark.parametrize(
    "name", ["etc/stiefelsystem", "usr/local/lib/stiefelsystem/stiefelsystem", "usr/local"]
)
def test_a_folder_of_ours_is_somebodys(
    tmp_path: Path, settings: tuple[Config, str], name: str
) -> None:
    """They could put other files into the place of ours."""
    capabilities.require_root()
    system = System(tmp_path / "tree", "dracut", settings)
    folder = system.tree / name
    folder.mkdir(parents=True)
    os.chown(folder, SOMEBODY, SOMEBODY)
    before = snapshot(system.tree)
    with pytest.raises(
        StiefelError, match=f"folder /{name} belongs to the user {SOMEBODY}"
    ) as told:
        system.set_up()
    assert told.value.hint.endswith(f"chown 0:0 /{name}")
    assert snapshot(system.tree) == before
    os.chown(folder, 0, 0)
    assert system.set_up()


def test_without_an_initrd_nothing_waits_for_a_desktop(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stop the OS for a desktop that cannot boot it."""
    answers = {"do initrd?": "skip"}
    monkeypatch.setattr(consent, "can_ask", lambda: True)
    monkeypatch.setattr(consent, "choose", lambda asked, _: answers.get(asked, "yes"))
    assert not execute(system.plan(), root=system.root)
    assert not (system.tree / "etc/systemd/system/stiefel-autokexec.service").exists()


OPENRC = """\
#!/bin/sh
PATH=/usr/bin:/bin
link=$(dirname "$0")/../etc/runlevels/default/stiefel-autokexec
case "$*" in
"add stiefel-autokexec default") ln -s /etc/init.d/stiefel-autokexec "$link" ;;
"--all delete stiefel-autokexec") rm "$link" ;;
*) exit 1 ;;
esac
"""


def test_a_folder_above_ours_is_everyones(tmp_path: Path, settings: tuple[Config, str]) -> None:
    system = System(tmp_path / "tree", "dracut", settings)
    folder = system.tree / "usr/local/lib"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(StiefelError, match="everyone may write to the folder /usr/local/lib"):
        system.set_up()
    folder.chmod(0o1777)
    assert system.set_up()


def test_the_service_that_the_boot_has_started_ends(system: System) -> None:
    """It was enabled, and started by nobody here: what takes that back stops it all the same."""
    assert system.set_up()
    with Record.open(system.root, writable=False) as record:
        (ran,) = record.steps["enable"].commands
    assert ran.take_back[-1].endswith("then systemctl stop stiefel-autokexec.service; fi")


def test_openrc(tmp_path: Path, settings: tuple[Config, str]) -> None:
    system = System(tmp_path / "tree", "dracut", settings)
    for name in ("sbin", "etc/runlevels/default", "etc/init.d"):
        (system.tree / name).mkdir(parents=True)
    for name in ("openrc", "init"):
        (system.tree / "sbin" / name).touch()
    system.command("rc-update", text=OPENRC)
    before = snapshot(system.tree, times=False)
    assert system.set_up()
    service = system.tree / "etc/init.d/stiefel-autokexec"
    assert service.stat().st_mode & 0o777 == 0o755
    assert (system.tree / "etc/runlevels/default/stiefel-autokexec").is_symlink()
    assert not (system.tree / "etc/systemd/system/stiefel-autokexec.service").exists()
    assert system.take_back()
    assert snapshot(system.tree, times=False) == before


@pytest.mark.parametrize("beside_systemd", [True, False])
def test_openrc_that_is_not_the_init(
    tmp_path: Path, settings: tuple[Config, str], beside_systemd: bool
) -> None:
    """It is installed beside systemd; or a link leads to what only the machine that looks has."""
    system = System(tmp_path / "tree", "dracut", settings)
    put(system.tree, {"usr/lib/systemd/systemd": "", "usr/sbin/init.old": ""})
    (system.tree / "sbin").symlink_to("usr/sbin")
    init = "/usr/lib/systemd/systemd" if beside_systemd else "init.old"
    (system.tree / "sbin/init").symlink_to(init)
    if beside_systemd:
        (system.tree / "sbin/openrc").touch()
    else:
        (system.tree / "sbin/openrc").symlink_to("/usr/bin/env")
    assert system.set_up()
    assert (system.tree / "etc/systemd/system/stiefel-autokexec.service").exists()
    assert not (system.tree / "etc/init.d").exists()


def edited(system: System, name: str, change: Callable[[str], str]) -> None:
    path = system.tree / name
    path.write_text(change(path.read_text()))


def test_what_the_user_changed_is_not_overwritten_unasked(system: System) -> None:
    assert system.set_up()
    edited(system, "etc/stiefelsystem/config.yaml", lambda text: f"{text}# mine\n")
    assert not system.take_back()
    assert "# mine" in (system.tree / "etc/stiefelsystem/config.yaml").read_text()
