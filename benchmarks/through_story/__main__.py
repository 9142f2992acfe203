"""Measure messages per CPU-second of a load test that `locust` runs, against the same echo server as other clients.

    python -m benchmarks.through_story story|locust [--seconds S] [--users N] [--pause S]

`story` is `echo_story.py`: a story as users write it, with every frame recorded, and judged afterwards. It counts only
if it passes. `locust` is `plain_user.py`: Locust's own user with websocket-client and wsaccel. `--without wsaccel`
leaves out wsaccel, `--without statistics` does not report messages to Locust. Each load test measures the whole CPU
time of its own process, from shortly after its users have started.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.client import CONNECTIONS, echo_server
from benchmarks.through_story.meter import OUT, SECONDS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
AROUND_S = 4.0
"""Seconds of a run besides the measurement: connecting, warming up."""
WSACCEL = "wsaccel==0.6.7"
TARGET = """
name = "echo"

[urls]
socket = "ws://127.0.0.1:PORT/"

[login]
by = "mint"
algorithm = "HS256"
key = "file:key.txt"
claims = { sub = "{name}" }
user_id = "{name}"

[send]
frame = { type = "send", conversation = "{label}", id = "{id}", text = "{text}" }

[frames]
kind = "type"
message = { is = "send", room = "conversation", text = "text", id = "id" }

[contract]
acknowledges = false
durable = false
history = false
names_sender = false
"""


def story(folder: Path, port: int, users: int) -> list[str]:
    """Write the target file into `folder`; return the arguments of `locust` for the story."""
    (folder / "key.txt").write_text("a key of at least thirty-two bytes, for nobody\n")
    (folder / "echo.toml").write_text(TARGET.replace("PORT", str(port)))
    return ["-f", str(HERE / "echo_story.py"), "--target", str(folder / "echo.toml"), "--runs", str(folder / "runs")]


def plain(folder: Path, port: int, users: int) -> list[str]:
    """Return the arguments of `locust` for the plain user."""
    return ["-f", str(HERE / "plain_user.py"), "--only-summary", "--skip-log"]


def wsaccel() -> Path:
    """Return the folder of wsaccel, after installing it if necessary."""
    home = Path(tempfile.gettempdir()) / f"earwitness-wsaccel-{os.getuid()}"
    if not (home / "wsaccel").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(home)]
        subprocess.run([*pip, WSACCEL], check=True)
    return home


def measure(
    kind: str, seconds: float = 3.0, users: int = CONNECTIONS, pause_s: float = 0.0, without: str = ""
) -> dict[str, Any]:
    """Measure one round; return messages, cpu_s, wall_s, per_cpu_s, and what the load test reports about itself.

    `pause_s`: seconds between two messages of a user; `without`: "wsaccel", "statistics" or "". Raises SystemExit if
    the run fails.
    """
    with tempfile.TemporaryDirectory() as made, echo_server() as port:
        folder, out = Path(made), Path(made) / "found.json"
        words = (story if kind == "story" else plain)(folder, port, users)
        command = [sys.executable, "-m", "locust", "--headless", *words, "-u", str(users), "-r", str(users)]
        path = [str(ROOT)] if kind == "story" or without == "wsaccel" else [str(ROOT), str(wsaccel())]
        environment = {
            **os.environ, OUT: str(out), SECONDS: str(seconds), "BENCHMARK_PAUSE_S": str(pause_s),
            "BENCHMARK_URL": f"ws://127.0.0.1:{port}/", "BENCHMARK_USERS": str(users),
            "BENCHMARK_STATISTICS": "off" if without == "statistics" else "on", "PYTHONPATH": os.pathsep.join(path),
        }  # fmt: skip
        command += ["-t", f"{ceil(seconds + AROUND_S)}s"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode or not out.exists():
            raise SystemExit(f"{done.stdout}\nthe run ended with {done.returncode}: it is no measurement.")
        return {"kind": kind, "users": users, "pause_s": pause_s, **json.loads(out.read_text(encoding="utf-8"))}


def main() -> None:
    parser = argparse.ArgumentParser(description="Messages per CPU-second of load tests.")
    parser.add_argument("kind", choices=("story", "locust"))
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--users", type=int, default=CONNECTIONS)
    parser.add_argument("--pause", type=float, default=0.0, metavar="S", help="seconds between two messages of a user")
    parser.add_argument("--without", choices=("wsaccel", "statistics"), default="", help="what Locust's user lacks")
    options = parser.parse_args()
    print(json.dumps(measure(options.kind, options.seconds, options.users, options.pause, options.without)))


if __name__ == "__main__":
    main()
