"""See bench/transfer, which starts this."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests import builds, images
from tests.netns.machines import Hub, Machine, fill_laptop
from tests.processes import Program

_REFERENCE_PORT = 4645
_FETCH = """
import shutil, sys, time, urllib.request
started = time.monotonic()
with urllib.request.urlopen(sys.argv[1]) as answer, open("/dev/shm/stiefel-bench", "wb") as file:
    shutil.copyfileobj(answer, file, 1 << 20)
print(time.monotonic() - started)
"""


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 160
    image = builds.ramdisk()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stiefel-bench-")))
        images.unpack(image, folder / "ramdisk")
        hub = Hub(stack, folder / "ramdisk", folder)
        laptop, desktop = hub.machine("laptop"), hub.machine("desktop")
        fill_laptop(laptop, initrd_size=(size - 1) << 20)
        seconds, peaks = transfer(laptop, desktop)
        reference = plain_http(laptop, desktop)
    print(f"archive of {size} MiB, veth pair, not shaped")
    print(f"stiefelsystem   {seconds:6.2f} s  {size / seconds * 1.048576:7.0f} MB/s")
    print(f"plain HTTP      {reference:6.2f} s  {size / reference * 1.048576:7.0f} MB/s")
    print(f"ratio           {seconds / reference:6.2f}")
    for side, (idle, peak) in peaks.items():
        print(f"{side}: {idle:.0f} MiB resident when idle, {peak:.0f} MiB at the peak")


def transfer(laptop: Machine, desktop: Machine) -> tuple[float, dict[str, tuple[float, float]]]:
    """Seconds from the request to the verified archive, and (idle, peak) MiB of both programs."""
    with laptop.server() as server:
        server.wait_for("serving, waiting for the desktop")
        server_idle = memory(server.process.pid, "VmRSS")
        with desktop.client() as client:
            client.wait_for("searching for the laptop", 60)
            client_idle = memory(client.process.pid, "VmRSS")
            peak = client_idle
            while client.process.poll() is None:
                peak = max(peak, memory(client.process.pid, "VmHWM"))
                time.sleep(0.01)
            found = client.wait_for(r"received and verified .* in ([\d.]+) s")
        server_peak = memory(server.process.pid, "VmHWM")
    seconds = float(found.group(1))
    return seconds, {"server": (server_idle, server_peak), "client": (client_idle, peak)}


def memory(pid: int, field: str) -> float:
    """A field of /proc/PID/status, in MiB; 0 when the process has just ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) / 1024 if found else 0.0


def plain_http(laptop: Machine, desktop: Machine) -> float:
    """Seconds for the initrd alone by http.server and urllib, into memory."""
    address = laptop.address()
    command = [sys.executable, "-m", "http.server", "--bind", f"{address}%eth0"]
    command += ["--directory", str(laptop.data / "boot"), str(_REFERENCE_PORT)]
    url = f"http://[{address}%eth0]:{_REFERENCE_PORT}/initrd.img-6.12"
    with Program(laptop.namespace_command(*command)) as server:
        fetch = desktop.namespace_command(sys.executable, "-c", _FETCH, url)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            done = subprocess.run(fetch, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                Path("/dev/shm/stiefel-bench").unlink()
                return float(done.stdout)
            time.sleep(0.2)
        raise SystemExit(f"the reference does not work: {done.stderr}{server.output}")


if __name__ == "__main__":
    main()
