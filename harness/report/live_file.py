"""Reader of `live.json` for load processes, which do not import `checks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from earwitness.harness.errors import RecordError
from earwitness.harness.record.rundir import read_json

LIVE: Final = "live.json"
READING: Final = "reading.json"
"""File in a run directory while the final state is read: `done` rooms of `of` rooms are read."""
LADDER_S: Final = tuple(step * 10.0**power for power in range(-4, 2) for step in (1, 2.5, 5))
"""Bounds in seconds of the published histogram of fan-out latencies: 0.1 ms to 50 s."""


def read_live(run_dir: Path) -> dict[str, Any] | None:
    """Return the content of live.json in a run directory; None if there is none yet."""
    try:
        return read_json(run_dir / LIVE)
    except RecordError:
        return None


def read_reading(run_dir: Path) -> dict[str, Any]:
    """Return the progress of reading the final state: `done` rooms of `of` rooms; {} before and after the reading."""
    try:
        return read_json(run_dir / READING)
    except RecordError:
        return {}
