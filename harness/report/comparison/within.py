"""Interval within two runs: what a single run a side can show, drawn from the seconds of both.

It does not hold what differs from run to run, so nothing is claimed by it; see `rows` for several runs a side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from earwitness.harness.record.history import History
from earwitness.harness.report.comparison.samples import MEMORY
from earwitness.harness.report.measures import Times
from earwitness.harness.report.series import Series, latency_series, memory_series, stream_series
from earwitness.harness.report.streams import streamed_of

BLOCK_NS = 1_000_000_000
"""Length of a block in ns: samples within a second are correlated, so seconds are drawn, not single samples."""
ENOUGH = 10
"""Seconds with samples that each run must have for a row."""
RESAMPLES = 1000
FINEST, BINS_AN_OCTAVE = 1e-3, 256
CONFIDENCE = 99.0
"""Confidence of each interval in per cent: higher than usual, because many rows are compared."""


def series_of(history: History) -> dict[str, Series]:
    """Return the series of a run.

    Rare operations such as logins are dropped later: they span too few seconds.
    """
    sizes = [len(members) for members in history.roster.conversations]
    found = latency_series([view.records for view in history.journals], sizes)
    return found | stream_series(streamed_of(history)) | memory_series(history.table("services"))


def compare_pair(a: Mapping[str, Series], b: Mapping[str, Series], tolerance: float) -> list[dict[str, Any]]:
    """Return one row per quantile of each series that both have: name, a, b, ratio, low, high, samples, word."""
    rows = []
    for name in a:
        if name not in b:
            continue
        quantiles = (0.5,) if name.startswith(MEMORY) else (0.5, 0.99)
        one, other = Blocks(a[name]), Blocks(b[name])
        if min(one.seconds, other.seconds) >= ENOUGH:
            rows += [_row(name, q, one, other, tolerance) for q in quantiles]
    return rows


class Blocks:
    """Samples of each second, counted in bins of 0.3 %, so that a thousand resampled runs cost little."""

    def __init__(self, series: Series) -> None:
        """Count the samples of `series`."""
        t, values = series
        bins = np.rint(np.log2(np.maximum(values, FINEST) / FINEST) * BINS_AN_OCTAVE).astype(int)
        _, second = np.unique(t // BLOCK_NS, return_inverse=True)
        self.samples, self.values = len(values), values
        self.seconds = int(second.max()) + 1 if len(values) else 0
        self._first = int(bins.min()) if len(values) else 0
        self._counts = np.zeros((self.seconds, int(bins.max(initial=0)) - self._first + 1))
        np.add.at(self._counts, (second, bins - self._first), 1)

    def redrawn(self, quantile: float, rng: np.random.Generator) -> Times:
        """Return the quantile of each of RESAMPLES runs that consist of drawn seconds (a bootstrap)."""
        drawn = rng.multinomial(self.seconds, np.full(self.seconds, 1 / self.seconds), RESAMPLES)
        reached = np.cumsum(drawn @ self._counts, axis=1)
        bins = (reached < quantile * reached[:, -1:]).sum(axis=1)
        result: Times = FINEST * 2.0 ** ((bins + self._first) / BINS_AN_OCTAVE)
        return result


def _row(name: str, quantile: float, a: Blocks, b: Blocks, tolerance: float) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    ratios = b.redrawn(quantile, rng) / a.redrawn(quantile, rng)
    edge = (100 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.percentile(ratios, (edge, 100 - edge)))
    before, after = (float(np.quantile(blocks.values, quantile)) for blocks in (a, b))
    return {
        "name": f"{name} p{quantile * 100:g}",
        "a": round(before, 3),
        "b": round(after, 3),
        "ratio": round(after / before, 3) if before else None,
        "low": round(low, 3),
        "high": round(high, 3),
        "samples": [a.samples, b.samples],
        "word": word(low, high, tolerance, steady=name.startswith(MEMORY)),
    }


def word(low: float, high: float, tolerance: float, *, steady: bool = False) -> str:
    """Return the word for an interval of the ratio.

    `steady`: the series hardly moves within a run and differs from start to start. The interval does not cover that, so
    a change within the tolerance gets no stronger word.
    """
    if steady and 1 / (1 + tolerance) <= low and high <= 1 + tolerance:
        return "within tolerance"
    if low <= 1 <= high:
        return "noise"
    if low > 1:
        return "slower" if low > 1 + tolerance else "a little slower" if high <= 1 + tolerance else "perhaps slower"
    return "faster" if high < 1 / (1 + tolerance) else "a little faster"
