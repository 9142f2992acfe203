"""Measure messages per CPU-second of Node's `ws`, or of a C client that only moves bytes.

    python -m benchmarks.rivals node|epoll request-response|burst [--seconds S] [--connections N]

Both use the same echo server as the other benchmarks. `node` parses each answer and compares its number. `epoll`
neither parses nor records: it shows the limit of the machine and of the echo server. Both print their CPU time during
the measurement themselves. `ws` is installed by npm, and the C client compiled, into a folder in the temporary
directory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.client import CONNECTIONS, FRAME_BYTES, echo_server

WS_VERSION = "8.18.3"
MODES = ("request-response", "burst")
HERE = Path(__file__).parent


def home() -> Path:
    """Return the folder for what is installed or compiled, after making it if necessary."""
    place = Path(tempfile.gettempdir()) / f"earwitness-rivals-{os.getuid()}"
    place.mkdir(exist_ok=True)
    return place


def node() -> list[str]:
    """Return the command of the Node client, after installing `ws` if necessary."""
    if not (home() / "node_modules" / "ws").exists():
        npm = ["npm", "install", "--silent", "--no-save", "--prefix", str(home()), f"ws@{WS_VERSION}"]
        subprocess.run(npm, check=True)
    return ["node", str(HERE / "loop.js"), str(home() / "node_modules" / "ws")]


def epoll() -> list[str]:
    """Return the command of the C client, after compiling it if necessary."""
    binary, source = home() / "epoll", HERE / "epoll.c"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", str(binary), str(source)], check=True)
    return [str(binary)]


RIVALS = {"node": node, "epoll": epoll}


def measure(rival: str, mode: str, seconds: float = 3.0, connections: int = CONNECTIONS) -> dict[str, Any]:
    """Measure one round; return mode, messages, cpu_s and per_cpu_s."""
    with echo_server() as port:
        words = [str(port), mode, str(seconds), str(connections), str(FRAME_BYTES)]
        done = subprocess.run([*RIVALS[rival](), *words], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {"mode": mode, **found, "per_cpu_s": found["messages"] / found["cpu_s"]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Messages per CPU-second of other clients.")
    parser.add_argument("rival", choices=tuple(RIVALS))
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    options = parser.parse_args()
    print(json.dumps(measure(options.rival, options.mode, options.seconds, options.connections)))


if __name__ == "__main__":
    main()
