"""`live.json` as its readers know it: load processes read it without loading the checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from earwitness.harness.errors import RecordError
from earwitness.harness.record.rundir import read_json

LIVE: Final = "live.json"
LADDER_S: Final = tuple(step * 10.0**power for power in range(-4, 2) for step in (1, 2.5, 5))
"""Bounds of the histogram of fan-out latencies that is told: 0.1 ms to 50 s."""


def read_live(run_dir: Path) -> dict[str, Any] | None:
    """What the judge has told of a run so far; None before its first word."""
    try:
        return read_json(run_dir / LIVE)
    except RecordError:
        return None
