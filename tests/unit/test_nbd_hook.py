"""The target's hook library, in each shell that runs it: nothing on a command line surprises it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefelsystem.cmdline import Link
from tests import capabilities

LIBRARY = Path(__file__).resolve().parents[2] / "nbd-hook/lib"
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
NAMES = ("link", "address", "server", "port", "export", "sector")
LINK = Link(
    mac="52:54:00:00:00:01",
    address="fe80::2",
    server="fe80::1",
    port=10809,
    export="disk",
    sector_size=512,
)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    argv = SHELLS[request.param]
    capabilities.require_tools(argv[0])
    return argv


def call(
    shell: list[str], folder: Path, script: str, *words: str, cmdline: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Source the library, as an adapter does, and run `script`, with files below `folder`."""
    if cmdline is not None:
        (folder / "cmdline").write_bytes(cmdline)
    (folder / "cwd").mkdir(exist_ok=True)
    return subprocess.run(
        [*shell, "-c", f'. "$STIEFEL_LIBRARY"\n{script}', "hook", *words],
        cwd=folder / "cwd",
        env={
            "PATH": os.environ["PATH"],
            "STIEFEL_LIBRARY": str(LIBRARY),
            "STIEFEL_CMDLINE": str(folder / "cmdline"),
            "STIEFEL_SYS": str(folder / "net"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


def value(shell: list[str], folder: Path, cmdline: bytes, name: str = "x") -> bytes | None:
    done = call(shell, folder, 'stiefel_value "$1"', name, cmdline=cmdline)
    assert done.stderr == b""
    assert done.returncode in (0, 1)
    if done.returncode:
        assert done.stdout == b""
        return None
    return done.stdout


def expected(cmdline: bytes, name: bytes = b"x") -> bytes | None:
    """What `value` must say: the last of the blank-separated words that start so."""
    values = [
        word[len(name) + 1 :]
        for word in re.split(rb"[ \t\n]+", cmdline)
        if word.startswith(name + b"=")
    ]
    return values[-1] if values else None


def test_sourcing_does_nothing(shell: list[str], tmp_path: Path) -> None:
    done = call(shell, tmp_path, "echo done", cmdline=LINK.words().encode())
    assert (done.stdout, done.stderr, done.returncode) == (b"done\n", b"", 0)
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.mark.parametrize(
    ("cmdline", "found"),
    [
        (b"", None),
        (b"\n", None),
        (b"x", None),
        (b"x\n", None),
        (b"x=", b""),
        (b"x=1", b"1"),
        (b"x=1\n", b"1"),
        (b"a b x=1 c", b"1"),
        (b"  x=1  ", b"1"),
        (b"x=1\tb\nc", b"1"),
        (b"x=1 x=2", b"2"),
        (b"x=1 x=", b""),
        (b"x=a=b=c", b"a=b=c"),
        (b"xx=1 ax=2 x.y=3 x-=4 X=5 =x=6 x:=7", None),
        (b"xx=1 x=2 ax=3", b"2"),
        (b"x=*", b"*"),
        (b"x=/* x=/etc/pass??", b"/etc/pass??"),
        (b"x=[a-z]*", b"[a-z]*"),
        (b"* ? [a] x=1 *", b"1"),
        (b"x=$HOME", b"$HOME"),
        (b"x=$(touch${IFS}y)", b"$(touch${IFS}y)"),
        (b"x=`touch\ty`", b"`touch"),
        (b"x=${PATH} x=$1", b"$1"),
        (b"x=a;touch y", b"a;touch"),
        (b"x=a&b|c>y<z", b"a&b|c>y<z"),
        (b'x="a b"', b'"a'),
        (b"x='a' \"x=2\" 'x=3'", b"'a'"),
        (b'dyndbg="file a x=1 b" x=2"', b'2"'),
        (b"x=\\", b"\\"),
        (b"x=a\\ b", b"a\\"),
        (b"x=\\n\\t\\0\\c%s%d", b"\\n\\t\\0\\c%s%d"),
        (b"x=#no comment", b"#no"),
        (b"# x=1", b"1"),
        (b"x=~ y", b"~"),
        (b"x={a,b}", b"{a,b}"),
        (b"x=!1 x=!!", b"!!"),
        (b"-e -n -- -x=3 x=-n", b"-n"),
        (b"--x=1", None),
        (b"init=/bin/sh -- x=1", b"1"),
        (b"x=\xc3\xa4", b"\xc3\xa4"),
        (b"x=\r", b"\r"),
        (b"x=1\r\n", b"1\r"),
    ],
)
def test_value(shell: list[str], tmp_path: Path, cmdline: bytes, found: bytes | None) -> None:
    assert expected(cmdline) == found
    assert value(shell, tmp_path, cmdline) == found
    assert list((tmp_path / "cwd").iterdir()) == []


def test_globs_do_not_find_files(shell: list[str], tmp_path: Path) -> None:
    """Even where there are files that they would name."""
    (tmp_path / "cwd").mkdir()
    for name in ("x=1", "x=2", "stiefel_link=evil"):
        (tmp_path / "cwd" / name).touch()
    assert value(shell, tmp_path, b"x=* x=?") == b"?"
    assert value(shell, tmp_path, b"* x=?*") == b"?*"
    assert value(shell, tmp_path, b"stiefel_link=* *", "stiefel_link") == b"*"
    done = call(shell, tmp_path, "stiefel_wanted", cmdline=b"stiefel* s* *")
    assert done.returncode == 1


def test_globbing_works_again_behind_it(shell: list[str], tmp_path: Path) -> None:
    done = call(shell, tmp_path, "touch f1 f2; stiefel_value x; echo f*", cmdline=b"x=1")
    assert done.stdout == b"1f1 f2\n"


def test_long_command_line(shell: list[str], tmp_path: Path) -> None:
    """Longer than any kernel's, and than a pipe."""
    long = b"v" * 100000
    assert value(shell, tmp_path, b"w " * 20000 + b"x=" + long + b" y=1") == long
    assert value(shell, tmp_path, b"x=1 " * 20000 + b"x=2") == b"2"


@given(
    words=st.lists(
        st.one_of(
            st.text(st.sampled_from("xX=*?[]!$(){}`'\"\\|&;<>#~%-+.^:/ä\t\n\r1a"), max_size=8),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
        ).flatmap(lambda text: st.sampled_from([text, f"x={text}", f"x{text}", f"{text}x=1"])),
        max_size=6,
    ),
    separator=st.sampled_from([" ", "  ", "\t", "\n"]),
    end=st.sampled_from(["", "\n"]),
)
@pytest.mark.parametrize("shell_name", SHELLS)
def test_value_of_anything(
    tmp_path_factory: pytest.TempPathFactory,
    shell_name: str,
    words: list[str],
    separator: str,
    end: str,
) -> None:
    shell = SHELLS[shell_name]
    capabilities.require_tools(shell[0])
    folder = tmp_path_factory.mktemp("hook")
    cmdline = (separator.join(words) + end).encode()
    assert value(shell, folder, cmdline) == expected(cmdline)
    assert list((folder / "cwd").iterdir()) == []


def test_values_do_not_mix(shell: list[str], tmp_path: Path) -> None:
    script = "stiefel_value a; stiefel_value b; stiefel_value c || echo none"
    assert call(shell, tmp_path, script, cmdline=b"b=2 a=1").stdout == b"12none\n"


def test_no_command_line(shell: list[str], tmp_path: Path) -> None:
    """As where /proc is not mounted: then this boot is like any other."""
    done = call(shell, tmp_path, "stiefel_wanted")
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("cmdline", "wanted"),
    [
        (b"root=/dev/sda1 quiet\n", False),
        (b"stiefel_link", False),
        (b"stiefel_linkx=1 xstiefel_link=2 Stiefel_link=3 stiefel-link=4", False),
        (b"stiefel_server=fe80::1 stiefel_port=1", False),
        (b'"stiefel_link=52:54:00:00:00:01"', False),
        (b"x=stiefel_link=1", False),
        (LINK.words().encode(), True),
        (b"quiet stiefel_link=52:54:00:00:00:01\n", True),
        (b"stiefel_link=", True),  # half a command line is refused later, and loudly
    ],
)
def test_wanted(shell: list[str], tmp_path: Path, cmdline: bytes, wanted: bool) -> None:
    done = call(shell, tmp_path, "stiefel_wanted", cmdline=cmdline)
    assert (done.returncode == 0, done.stdout, done.stderr) == (wanted, b"", b"")


SHOW = "stiefel_settings && printf '%s\\n' " + " ".join(
    f'"$stiefel_{name}"' for name in ("mac", *NAMES[1:])
)


def test_settings_of_the_client(shell: list[str], tmp_path: Path) -> None:
    """What stiefelsystem/cmdline.py writes is what the hook reads."""
    cmdline = f"BOOT_IMAGE=/vmlinuz root=UUID=x ro quiet {LINK.words()}\n".encode()
    done = call(shell, tmp_path, SHOW, cmdline=cmdline)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().split("\n") == [
        LINK.mac,
        LINK.address,
        LINK.server,
        str(LINK.port),
        LINK.export,
        str(LINK.sector_size),
        "",
    ]


BAD = [
    *("", "*", "$(touch", "`touch", "a;b", "a/b", "..", "%s", "\\", '"1"', "'1'", "ä", "A", "1.2"),
    *("fe80::1%eth0", "[0]", "!1", "1\r"),
]


def test_settings_that_are_wrong(shell: list[str], tmp_path: Path) -> None:
    """Each value in the place of one word, some in that of each, and each word missing."""
    files: list[Path] = []
    messages: list[str] = []
    for name in NAMES:
        for bad in (None, *(BAD if name == "export" else BAD[:3])):
            words = dict(word.split("=") for word in LINK.words().split())
            words[f"stiefel_{name}"] = bad or ""
            if bad is None:
                del words[f"stiefel_{name}"]
            files.append(tmp_path / str(len(files)))
            files[-1].write_text(" ".join(f"{key}={value}" for key, value in words.items()))
            messages.append(
                f"stiefelsystem: kernel command line: stiefel_{name}= is missing or wrong: "
                f"'{bad or ''}'"
            )
    script = 'for STIEFEL_CMDLINE; do stiefel_settings; echo "$?"; done'
    done = call(shell, tmp_path, script, *map(str, files))
    assert done.stdout.split() == [b"1"] * len(files)
    assert done.stderr.decode().split("\n") == [*messages, ""]
    assert list((tmp_path / "cwd").iterdir()) == []


def clean(shell: list[str], folder: Path, *pairs: tuple[str, str]) -> list[bool]:
    """Whether each value has only its characters, by one run."""
    script = 'while [ $# -gt 0 ]; do stiefel_clean "$1" "$2"; echo $?; shift 2; done'
    words = [word for pair in pairs for word in pair]
    done = call(shell, folder, script, *words)
    assert done.stderr == b""
    return [line == b"0" for line in done.stdout.split()]


@pytest.mark.parametrize(
    ("characters", "pattern"),
    [("0-9", r"[0-9]+"), ("0-9a-f:", r"[0-9a-f:]+"), ("a-z0-9-", r"[a-z0-9-]+")],
)
def test_clean(shell: list[str], tmp_path: Path, characters: str, pattern: str) -> None:
    values = [chr(code) for code in range(1, 0x180)]
    values += [before + c + after for c in values for before, after in (("1", ""), ("", "1"), "ff")]
    values += ["", "1\n2", "1\n", "\n", "fe80::1", "disk-0", "1" * 10000, "1" * 10000 + "!"]
    answers = clean(shell, tmp_path, *((one, characters) for one in values))
    for one, answer in zip(values, answers, strict=True):
        assert answer == bool(re.fullmatch(pattern, one)), repr(one[:20])


def nic(folder: Path, name: str, address: str | None, *, device: bool = True) -> None:
    path = folder / "net" / name
    path.mkdir(parents=True)
    if address is not None:
        (path / "address").write_text(address)
    if device:
        (path / "device").mkdir()


def nic_of(shell: list[str], folder: Path, mac: str) -> bytes | None:
    done = call(shell, folder, 'stiefel_nic "$1"', mac)
    assert done.stderr == b""
    assert (done.returncode == 0) == bool(done.stdout)
    return done.stdout or None


def test_nic(shell: list[str], tmp_path: Path) -> None:
    nic(tmp_path, "eth0", "52:54:00:00:00:01\n")
    nic(tmp_path, "eth1", "52:54:00:00:00:02\n")
    nic(tmp_path, "lo", "00:00:00:00:00:00\n", device=False)
    assert nic_of(shell, tmp_path, "52:54:00:00:00:01") == b"eth0"
    assert nic_of(shell, tmp_path, "52:54:00:00:00:02") == b"eth1"
    for other in ("52:54:00:00:00:03", "52:54:00:00:00:0", "00:00:00:00:00:00", "*", ""):
        assert nic_of(shell, tmp_path, other) is None, other


def test_nic_of_a_bridge_is_the_one_below(shell: list[str], tmp_path: Path) -> None:
    nic(tmp_path, "br0", "52:54:00:00:00:01\n", device=False)
    nic(tmp_path, "eth0.5", "52:54:00:00:00:01\n", device=False)
    assert nic_of(shell, tmp_path, "52:54:00:00:00:01") is None
    nic(tmp_path, "enp0s31f6", "52:54:00:00:00:01\n")
    assert nic_of(shell, tmp_path, "52:54:00:00:00:01") == b"enp0s31f6"


def test_nic_among_odd_ones(shell: list[str], tmp_path: Path) -> None:
    """Names that the kernel allows, and NICs that go away while they are looked at."""
    nic(tmp_path, "$(id)", "52:54:00:00:00:01\n")
    nic(tmp_path, "a*", "52:54:00:00:00:02\n")
    nic(tmp_path, "-n", "52:54:00:00:00:03\n")
    nic(tmp_path, "gone", None)
    nic(tmp_path, "empty", "")
    (tmp_path / "net/bonding_masters").write_text("\n")
    assert nic_of(shell, tmp_path, "52:54:00:00:00:01") == b"$(id)"
    assert nic_of(shell, tmp_path, "52:54:00:00:00:02") == b"a*"
    assert nic_of(shell, tmp_path, "52:54:00:00:00:03") == b"-n"


def test_no_nic_at_all(shell: list[str], tmp_path: Path) -> None:
    assert nic_of(shell, tmp_path, "52:54:00:00:00:01") is None
    (tmp_path / "net").mkdir()
    assert nic_of(shell, tmp_path, "52:54:00:00:00:01") is None


def test_until(shell: list[str], tmp_path: Path) -> None:
    """It tries at once, again after each second (which pass by hand), and gives up."""
    script = """
        now=1000
        stiefel_seconds() { echo "$now"; }
        sleep() { echo "slept $1"; now=$((now + $1)); }
        try() { tries=$((tries + 1)); echo "$1"; [ "$tries" -ge "$2" ]; }
        tries=0; stiefel_until 3 try now 1; echo $?
        tries=0; stiefel_until 3 try later 3; echo $?
        tries=0; stiefel_until 2 try never 99; echo $?
        tries=0; stiefel_until 0 try never 99; echo $?
    """
    assert call(shell, tmp_path, script).stdout.decode().split("\n") == [
        *("now", "0"),
        *("later", "slept 1", "later", "slept 1", "later", "0"),
        *("never", "slept 1", "never", "slept 1", "never", "1"),
        *("never", "1", ""),
    ]


def test_until_counts_what_an_attempt_takes(shell: list[str], tmp_path: Path) -> None:
    script = """
        now=1000
        stiefel_seconds() { echo "$now"; }
        sleep() { now=$((now + $1)); }
        try() { echo try; now=$((now + 20)); false; }
        stiefel_until 30 try; echo $?
    """
    assert call(shell, tmp_path, script).stdout.split() == [b"try", b"try", b"1"]


def test_seconds(shell: list[str], tmp_path: Path) -> None:
    before = float(Path("/proc/uptime").read_text().split()[0])
    seconds = int(call(shell, tmp_path, "stiefel_seconds").stdout)
    after = float(Path("/proc/uptime").read_text().split()[0])
    assert int(before) <= seconds <= int(after)


@pytest.fixture
def ip(tmp_path: Path) -> Path:
    """Where what a fake ip(8) is asked for is written down; it fails while a file says so."""
    path = tmp_path / "bin/ip"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\necho "$*" >>"${0%/*}/log"\n[ ! -e "${0%/*}/broken" ]\n')
    path.chmod(0o755)
    return path.parent / "log"


def rename(shell: list[str], folder: Path) -> int:
    script = "STIEFEL_BIN=$1; stiefel_mac=52:54:00:00:00:01; stiefel_rename"
    done = call(shell, folder, script, str(folder / "bin"))
    assert done.stdout == done.stderr == b""
    return done.returncode


def test_rename(shell: list[str], tmp_path: Path, ip: Path) -> None:
    assert rename(shell, tmp_path) == 1  # there is none yet
    assert not ip.exists()
    nic(tmp_path, "eth1", "52:54:00:00:00:01\n")
    assert rename(shell, tmp_path) == 0
    assert ip.read_text() == "link set dev eth1 down\nlink set dev eth1 name stiefellink\n"


def test_rename_that_fails(shell: list[str], tmp_path: Path, ip: Path) -> None:
    """As when udev was faster: it is tried again, by the name that it has then."""
    nic(tmp_path, "eth1", "52:54:00:00:00:01\n")
    (ip.parent / "broken").touch()
    assert rename(shell, tmp_path) != 0
    assert ip.read_text() == "link set dev eth1 down\n"


def test_rename_of_what_has_the_name(shell: list[str], tmp_path: Path, ip: Path) -> None:
    nic(tmp_path, "stiefellink", "52:54:00:00:00:01\n")
    assert rename(shell, tmp_path) == 0
    assert not ip.exists()
