"""Course of a run, from its records: heartbeats, cuts and resumes of its connections, and how long they lasted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.record.history import History, open_history

KINDS = tuple(int(kind) for kind in (Kind.CONNECT, Kind.DISCONNECT, Kind.JOIN, Kind.READ_END))
SECOND_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Counts of heartbeats, cuts and resumes in one run.

    heartbeats  heartbeats of the server, and its answers to those of the tester; also pings and pongs of WebSockets
    cuts        connections that the tester ended, and after which the device connected again
    resumed     rooms in which a connection after a cut continued where the one before had ended
    anew        rooms that a connection after a cut joined without continuing
    read        rooms whose history was read at the end of the run
    longest_s   duration of the longest connection in s
    resumes     whether the target file promises that sessions continue after a cut
    answers_cut  streamed answers that the tester cut while they arrived; their end is not judged
    """

    heartbeats: int = 0
    cuts: int = 0
    resumed: int = 0
    anew: int = 0
    read: int = 0
    longest_s: float = 0.0
    resumes: bool = False
    answers_cut: int = 0


def course_of(run_dir: Path) -> Course:
    """Return the course of the run in `run_dir`, without `answers_cut`. Raises RecordError if it cannot be read."""
    history = open_history(run_dir)
    beats = sum(_count(view.footer or {}, name) for view in history.journals for name in ("heartbeats", "pings"))
    opened: dict[tuple[int, int], int] = {}
    ended_by_us: dict[tuple[int, int], bool] = {}  # by journal and device: of the connection before
    counts = dict.fromkeys(("cuts", "resumed", "anew", "read"), 0)
    longest_ns = 0
    for journal, record in _records(history):
        kind, device = int(record["kind"]), (journal, int(record["client"]))
        conn = (journal, int(record["conn"]))
        if kind == Kind.CONNECT:
            opened[conn] = int(record["t"])
            counts["cuts"] += ended_by_us.get(device, False)
        elif kind == Kind.DISCONNECT:
            longest_ns = max(longest_ns, int(record["t"]) - opened.get(conn, int(record["t"])))
            ended_by_us[device] = bool(record["flags"] & Flag.OWN)
        elif kind == Kind.READ_END:
            counts["read"] += 1
        elif device in ended_by_us:
            counts["resumed" if record["flags"] & Flag.CONTINUED else "anew"] += 1
    return Course(heartbeats=beats, longest_s=longest_ns / SECOND_NS, resumes=history.contract.resume, **counts)


def _records(history: History) -> Iterator[tuple[int, Any]]:
    """Yield (number of the journal, record) for records of the kinds in KINDS, each journal in its order."""
    for batch in history.batches():
        for record in batch.records[np.isin(batch.records["kind"], KINDS)]:
            yield batch.journal, record


def _count(footer: Mapping[str, object], name: str) -> int:
    value = footer.get(name)
    return value if type(value) is int and value >= 0 else 0


__all__ = ["Course", "course_of"]
