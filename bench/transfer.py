"""See bench/transfer, which starts this."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bench.figures import CLOCK_TICKS, medians, processor_seconds, share_of_others, table
from stiefelsystem.console import StiefelError, run_main, say
from stiefelsystem.run import run
from tests import builds, images
from tests.netns.machines import Hub, Machine, fill_laptop
from tests.processes import Program

_MEGABYTE = 10**6
_GIGABIT = 10**9
# In bits per second; None is as fast as it gets.
_RATES = (None, 1 * _GIGABIT, 2.5 * _GIGABIT)
_ALONE_RATE = 2.5 * _GIGABIT
# Super-packets of 64 KiB pass as a whole, as they do on NICs that cut them up themselves.
_BURST = "256kb"
_LATENCY = "20ms"
_BOOT_FILES = ("vmlinuz-6.12", "initrd.img-6.12")  # fill_laptop's
_KERNEL_SIZE = 1 << 20
_REFERENCE_PORT = 4645
_SAMPLE_SECONDS = 0.01
_LINK_SECONDS = 10.0
_PATIENCE = 120.0
# For the ramdisk's Python: AES itself, in place, and then by way of the frames. Prints what it is,
# seconds, and CPU seconds, for each.
_SEAL = """
import io, sys, threading, time
from Cryptodome.Cipher import AES
from stiefelsystem.framing import FRAME_SIZE, Opener, Sealer
count = int(sys.argv[1]) // FRAME_SIZE
key, plain, used, parts = bytes(32), bytes(FRAME_SIZE), [], []
def seal(places):
    frame = bytearray(plain)
    for place in places:
        nonce = place.to_bytes(8, "big")
        AES.new(key, AES.MODE_EAX, nonce=nonce, mac_len=16).encrypt_and_digest(frame, frame)
def seal_by(size):
    threads = [threading.Thread(target=seal, args=(range(i, count, size),)) for i in range(size)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
def take(data):
    used.append(threading.active_count() - 1)
    parts.append(bytes(data))
def write():
    with Sealer(take, key) as out:
        for _ in range(count): out.write(plain)
def read():
    with Opener(io.BytesIO(b"".join(parts)).read, key) as stream:
        while stream.read(FRAME_SIZE): pass
def measure(what, work):
    started, cpu = time.monotonic(), time.process_time()
    work()
    print(what, time.monotonic() - started, time.process_time() - cpu, sep="\\t")
measure("frames sealed", write)
measure("frames opened", read)
measure("AES-256-EAX, one thread", lambda: seal_by(1))
measure(f"AES-256-EAX, as many as frames have: {max(used)}", lambda: seal_by(max(used)))
"""


class Usage(NamedTuple):
    """What a program and its children took: CPU seconds, and MiB of resident memory."""

    cpu: float
    idle: float
    peak: float


class Watch(threading.Thread):
    """Looks at a running program and its children, up to the end of the block.

    `begin` ends what counts as idle.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._begun, self._ended = threading.Event(), threading.Event()
        self._idle = self._peak = self._cpu_before = self._cpu = 0.0
        self._children: set[int] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join()

    def begin(self) -> None:
        """What it takes from here on is for the transfer."""
        self._begun.set()

    def usage(self) -> Usage:
        """What was seen."""
        return Usage(self._cpu - self._cpu_before, self._idle, self._peak)

    def run(self) -> None:
        with suppress(OSError):  # it has ended
            ended = False
            while not ended:
                begun, ended = self._begun.is_set(), self._ended.wait(_SAMPLE_SECONDS)
                self._cpu = cpu_seconds(self._pid)
                if not begun:
                    self._idle, self._cpu_before = memory(self._pid, "VmRSS"), self._cpu
                self._peak = max(self._peak, self._memory_of_all())

    def _memory_of_all(self) -> float:
        found = children(self._pid)
        # Not when it is first seen: up to its exec, a child has its parent's memory.
        known, self._children = found & self._children, found
        return memory(self._pid, "VmHWM") + sum(memory(child, "VmHWM") for child in known)


def children(pid: int) -> set[int]:
    """The processes below a process, and those below these."""
    found = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found |= {child} | children(child)
    return found


def memory(pid: int, field: str) -> float:
    """A field of /proc/PID/status, in MiB; 0 for a process that has just ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) / 1024 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """What a process and its children that have ended took (proc_pid_stat(5): 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / CLOCK_TICKS


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/transfer")
    parser.add_argument("megabytes", nargs="?", type=int, default=160, help="of kernel and initrd")
    parser.add_argument("--runs", type=int, default=3, help="of each; medians are printed")
    args = parser.parse_args()
    if args.megabytes < 2 or args.runs < 1:
        parser.error("it takes 2 MB and one run at least")
    image = builds.ramdisk()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stiefel-bench-")))
        images.unpack(image, folder / "ramdisk")
        # What the client receives is kept in memory, as in the ramdisk.
        data = tempfile.TemporaryDirectory(prefix="stiefel-bench-", dir="/dev/shm")
        hub = Hub(stack, folder / "ramdisk", Path(stack.enter_context(data)))
        bench = Bench(hub, args.megabytes * _MEGABYTE, args.runs)
        print(f"{args.megabytes} MB, both sides on {os.cpu_count()} cores, median of {args.runs}")
        for report in (bench.over_links, bench.alone, bench.sealing):
            before = processor_seconds()
            print(f"\n{report()}\n{share_of_others(before)}", flush=True)
    return 0


class Bench:
    """A laptop and a desktop, and what is measured between them."""

    def __init__(self, hub: Hub, size: int, runs: int) -> None:
        self._hub = hub
        self._size = size
        self._runs = runs
        self._laptop = hub.machine("laptop", plugged=False)
        self._desktop = hub.machine("desktop", plugged=False)
        for machine in (self._laptop, self._desktop):
            # This machine's own choice may pace what it sends. Where nothing is lost, this is the
            # same as cubic, which Debian has, and which not every kernel allows in a namespace.
            script = "echo reno >/proc/sys/net/ipv4/tcp_congestion_control"
            run(machine.namespace_command("sh", "-c", script))
        fill_laptop(self._laptop, initrd_size=size - _KERNEL_SIZE)

    def over_links(self) -> str:
        """Seconds, share of the link, and what the programs take, over each link."""
        times = [
            ["", "s", "to open", "MB/s", "of link", "plain HTTP: s", "MB/s", "of link", "ratio"]
        ]
        usages = [["", "CPU s", "MiB idle", "at peak", "growth"]]
        for rate in _RATES:
            name = f"{rate / _GIGABIT:g} Gbit/s" if rate else "unshaped"
            try:
                runs = [self._transfer(rate) for _ in range(self._runs)]
            except NoShapingError as error:
                say(f"no rows for links with a rate: {error}")
                break
            opening, ours, *usage = medians(runs)
            (plain,) = medians((self._plain_http(rate),) for _ in range(self._runs))
            figures = [*self._rates(ours, rate), f"{plain:.2f}", *self._rates(plain, rate)]
            times.append([name, f"{ours:.2f}", f"{opening:.2f}", *figures, f"{ours / plain:.2f}"])
            for program, (cpu, idle, peak) in (("server", usage[:3]), ("client", usage[3:])):
                resident = [f"{figure:.1f}" for figure in (idle, peak, peak - idle)]
                usages.append([f"{name}, {program}", f"{cpu:.2f}", *resident])
        return f"{table(times)}\n\n{table(usages)}"

    def alone(self) -> str:
        """Seconds of each side, where the other one has next to nothing to do."""
        rows = [["one side alone, unshaped", "s", "CPU s", "MB/s", "of 2.5 Gbit/s"]]
        for name, measured in (("server", self._server_alone), ("client", self._client_alone)):
            rows.append([name, *self._alone_figures([measured() for _ in range(self._runs)])])
        return table(rows)

    def sealing(self) -> str:
        """What the ramdisk's Python seals and opens, without files and network."""
        command = self._laptop.inside("python3", "-I", "-c", _SEAL, str(self._size))
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(self._runs):
            for line in run(command, timeout=_PATIENCE).stdout.splitlines():
                what, *figures = line.split("\t")
                found.setdefault(what, []).append((float(figures[0]), float(figures[1])))
        rows = [["in the ramdisk's Python alone", "s", "CPU s", "MB/s", "of 2.5 Gbit/s"]]
        rows += [[what, *self._alone_figures(runs)] for what, runs in found.items()]
        return table(rows)

    def _alone_figures(self, runs: Sequence[tuple[float, float]]) -> list[str]:
        """Of several runs' seconds and CPU seconds."""
        seconds, cpu = medians(runs)
        return [f"{seconds:.2f}", f"{cpu:.2f}", *self._rates(seconds, _ALONE_RATE)]

    def _rates(self, seconds: float, rate: float | None) -> list[str]:
        """MB/s, and the share of a link that carries `rate` bits in a second."""
        share = f"{self._size * 8 / seconds / rate:.1%}" if rate else "–"
        return [f"{self._size / seconds / _MEGABYTE:.0f}", share]

    @contextmanager
    def _cable(self, rate: float | None = None) -> Iterator[None]:
        """Plug in a cable with this rate both ways, and pull it at the end.

        The rate counts frames with their headers: of an MTU of 1500, TCP has 94.3 % for payload
        (on a wire, with preamble, checksum and gap, it is 92.8 %). Raises `NoShapingError`.
        """
        machines = (self._laptop, self._desktop)
        self._hub.join((self._laptop, "eth0"), (self._desktop, "eth0"))
        try:
            for machine in machines:
                if rate:
                    shape(machine, rate)
                machine.bring_up()
            for machine in machines:
                wait_for_address(machine)
            yield
        finally:
            run(["ip", "-n", self._laptop.name, "link", "del", "eth0"])

    def _transfer(self, rate: float | None) -> tuple[float, ...]:
        """Seconds from the server's discovery until it sends, and to the verified archive; the
        `Usage` of the server, and that of the client."""
        with self._laptop.server() as server, self._desktop.client() as client:
            # Both have all that they need imported, as on machines whose links take seconds: the
            # client does that after its first look.
            server.wait_for("serving, waiting for the desktop")
            client.wait_for("waiting for a wired network interface")
            with (
                Watch(server.process.pid) as server_watch,
                Watch(client.process.pid) as watch,
                self._cable(rate),
            ):
                client.wait_for("the laptop serves on")
                started = time.monotonic()
                server_watch.begin()
                watch.begin()
                server.wait_for("sending .* and ")
                opening = time.monotonic() - started
                client.wait_for("received and verified", _PATIENCE)
                seconds = time.monotonic() - started
            return opening, seconds, *server_watch.usage(), *watch.usage()

    def _server_alone(self) -> tuple[float, float]:
        """Seconds and CPU seconds of the server, from the first byte of its archive to the last."""
        with self._laptop.server() as server, self._cable():
            server.wait_for("serving, waiting for the desktop")
            with (
                self._side(self._desktop, "take") as client,
                Watch(server.process.pid) as watch,
            ):
                client.wait_for("taking", _PATIENCE)
                watch.begin()
                taken = client.wait_for(r"taken in ([\d.]+) s", _PATIENCE)
            return float(taken.group(1)), watch.usage().cpu

    def _client_alone(self) -> tuple[float, float]:
        """Seconds and CPU seconds of the client, from the first byte to the verified archive."""
        with self._desktop.client() as client:
            client.wait_for("waiting for a wired network interface")
            with self._cable(), self._side(self._laptop, "give") as server:
                with Watch(client.process.pid) as watch:
                    server.wait_for("giving", _PATIENCE)
                    watch.begin()
                    started = time.monotonic()
                    client.wait_for("received and verified", _PATIENCE)
                    seconds = time.monotonic() - started
                return seconds, watch.usage().cpu

    def _side(self, machine: Machine, name: str) -> Program:
        return side(machine, name, machine.data / "key", str(self._size))

    def _plain_http(self, rate: float | None) -> float:
        """Seconds for the same bytes by http.server and urllib, into memory."""
        boot, fetched = self._laptop.data / "boot", self._desktop.data / "reference"
        served = self._laptop.data / "reference"
        served.write_bytes(b"".join((boot / name).read_bytes() for name in _BOOT_FILES))
        with self._cable(rate):
            address = f"{self._laptop.address()}%eth0"
            serve = [sys.executable, "-u", "-m", "http.server", "--bind", address]
            serve += ["--directory", str(self._laptop.data), str(_REFERENCE_PORT)]
            url = f"http://[{address}]:{_REFERENCE_PORT}/{served.name}"
            with Program(self._laptop.namespace_command(*serve)) as server:
                server.wait_for("Serving HTTP")
                with side(self._desktop, "fetch", url, fetched) as client:
                    took = client.wait_for(r"fetched in ([\d.]+) s", _PATIENCE)
        fetched.unlink()
        return float(took.group(1))


def side(machine: Machine, *words: str | Path) -> Program:
    """One of `bench.sides`, in a machine's network."""
    return Program(machine.namespace_command(sys.executable, "-m", "bench.sides", *words))


class NoShapingError(StiefelError):
    """This kernel, or this machine's tc, makes no links with a rate."""


def shape(machine: Machine, rate: float) -> None:
    """Let a machine send `rate` bits in a second, and not more. Raises `NoShapingError`."""
    words = ["rate", f"{rate:.0f}bit", "burst", _BURST, "latency", _LATENCY]
    try:
        run(["tc", "-n", machine.name, "qdisc", "add", "dev", "eth0", "root", "tbf", *words])
    except StiefelError as error:
        raise NoShapingError(str(error), hint=error.hint) from error


def wait_for_address(machine: Machine) -> None:
    """Wait until a machine whose NIC was switched on can use it."""
    deadline = time.monotonic() + _LINK_SECONDS
    asked = ["ip", "-n", machine.name, "-o", "address", "show", "dev", "eth0", "scope", "link"]
    while not run(asked).stdout:
        if time.monotonic() > deadline:
            raise StiefelError(f"{machine.name} got no address in {_LINK_SECONDS:.0f} s")
        time.sleep(_SAMPLE_SECONDS)


if __name__ == "__main__":
    run_main(main)
