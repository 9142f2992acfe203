"""Measure verified deliveries per second on the whole reference platform, and the CPU time of each process.

    python -m benchmarks.deliveries [--users 100] [--seconds 15]

The platform, the load and its live judge run on this machine. The run counts only if it passes. The figures are those
of the time in which all users chat: from a fifth of the run to its end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from earwitness.checks.history.record import Kind
from earwitness.harness.record.history import open_history

STORY = Path(__file__).with_name("deliveries_story.py")
LOAD = "load-0"
"""Name of the journal of the load process; another journal has the final reads."""
WARM_UP = 0.2
"""Share of the run, at its beginning, that is not counted."""


def measure(users: int = 100, seconds: int = 15) -> dict[str, Any]:
    """Run the story once; return deliveries_per_s, messages_per_s, and CPU-seconds per second of each process.

    Raises SystemExit if the run does not pass.
    """
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "locust", "-f", str(STORY), "--headless", "--users", str(users)]
        command += ["--spawn-rate", str(users), "--run-time", f"{seconds}s", "--runs", runs]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise SystemExit(f"{done.stdout}\nthe run ended with {done.returncode}: it is no measurement.")
        run = (Path(runs) / "latest").resolve()
        view = next(view for view in open_history(run).journals if view.name == LOAD)
        records = view.records
        sent = records["t"][records["kind"] == Kind.INVOKE]
        first, last = int(sent[0]), int(sent[-1])
        first += int((last - first) * WARM_UP)
        heard = records["t"][records["kind"] == Kind.DELIVER]
        wall_s = (last - first) / 1e9
        return {
            "users": users,
            "deliveries_per_s": round(int(((heard >= first) & (heard <= last)).sum()) / wall_s),
            "messages_per_s": round(int((sent >= first).sum()) / wall_s),
            "cpu": shares(run / "tables" / "services.jsonl", first, last),
        }


def shares(table: Path, first_ns: int, last_ns: int) -> dict[str, float]:
    """Return CPU-seconds per second of each process between two times (monotonic ns), the busiest process first.

    `table`: path of `services.jsonl`.
    """
    samples: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in table.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "cpu_s" in row and first_ns <= row["t_ns"] <= last_ns:
            samples[row["service"]].append((row["t_ns"], row["cpu_s"]))
    found = {
        name: round((rows[-1][1] - rows[0][1]) / (rows[-1][0] - rows[0][0]) * 1e9, 3)
        for name, rows in samples.items()
        if len(rows) > 1
    }
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Verified deliveries a second on the reference platform.")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=15, help="length of the run")
    options = parser.parse_args()
    print(json.dumps(measure(options.users, options.seconds)))


if __name__ == "__main__":
    main()
