"""Drift: the rise of memory and waiting times under constant load, as a slope per hour with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earwitness.checks.history.record import Kind
from earwitness.harness.report.histograms import Histograms
from earwitness.harness.report.measures import Times
from earwitness.harness.report.recorded import Recorded, Since
from earwitness.harness.report.series import Named, Series, load_span_ns, memory_series, rare_series

LEAST_S = 120.0
"""Fewest seconds of load for which drift is examined."""
WARM_UP = 0.2
"""Share of the load's duration that is ignored at its start: caches fill, users arrive."""
WINDOWS = 40
ENOUGH = 12
RESAMPLES = 2000
HOUR_NS = 3.6e12


class Drift:
    """Medians of memory and latencies in equal windows of the load, and whether they rise (a `Sink`)."""

    def __init__(self, recorded: Recorded, room_sizes: Sequence[int], services: Path) -> None:
        """Find out when the load began and ended. The caller passes this object to `Recorded.deliver` before `rows`.

        room_sizes  members of each conversation, because fan-out is one series for each size
        services    path of `tables/services.jsonl`
        """
        self._recorded, self._services = recorded, services
        begin, end = load_span_ns(recorded)
        self.long = end - begin >= LEAST_S * 1e9
        self._begin, self._end = begin + int(WARM_UP * (end - begin)), end
        self._named = Named(room_sizes)
        self._waits = Histograms(len(self._named.names) * WINDOWS)

    def __call__(self, kind: Kind, since: Since) -> None:
        """Count the latencies of a chunk of records by series and window.

        Messages sent outside the windows are left out.
        """
        which, sent, took = self._named.counted(kind, since)
        part = np.floor((sent - self._begin) / (self._end - self._begin) * WINDOWS)
        inside = (part >= 0) & (part < WINDOWS)
        self._waits.add(took[inside], which[inside] * WINDOWS + part[inside].astype(np.int64))

    def rows(self) -> list[dict[str, object]]:
        """Return one row for each series (memory, latencies); [] for less than LEAST_S seconds of load.

        A row has `name`, `unit`, `level` (median), `slope_per_hour` with its 95 % interval (`low`, `high`), and
        `change_percent` over the time examined. Its `word` is "rises", "falls" or "no drift seen". A series with
        samples in too few windows has no row.
        """
        if not self.long:
            return []
        begin, end = self._begin, self._end
        found = [(name, "MB", windows(one, begin, end)) for name, one in memory_series(self._services).items()]
        found += [(name, "ms", self._windows(number)) for number, name in enumerate(self._named.names)]
        probes = rare_series(self._recorded).get("probe")
        found += [("probe", "ms", windows(probes, begin, end))] if probes else []
        rows = [_row(name, unit, *one) for name, unit, one in found]
        return [row for row in rows if row is not None]

    def _windows(self, number: int) -> tuple[Times, Times]:
        """Return (hours, median in ms) of the windows in which a latency has samples, as `windows` does.

        `number`: index of the latency in `Named.names`; hours: middle of each window, from the start of the first.
        """
        parts = range(number * WINDOWS, (number + 1) * WINDOWS)
        medians = [self._waits.percentile(50, [part]) for part in parts]
        known = [(part, ns / 1e6) for part, ns in enumerate(medians) if ns is not None]
        hours = (np.asarray([part for part, _ in known]) + 0.5) / WINDOWS * (self._end - self._begin) / HOUR_NS
        return hours, np.asarray([ms for _, ms in known])


def _row(name: str, unit: str, hours: Times, values: Times) -> dict[str, object] | None:
    if len(values) < ENOUGH:
        return None
    slope, low, high = slope_with_interval(hours, values)
    level = float(np.median(values))
    word = "rises" if low > 0 else "falls" if high < 0 else "no drift seen"
    change = 100 * slope * (hours[-1] - hours[0]) / level if level else 0.0
    figures = {"level": level, "slope_per_hour": slope, "low": low, "high": high, "change_percent": change}
    return {"name": name, "unit": unit, **{k: round(v, 3) for k, v in figures.items()}, "word": word}


def windows(series: Series, begin: int, end: int) -> tuple[Times, Times]:
    """Return (hours, median) of a series in each of WINDOWS equal windows of the time from `begin` to `end` (ns).

    Windows without samples are left out. hours: middle of the window, counted from `begin`.
    """
    t, values = series
    part = np.floor((t - begin) / (end - begin) * WINDOWS)
    kept = [k for k in range(WINDOWS) if (part == k).any()]
    hours = (np.asarray(kept) + 0.5) / WINDOWS * (end - begin) / HOUR_NS
    return hours, np.asarray([float(np.median(values[part == k])) for k in kept])


def slope_with_interval(x: Times, y: Times) -> tuple[float, float, float]:
    """Return (slope, low, high): the least-squares slope of `y` over `x` and its 95 % interval.

    The interval comes from drawing points with replacement (bootstrap).
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
