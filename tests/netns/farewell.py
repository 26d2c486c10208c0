"""Says the farewell of a session, as the keeper does: `farewell.py SESSION [SECRET]`.

SESSION is the keeper's file; SECRET is said instead of its own, and then twice. Tells what came.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

_AGAIN_SECONDS, _TIMES = 0.3, 30


def main() -> None:
    session = dict(line.split("=") for line in Path(sys.argv[1]).read_text().splitlines())
    times = 2 if sys.argv[2:] else _TIMES
    ifindex = socket.if_nametoindex("eth0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as keeper:
        keeper.bind((session["address"], 0, 0, ifindex))
        keeper.connect((session["server"], int(session["end-port"]), 0, ifindex))
        keeper.settimeout(_AGAIN_SECONDS)
        for _ in range(times):
            try:
                keeper.send(bytes.fromhex(sys.argv[2] if sys.argv[2:] else session["end"]))
                good = keeper.recv(100).hex() == session["ended"]
                print("confirmed" if good else "something else came", flush=True)
                return
            except OSError:
                continue
    print("not confirmed", flush=True)


if __name__ == "__main__":
    main()
