"""What is done over each way: bytes as they come, and blocks at random places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bench.figures import medians
from bench.rig import Guest
from bench.ways import INSIDE, Link, Way

# What all others are compared with.
RAW = "TCP"
# A program's start, in emulation, and the last of its requests.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Load:
    """What fio does on the desktop, with `depth` requests on their way at once."""

    name: str
    kind: str  # fio's `rw`
    block: str
    depth: int
    sequential: bool = False


LOADS = (
    Load("read", "read", "1M", 8, sequential=True),
    Load("write", "write", "1M", 8, sequential=True),
    Load("read, 1", "randread", "4k", 1),
    Load("read, 32", "randread", "4k", 32),
    Load("write, 1", "randwrite", "4k", 1),
    Load("write, 32", "randwrite", "4k", 32),
)


class Found(NamedTuple):
    """Bytes and requests in a second, and the share of their processors that the desktop and the
    laptop were busy; the bytes' ratio to those of raw TCP, at the same time."""

    bytes: float
    requests: float
    desktop: float
    laptop: float
    of_tcp: float = 1.0


class Findings:
    """What was found, by the row of a table, and by the load."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Load, list[Found]]] = {RAW: {}}

    def add(self, row: str, load: Load, found: Found) -> None:
        """One run's."""
        self.rows.setdefault(row, {}).setdefault(load, []).append(found)

    def median(self, row: str, load: Load) -> Found | None:
        """Of all runs, each figure for itself."""
        runs = self.rows[row].get(load)
        return Found(*medians(runs)) if runs else None


class _Busy:
    """How much the processors of both machines have to do, the start of what measures included."""

    def __init__(self, link: Link) -> None:
        self._guests = (link.desktop, link.laptop)
        self._before = [_ticks(guest) for guest in self._guests]

    def shares(self) -> list[float]:
        """Of the time since this was made."""
        found = []
        for guest, (busy, every) in zip(self._guests, self._before, strict=True):
            busy_now, every_now = _ticks(guest)
            found.append((busy_now - busy) / max(1, every_now - every))
        return found


def _ticks(guest: Guest) -> tuple[int, int]:
    """Busy, and all, since its start; proc_stat(5): idle and iowait are the fourth and fifth."""
    fields = list(map(int, guest.sh("grep '^cpu ' /proc/stat").split()[1:9]))
    return sum(fields) - fields[3] - fields[4], sum(fields)


def measure(link: Link, way: Way, findings: Findings, seconds: int) -> None:
    """Do every load over a way, once. What it is compared with is measured just before: the
    machine may have other things to do, now more, now less."""
    with way.connect(link):
        for load in LOADS:
            raw = _raw(link, load, seconds, findings) if load.sequential else None
            if raw and way.tunnel:
                inside = _tcp(link, INSIDE, load, seconds)
                findings.add("TCP in WireGuard", load, _compared(inside, raw))
            found = _disk(link, load, seconds)
            findings.add(way.name, load, _compared(found, raw))


def _raw(link: Link, load: Load, seconds: int, findings: Findings) -> Found:
    raw = _tcp(link, link.address, load, seconds)
    findings.add(RAW, load, raw)
    return raw


def _compared(found: Found, raw: Found | None) -> Found:
    return found._replace(of_tcp=found.bytes / raw.bytes) if raw else found


def _tcp(link: Link, address: str, load: Load, seconds: int) -> Found:
    """What one TCP connection carries; a read comes from the laptop."""
    reverse = "--reverse" if load.kind == "read" else ""
    command = f"iperf3 --client {address} --json --interval 0 --time {seconds} {reverse}"
    busy = _Busy(link)
    result = link.desktop.json(command, seconds + _PATIENCE)
    rate = result["end"]["sum_received"]["bits_per_second"] / 8
    return Found(rate, 0.0, *busy.shares())


def _disk(link: Link, load: Load, seconds: int) -> Found:
    """What fio finds, past the page cache."""
    command = (
        f"fio --name=bench --filename=/dev/nbd0 --direct=1 --ioengine=libaio --thread"
        f" --rw={load.kind} --bs={load.block} --iodepth={load.depth} --time_based"
        f" --runtime={seconds} --output-format=json"
    )
    busy = _Busy(link)
    result = link.desktop.json(command, seconds + _PATIENCE)
    shares = busy.shares()
    (job,) = result["jobs"]
    side = job["read" if "read" in load.kind else "write"]
    return Found(side["bw_bytes"], side["iops"], *shares)
