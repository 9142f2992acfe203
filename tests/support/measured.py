"""Runs written for comparisons: one room of five, 20 messages a second for 12 s, with given latencies.

python tests/support/measured.py RATIO      # as a command of --rerun: writes one run into $EARWITNESS_RUNS
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import NONE, Kind, Phase
from earwitness.checks.roster import Roster
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory, write_json

SECONDS, RATE, USERS = 12, 20, 5
MS = 1_000_000
MACHINE = {"hash": "00ff", "cpu": "some", "processors": 2}
VERSIONS = {
    "earwitness": "0.2.0",
    "commit": "1" * 40,
    "source": "abc",
    "story": "def",
    "python": "3.11.7",
    "system": "Linux 6",
    "packages": {"locust": "2.47.0"},
}
PLANNED = {"users": USERS, "seconds": SECONDS, "spawn_rate": 50, "shape": None, "arrivals": None}


def measured_run(path: Path, seed: int, ratio: float = 1.0, **described: Any) -> Path:
    """Write a run into `path` whose latencies and CPU times are `ratio` times 10 ms; return its path.

    The times also vary by 2 % from run to run, as drawn by `seed`. `described`: further keys of `run.json`.
    """
    rng = np.random.default_rng(seed)
    scale = ratio * float(np.exp(rng.normal(0, 0.02)))
    directory = RunDirectory.at(path)
    directory.write_roster(Roster(user_of=tuple(range(USERS)), conversations=(tuple(range(USERS)),)))
    directory.update(
        **{"story": "baseline", "machine": MACHINE, "versions": VERSIONS, "planned": PLANNED, "planned_faults": []}
        | {"contract": Contract().to_dict(), "journals": ["load-0"], "target": {"kind": "reference"}, "seed": seed}
        | {"created": f"2026-11-30T00:00:{seed % 60:02}", "plan": {"sizes": [5], "devices": 1, "tag": f"{seed}"}}
        | described
    )
    journal = Journal.create(directory.journals, "load-0", meta={"host": "here"})
    for t, kind, client, author, counter in _rows(rng, scale):
        journal.write(t, kind, 0, 1, 1, client, 1, 0, author, counter, NONE, NONE, 30, 7)
    journal.close({"messages_sent": SECONDS * RATE, "messages_unsaid": 0})
    for second in range(SECONDS + 2):
        own = {"t_ns": second * 1000 * MS, "pid": 7, "fds": 3}
        cpu_s = 0.02 * RATE * scale * second
        directory.append("services", {**own, "service": "backend-1", "rss_mb": 60.0 + seed % 3, "cpu_s": cpu_s})
        directory.append("services", {**own, "service": "load-0", "rss_mb": 80.0, "cpu_s": second})
    conclude(directory, **{"state": "collected"} | {k: v for k, v in described.items() if k == "state"})
    write_json(path / "verdict.json", {"outcome": "PASS"})
    return path


def _rows(rng: np.random.Generator, scale: float) -> list[tuple[int, int, int, int, int]]:
    """Return (t in ns, kind, client, author, counter) of all records, in order of time."""
    rows = []
    for number in range(SECONDS * RATE):
        sent = MS + number * 1000 * MS // RATE
        author, counter = number % USERS, number // USERS + 1
        rows.append((sent, int(Kind.INVOKE), author, author, counter))
        for kind, client in [(Kind.OK, author), *((Kind.DELIVER, user) for user in range(USERS))]:
            late = scale * 10 * float(np.exp(rng.normal(0, 0.3)))
            rows.append((sent + int(late * MS), int(kind), client, author, counter))
    rows.append((MS + SECONDS * 1000 * MS, int(Kind.PHASE), 0, 0, int(Phase.DRAIN)))
    return sorted(rows)


if __name__ == "__main__":
    folder = Path(os.environ["EARWITNESS_RUNS"])
    number = len(list(folder.glob("run-*")))
    slower = float(sys.argv[1])
    print(measured_run(folder / f"run-{number}", number + int(100 * slower) * 50, slower))
