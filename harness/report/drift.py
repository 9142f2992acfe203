"""Drift: the rise of memory and waiting times under constant load, as a slope per hour with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earwitness.harness.report.figures import Records
from earwitness.harness.report.measures import Times
from earwitness.harness.report.series import Series, latency_series, load_span_ns, memory_series

LEAST_S = 120.0
"""Seconds of load below which a run shows no drift."""
WARM_UP = 0.2
"""Share of a run that is ignored at its start: caches fill, users arrive."""
WINDOWS = 40
ENOUGH = 12
RESAMPLES = 2000
HOUR_NS = 3.6e12


def drift(views: Sequence[Records], room_sizes: Sequence[int], services: Path) -> list[dict[str, object]]:
    """Return one row for each series (memory, latencies); [] for less than LEAST_S seconds of load.

    views       records of the journals
    room_sizes  members of each conversation, because fan-out is one series for each size
    services    path of `tables/services.jsonl`

    A row has `name`, `unit`, `level` (median), `slope_per_hour` with its 95 % interval (`low`, `high`), and
    `change_percent` over the time examined. Its `word` is "rises", "falls" or "no drift seen". A series with samples in
    too few parts of the run has no row.
    """
    begin, end = load_span_ns(views)
    if end - begin < LEAST_S * 1e9:
        return []
    begin += int(WARM_UP * (end - begin))
    series = {name: ("MB", one) for name, one in memory_series(services).items()}
    series |= {
        name: ("ms", one) for name, one in latency_series(views, room_sizes).items() if name not in ("login", "connect")
    }
    rows = [_row(name, unit, one, begin, end) for name, (unit, one) in series.items()]
    return [row for row in rows if row is not None]


def _row(name: str, unit: str, series: Series, begin: int, end: int) -> dict[str, object] | None:
    hours, values = windows(series, begin, end)
    if len(values) < ENOUGH:
        return None
    slope, low, high = slope_with_interval(hours, values)
    level = float(np.median(values))
    word = "rises" if low > 0 else "falls" if high < 0 else "no drift seen"
    change = 100 * slope * (hours[-1] - hours[0]) / level if level else 0.0
    figures = {"level": level, "slope_per_hour": slope, "low": low, "high": high, "change_percent": change}
    return {"name": name, "unit": unit, **{k: round(v, 3) for k, v in figures.items()}, "word": word}


def windows(series: Series, begin: int, end: int) -> tuple[Times, Times]:
    """Return (hours, median) of a series in each of WINDOWS equal parts of the time.

    Parts without samples are left out.

    `begin`, `end`: bounds of the time in ns; hours count from `begin`.
    """
    t, values = series
    part = np.floor((t - begin) / (end - begin) * WINDOWS)
    kept = [k for k in range(WINDOWS) if (part == k).any()]
    hours = (np.asarray(kept) + 0.5) / WINDOWS * (end - begin) / HOUR_NS
    return hours, np.asarray([float(np.median(values[part == k])) for k in kept])


def slope_with_interval(x: Times, y: Times) -> tuple[float, float, float]:
    """Return (slope, low, high): the least-squares slope and its 95 % interval.

    The interval comes from drawing windows with replacement (bootstrap).
    """
    draws = np.random.default_rng(1).integers(0, len(x), (RESAMPLES, len(x)))
    slopes = _slope(x[draws], y[draws])
    low, high = np.percentile(slopes[np.isfinite(slopes)], (2.5, 97.5))
    return float(_slope(x[None], y[None])[0]), float(low), float(high)


def _slope(x: Times, y: Times) -> Times:
    dx = x - x.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Times = (dx * (y - y.mean(axis=1, keepdims=True))).sum(axis=1) / (dx**2).sum(axis=1)
    return result
