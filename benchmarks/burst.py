"""Measure the seconds from the first of 1,000 messages of one user until every member has received the last.

    python -m benchmarks.burst --room 10|100

The whole reference platform is started (two backends, Postgres, Valkey, Caddy); 100 users are connected and chat. The
run is judged, and counts only if it passes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STORY = Path(__file__).with_name("burst_story.py")


def measure(room: int, users: int = 100, seconds: int = 10) -> dict[str, Any]:
    """Run the story once; return room, outcome, delivered_s and acknowledged_s.

    `room`: number of members. Raises SystemExit if the run does not pass.
    """
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "locust", "-f", str(STORY), "--headless", "--users", str(users)]
        command += ["--run-time", f"{seconds}s", "--runs", runs]
        environment = {**os.environ, "EARWITNESS_BURST_ROOM": str(room)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        path = Path(runs) / "latest" / "verdict.json"
        if done.returncode or not path.exists():
            raise SystemExit(f"{done.stdout}\nthe run ended with {done.returncode}: it is no measurement.")
        verdict = json.loads(path.read_text(encoding="utf-8"))
    (burst,) = verdict["bursts"]
    assert burst["sent"] == burst["acknowledged"] == 1000
    assert burst["delivered"] == 1000 * room, burst
    return {"room": room, "outcome": verdict["outcome"], **{k: burst[k] for k in ("acknowledged_s", "delivered_s")}}


def main() -> None:
    parser = argparse.ArgumentParser(description="1,000 messages of one user on the reference platform.")
    parser.add_argument("--room", type=int, default=10, help="members of the room")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=10, help="length of the run")
    options = parser.parse_args()
    print(json.dumps(measure(options.room, options.users, options.seconds)))


if __name__ == "__main__":
    main()
