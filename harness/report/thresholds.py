"""Thresholds of a story against what was measured; each says how many samples it saw. Missed: exit code 4."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report.figures import read_table


def judge_thresholds(wanted: Mapping[str, Any], probe: Mapping[str, Any], services: Path) -> list[dict[str, Any]]:
    """One row a threshold: name, limit, measured (None: nothing seen), samples, met (None: not judged)."""
    rows = []
    limit = wanted.get("probe_p99_ms")
    if limit is not None:
        rows.append(_row("probe p99", limit, "ms", probe.get("p99"), probe["samples"]))
        rows.append(
            _row("probes not answered 200", 0, "", probe["bad"] if probe["samples"] else None, probe["samples"])
        )
    memory = wanted.get("memory_mb") or {}
    if memory:
        peak, samples = _peak_memory(services)
        for kind, limit_mb in memory.items():
            rows.append(_row(f"memory of {kind}", limit_mb, "MB", peak.get(kind), samples.get(kind, 0)))
    return rows


def _row(name: str, limit: float, unit: str, measured: float | None, samples: int) -> dict[str, Any]:
    met = None if measured is None else measured <= limit
    return {"name": name, "limit": limit, "unit": unit, "measured": measured, "samples": samples, "met": met}


def _peak_memory(services: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Highest resident memory of any service of a kind; replicas (backend-1, backend-2) are one kind."""
    peak: dict[str, float] = {}
    samples: dict[str, int] = {}
    for row in read_table(services):
        if "service" not in row:  # a second in which the platform could not be asked
            continue
        kind = re.sub(r"-\d+$", "", row["service"])
        peak[kind] = max(peak.get(kind, 0.0), round(row["rss_mb"], 1))
        samples[kind] = samples.get(kind, 0) + 1
    return peak, samples
