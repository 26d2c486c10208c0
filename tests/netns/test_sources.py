"""Sources built for real: in a container, in a throwaway tree, by Debian's compilers."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stiefelsystem.console import StiefelError, run_main
from stiefelsystem.host import debian, sources
from stiefelsystem.host.debian import Supply
from stiefelsystem.host.sources import Result, Source
from tests.builds import CACHE, REPO
from tests.processes import Program

# Of the form of clevo-fancontrol: a plain Makefile, some C.
PROGRAM = {
    "Makefile": """\
clevo-fancontrol: src/main.o src/fan.o
	$(CC) $(LDFLAGS) -o $@ $^
""",
    "src/fan.h": "int speed(void);\n",
    "src/fan.c": '#include "fan.h"\nint speed(void) { return 42; }\n',
    "src/main.c": """\
#include <stdio.h>
#include "fan.h"
int main(void) {
    printf("%d %s %s %s\\n", speed(), __DATE__, __TIME__, __FILE__);
    return 0;
}
""",
}
# Of the form of Realtek's driver.
DRIVER = {
    "Makefile": """\
ifneq ($(KERNELRELEASE),)
obj-m := r8152.o
else
KERNELDIR ?= /lib/modules/$(shell uname -r)/build
modules:
	$(MAKE) -C $(KERNELDIR) M=$(CURDIR) modules
endif
""",
    "r8152.c": """\
#include <linux/module.h>
#include <linux/usb.h>
static const struct usb_device_id table[] = { { USB_DEVICE(0x0bda, 0x8152) }, { } };
MODULE_DEVICE_TABLE(usb, table);
static int probe(struct usb_interface *it, const struct usb_device_id *id) { return -ENODEV; }
static void disconnect(struct usb_interface *it) { }
static struct usb_driver test_driver = {
    .name = KBUILD_MODNAME, .probe = probe, .disconnect = disconnect, .id_table = table,
};
module_usb_driver(test_driver);
MODULE_LICENSE("GPL");
""",
}
# Fails if it can connect to the host's loopback, on which our own web server listens.
ALONE = """! python3 -c 'import socket; socket.create_connection(("127.0.0.1", {port}))'"""


class Web(http.server.ThreadingHTTPServer):
    """The source's place: a folder, served on the loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connections = 0
        web = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                web.connections += 1
                super().__init__(*args, directory=str(folder))

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    def source(self, files: Mapping[str, str], **settings: Any) -> Source:
        """A source of these files, in an archive that is downloaded from here.

        It is like no other, so that nothing of it is in the cache.
        """
        with tarfile.open(self.folder / "source.tar.xz", "w:xz") as tar:
            for name, text in {**files, "unique": os.urandom(16).hex()}.items():
                info = tarfile.TarInfo(f"source-1.0/{name}")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
        digest = hashlib.sha256((self.folder / "source.tar.xz").read_bytes()).hexdigest()
        url = f"http://127.0.0.1:{self.server_port}/source.tar.xz"
        return Source(url=url, sha256=digest, **settings)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "web").mkdir()
    with Web(tmp_path / "web") as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield web
        web.shutdown()
        thread.join()


@dataclass(frozen=True)
class Workshop:
    """Builds with the shared packages, in a workplace of its own."""

    kernel: str
    workplace: Path
    supply: Supply

    def built(self, source: Source, *, name: str = "test-fan") -> Path:
        """Build, or take from the cache; in either case, no tree and no mount is left."""
        try:
            return sources.built(
                name, source, kernel=self.kernel, workplace=self.workplace, supply=self.supply
            )
        finally:
            self.assert_clean()

    def assert_clean(self) -> None:
        """Nothing is left at the workplace, and nothing of ours half done in the cache."""
        assert not list(self.workplace.parent.iterdir())
        assert str(self.workplace) not in Path("/proc/self/mountinfo").read_text()
        assert not list((self.supply.cache / "built").glob(".*"))


@pytest.fixture
def workshop(tree: Path, tmp_path: Path) -> Workshop:
    (module_folder,) = (tree / "usr/lib/modules").iterdir()
    (tmp_path / "workdir").mkdir()
    cache = tmp_path / "cache"
    cache.mkdir()
    for shared in (CACHE / "archives", *CACHE.glob("base-*.tar")):
        (cache / shared.name).symlink_to(shared)
    return Workshop(module_folder.name, tmp_path / "workdir/initrd-devel", Supply(cache))


@pytest.fixture(scope="module")
def compilers(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tree with compilers, from which `quick` makes its own."""
    prepared = tmp_path_factory.mktemp("compilers") / "tree"
    debian.packaged_tree(prepared, ["gcc", "libc6-dev", "make"], Supply(CACHE))
    yield prepared
    debian.remove_tree(prepared)


def link_tree(prepared: Path, tree: Path) -> None:
    """Make `tree` of hard links: enough for builds of which nothing is kept."""
    tree.parent.mkdir(parents=True)
    subprocess.run(["cp", "--archive", "--link", prepared, tree], check=True)


@pytest.fixture
def quick(compilers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For builds that fail: no need to unpack and install it all again for each."""
    monkeypatch.setattr(debian, "packaged_tree", lambda tree, *_: link_tree(compilers, tree))


def test_a_program(workshop: Workshop, web: Web, tree: Path, tmp_path: Path) -> None:
    """It runs in the ramdisk; it is built once; built again elsewhere, it is the same."""
    source = web.source(
        PROGRAM,
        build=("make", ALONE.format(port=web.server_port)),
        results=(Result(file=Path("clevo-fancontrol"), to=Path("/usr/sbin/clevo-fancontrol")),),
    )
    folder = workshop.built(source, name="test-fan")
    assert web.connections == 1
    (program,) = (path for path in folder.rglob("*") if path.is_file())
    assert program == folder / "usr/sbin/clevo-fancontrol"
    said = debian.nspawn(tree, ["/mnt/usr/sbin/clevo-fancontrol"], binds={folder: "/mnt"})
    assert said == "42 Jan  1 2020 00:00:00 src/main.c\n"

    made = program.stat()
    assert workshop.built(source) == folder
    assert program.stat() == made

    first = program.read_bytes()
    shutil.rmtree(folder)
    elsewhere = replace(
        workshop,
        workplace=tmp_path / "workdir/another-place",
        supply=replace(workshop.supply, offline=True),
    )
    assert elsewhere.built(source) == folder
    assert program.read_bytes() == first
    assert web.connections == 1


def test_a_kernel_module(workshop: Workshop, web: Web, tmp_path: Path) -> None:
    """It is for the ramdisk's kernel, not for ours; built again elsewhere, it is the same."""
    place = Path("/usr/lib/modules/{kernel}/updates/r8152.ko")
    source = web.source(
        DRIVER,
        build=("make -C /lib/modules/{kernel}/build M=$PWD modules",),
        kernel_headers=True,
        results=(Result(file=Path("r8152.ko"), to=place),),
    )
    folder = workshop.built(source, name="test-r8152")
    module = folder / f"usr/lib/modules/{workshop.kernel}/updates/r8152.ko"
    command = ["/usr/sbin/modinfo", "--field=vermagic", module]
    vermagic = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert vermagic.split()[0] == workshop.kernel
    command = ["/usr/sbin/modinfo", "--field=alias", module]
    aliases = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert aliases.startswith("usb:v0BDAp8152")
    assert str(tmp_path).encode() not in module.read_bytes()

    first = module.read_bytes()
    shutil.rmtree(folder)
    elsewhere = replace(workshop, workplace=tmp_path / "workdir/another-place")
    assert elsewhere.built(source, name="test-r8152") == folder
    assert module.read_bytes() == first


FAN = (Result(file=Path("clevo-fancontrol"), to=Path("/usr/sbin/fan")),)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("change", "build", "said"),
    [
        (
            {"src/fan.c": "int speed(void) { return warm; }\n"},
            "make",
            "test-fan: make failed: .*src/fan.c:1:.* error: .*warm.* undeclared",
        ),
        ({"src/fan.c": ""}, "make", "make failed: .*undefined reference to .speed"),
        ({"Makefile": ""}, "make", r"make: \*\*\* No targets"),
        ({}, "no-such-tool", "no-such-tool failed: .*no-such-tool: not found"),
        ({}, "make && exit 3", "&& exit 3 failed: cc .*"),
        ({}, "exit 3", "exit 3 failed: it said nothing"),
        (
            {},
            "make clevo-fancontrol && mv clevo-fancontrol ..",
            "made no file source-1.0/clevo-fancontrol",
        ),
        # It would be the host's.
        (
            {},
            "echo links; ln -s /etc/passwd clevo-fancontrol",
            "made no file .*/clevo-fancontrol: links",
        ),
    ],
)
def test_a_build_that_fails(
    workshop: Workshop, web: Web, change: dict[str, str], build: str, said: str
) -> None:
    source = web.source({**PROGRAM, **change}, build=(build,), results=FAN)
    with pytest.raises(StiefelError, match=said) as caught:
        workshop.built(source)
    assert "\n" not in str(caught.value)
    log = workshop.supply.cache / "built/test-fan.log"
    assert caught.value.hint == f"all that it said: {log}"
    assert not [path for path in log.parent.glob("test-fan*") if path != log]


@pytest.mark.usefixtures("quick")
def test_a_build_that_does_not_end(
    workshop: Workshop, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_BUILD_SECONDS", 1)
    source = web.source(PROGRAM, build=("echo begins; sleep 1000",), results=FAN)
    with pytest.raises(StiefelError, match="failed: begins / it did not end within 1 s"):
        workshop.built(source)


def main() -> int:
    """A build in a process of its own, for the test below, which interrupts it."""
    given = json.loads(sys.argv[1])
    if given["compilers"]:
        debian.packaged_tree = lambda tree, *_: link_tree(Path(given["compilers"]), tree)
    sources.built(
        "test-fan",
        Source(url=given["url"], sha256=given["sha256"], build=(given["build"],), results=FAN),
        kernel=given["kernel"],
        workplace=Path(given["workplace"]),
        supply=Supply(Path(given["cache"])),
    )
    return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["install", "build"])
def test_an_interrupted_build(
    workshop: Workshop, web: Web, compilers: Path, moment: str, number: signal.Signals
) -> None:
    """Whenever it is interrupted, and however busy it is: nothing of it is left."""
    workplace = workshop.workplace
    source = web.source(PROGRAM, results=FAN)
    given = {
        "url": source.url,
        "sha256": source.sha256,
        "build": f": {workplace}; mkdir d; while :; do : >d/$(date +%N); done",
        "kernel": workshop.kernel,
        "workplace": str(workplace),
        "cache": str(workshop.supply.cache),
        "compilers": str(compilers) if moment == "build" else "",
    }
    command = [sys.executable, "-m", "tests.netns.test_sources", json.dumps(given)]
    with Program(command, env={**os.environ, "PYTHONPATH": str(REPO)}) as build:
        if moment == "install":
            build.wait_for("install .* packages", 300)
            # Another test may install just now.
            wait_until(lambda: processes_of(workplace / "test-fan.new"), 300)
        else:
            made = workplace / "test-fan/build/source-1.0/d"
            wait_until(lambda: made.exists() and len(list(made.iterdir())) > 100)
        build.process.send_signal(number)
        assert build.wait(60) == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in build.output
    workshop.assert_clean()
    wait_until(lambda: not processes_of(workplace))
    assert not list((workshop.supply.cache / "built").glob("test-fan*"))


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what nobody tells us."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def processes_of(folder: Path) -> list[str]:
    """The command lines of those who work for `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it may end just now
            found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(folder) in line and "test_sources" not in line]


if __name__ == "__main__":
    run_main(main)
