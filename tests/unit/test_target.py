"""What is started on the desktop, of what the laptop has sent."""

from __future__ import annotations

import fcntl
import io
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError
from stiefelsystem.datagram import Peer
from stiefelsystem.messages import Offer, Role
from stiefelsystem.ramdisk import goodbye, keeper, target, tunnel
from stiefelsystem.ramdisk.archive import Received
from stiefelsystem.ramdisk.fetch import Fetched
from stiefelsystem.ramdisk.search import Found
from tests.unit.test_keeper import ANSWER, MAC, PLAIN, PRIVATE, SECRETS

FOUND = Found(Offer(Role.SERVER, bytes(32), bytes(32)), Peer("fe80::1", 4644, 1))
PUBLIC = b"\x0f" * 32
OWN = "quiet stiefel_innercmdline=bm9tb2Rlc2V0IHF1aWV0"  # nomodeset quiet


class Laptop:
    """Answers the way a test wants, and keeps what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: dict[str, Any] = ANSWER
        self.request: dict[str, Any] = {}
        self.cmdline = "root=UUID=1 ro"
        monkeypatch.setattr(target, "fetch", self.fetch)
        monkeypatch.setattr(tunnel, "new_keys", lambda: (PRIVATE, PUBLIC))
        monkeypatch.setattr(target.interfaces, "mac", lambda interface: MAC)

    def fetch(self, key: bytes, found: Found, folder: Path, request: dict[str, Any]) -> Fetched:
        self.request = request
        kernel, initrd = folder / "kernel", folder / "initrd"
        kernel.write_bytes(b"the kernel")
        initrd.write_bytes(b"the initrd")
        return Fetched(self.answer, Received(kernel, initrd, self.cmdline), SECRETS)


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> Laptop:
    return Laptop(monkeypatch)


def receive(folder: Path, own: str = OWN) -> None:
    target.start(b"k" * 32, FOUND, own, folder)


def test_what_is_received(laptop: Laptop, tmp_path: Path) -> None:
    receive(tmp_path)
    assert laptop.request == {"tunnel": PUBLIC.hex()}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "kernel": "the kernel",
        "initrd": "the initrd",
        "cmdline": f"root=UUID=1 ro stiefel_link={MAC} systemd.swap=0 nomodeset quiet",
        "session": keeper.session(ANSWER, MAC, SECRETS, PRIVATE),
    }
    assert (tmp_path / "session").stat().st_mode & 0o777 == 0o600


def test_no_secret_on_the_command_line(laptop: Laptop, tmp_path: Path) -> None:
    receive(tmp_path)
    cmdline = (tmp_path / "cmdline").read_text()
    for secret in (PRIVATE, *SECRETS):
        assert secret.hex() not in cmdline


@pytest.mark.parametrize(
    ("words", "swap", "expected"),
    [
        (("ro", ""), True, f"ro stiefel_link={MAC}"),
        (("", ""), False, f"stiefel_link={MAC} systemd.swap=0"),
        # What is not a yes is a no.
        (("ro", ""), "false", f"ro stiefel_link={MAC} systemd.swap=0"),
        (("ro", ""), 1, f"ro stiefel_link={MAC} systemd.swap=0"),
        (("ro", "stiefel_innercmdline=YQ=="), True, f"ro stiefel_link={MAC} a"),
    ],
)
def test_the_command_line(
    laptop: Laptop, tmp_path: Path, words: tuple[str, str], swap: Any, expected: str
) -> None:
    """Of what the laptop has sent, and what this machine adds."""
    laptop.cmdline, own = words
    laptop.answer = {**ANSWER, "swap": swap}
    receive(tmp_path, own or "quiet")
    assert (tmp_path / "cmdline").read_text() == expected


@pytest.mark.parametrize("answer", [PLAIN, {n: v for n, v in ANSWER.items() if n != "tunnel"}])
def test_no_encryption_is_told(
    laptop: Laptop, tmp_path: Path, answer: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.answer = answer
    receive(tmp_path)
    assert "the laptop does not encrypt" in capsys.readouterr().err
    assert "encryption=none" in (tmp_path / "session").read_text().split()


def test_a_machine_without_wireguard(
    laptop: Laptop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise StiefelError("this machine's kernel has no WireGuard")

    monkeypatch.setattr(tunnel, "new_keys", fail)
    with pytest.raises(StiefelError, match="a tunnel that was not asked for"):
        receive(tmp_path)
    assert laptop.request == {}
    assert "no WireGuard: the disk's traffic cannot be encrypted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    laptop.answer = PLAIN
    receive(tmp_path)


def test_what_is_started(laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "stiefel-link"
    program.write_bytes(b"ELF")
    archive = keeper.archive
    monkeypatch.setattr(keeper, "archive", lambda settings: archive(settings, program))
    loaded: list[tuple[bytes, bytes, str]] = []
    ran: list[list[str]] = []

    def load(kernel: Path, initrd: io.BufferedRandom, cmdline: str) -> None:
        initrd.seek(0)
        # By its descriptor, too: the kernel reads that, and not what Python holds back.
        assert initrd.read() == Path(initrd.name).read_bytes()
        # What anyone has open for writing, the kernel does not take; nor does it lease it for
        # reading (fcntl(2)).
        with kernel.open("rb") as other:
            for file in (initrd, other):
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        loaded.append((kernel.read_bytes(), Path(initrd.name).read_bytes(), cmdline))

    monkeypatch.setattr(target.kexec, "load", load)
    monkeypatch.setattr(target, "run", ran.append)
    target.start(b"k" * 32, FOUND, OWN, None)
    ((kernel, initrd, cmdline),) = loaded
    assert kernel == b"the kernel"
    settings = keeper.session(ANSWER, MAC, SECRETS, PRIVATE)
    # 10 bytes, 2 up to a boundary, 4 at least.
    assert initrd == b"the initrd" + bytes(6) + archive(settings, program)
    assert cmdline.startswith("root=UUID=1 ro stiefel_link=")
    assert ran == [["kexec", "--exec"]]
    assert not Path(f"{tmp_path}/session").exists()


class NotTrusted:
    """A machine that is locked down, and what comes of giving the disk back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcome: bool | Exception) -> None:
        self.outcome = outcome
        self.given_back: list[tuple[str, int]] = []
        monkeypatch.setattr(keeper, "archive", lambda settings: b"")
        monkeypatch.setattr(target.kexec, "load", self.load)
        monkeypatch.setattr(target, "run", lambda command: pytest.fail("it was started"))
        monkeypatch.setattr(goodbye, "give_back", self.give_back)

    def load(self, *_: object) -> None:
        raise target.kexec.Untrusted("the running kernel refuses to load it")

    def give_back(self, session: str, ifindex: int) -> bool:
        self.given_back.append((session, ifindex))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (True, "the laptop has its disk back, unused"),
        (False, "cannot tell the laptop that it may have its disk back: it does not answer"),
        (StiefelError("no tunnel"), "may have its disk back: no tunnel"),
        (OSError(19, "No such device"), "may have its disk back: [Errno 19] No such device"),
    ],
)
def test_a_kernel_that_this_machine_does_not_trust(
    laptop: Laptop,
    monkeypatch: pytest.MonkeyPatch,
    outcome: bool | Exception,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The laptop gets to know, and the person, whatever comes of telling the laptop."""
    machine = NotTrusted(monkeypatch, outcome)
    with pytest.raises(target.kexec.Untrusted) as caught:
        target.start(b"k" * 32, FOUND, OWN, None)
    assert "cannot be started with Secure Boot on" in str(caught.value)
    assert "switch Secure Boot off" in caught.value.hint
    session = keeper.session(ANSWER, MAC, SECRETS, PRIVATE)
    assert machine.given_back == [(session, FOUND.peer.ifindex)]
    assert said in capsys.readouterr().err


def test_it_is_given_back_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same keys as that of the target would be."""
    made: list[Any] = []

    class Tunnel:
        ifindex = 7

        def __init__(self, private: bytes) -> None:
            made.append(private)

        def __enter__(self) -> Tunnel:
            return self

        def __exit__(self, *_: object) -> None:
            made.append("closed")

        def connect(self, far: tunnel.Far, *, own: str, other: str) -> None:
            made.append((far, own, other))

    monkeypatch.setattr(goodbye, "Tunnel", Tunnel)
    monkeypatch.setattr(goodbye, "_confirmed", lambda _, *where: made.append(where) or True)
    assert goodbye.give_back(keeper.session(ANSWER, MAC, SECRETS, PRIVATE), 3)
    peer = Peer(ANSWER["server"], tunnel.PORT, 3)
    far = tunnel.Far(bytes.fromhex(ANSWER["tunnel"]), SECRETS.preshared, peer)
    inner = ANSWER["inner-client"], ANSWER["inner-server"]
    assert made == [PRIVATE, (far, *inner), (ANSWER["inner-server"], 7), "closed"]
