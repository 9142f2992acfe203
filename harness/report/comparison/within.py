"""Interval of a figure's ratio for one run a side, from random draws of the seconds of both runs.

It does not include the variation from run to run, so no regression is claimed by it; see `rows` for several runs a
side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from earwitness.checks.history.record import Kind
from earwitness.harness.record.history import History
from earwitness.harness.report.comparison.samples import MEMORY
from earwitness.harness.report.measures import Times
from earwitness.harness.report.recorded import Recorded, Since
from earwitness.harness.report.series import Named, Series, memory_series, rare_series
from earwitness.harness.report.streams import streamed_of

BLOCK_NS = 1_000_000_000
"""Length of a block in ns. Whole seconds are drawn instead of single samples, which are correlated within a second."""
ENOUGH = 10
"""Fewest seconds with samples that each run must have for a row."""
RESAMPLES = 1000
FINEST, BINS_AN_OCTAVE = 1e-3, 256
CONFIDENCE = 99.0
"""Confidence of each interval in per cent: higher than usual, because many rows are compared."""


def blocks_of(history: History) -> dict[str, Blocks]:
    """Return name → samples of a run: latencies in ms, memory in MB.

    Rare operations such as logins are still included: `compare_pair` drops series that span too few seconds.
    """
    recorded = Recorded.of(history)
    named = Named([len(members) for members in history.roster.conversations])
    found = {name: Blocks() for name in named.names}

    def count(kind: Kind, since: Since) -> None:
        which, sent, took = named.counted(kind, since)
        for number in np.unique(which).tolist():
            mine = which == number
            found[named.names[number]].add(sent[mine], took[mine] / 1e6)

    recorded.deliver([count])
    first, gaps = Blocks(), Blocks()
    seen = streamed_of(history, recorded, lambda took, at: gaps.add(at, took / 1e6))
    first.add(seen.first_at, seen.first_ns / 1e6)
    found |= {"first token": first, "token gap": gaps}
    whole = rare_series(recorded) | memory_series(history.table("services"))
    return {name: one for name, one in found.items() if one.samples} | {
        name: Blocks(series) for name, series in whole.items()
    }


def compare_pair(a: Mapping[str, Blocks], b: Mapping[str, Blocks], tolerance: float) -> list[dict[str, Any]]:
    """Return one row for each quantile of each series that both runs have.

    A row has name, a, b (the quantile in each run), ratio, low, high (interval of the ratio), samples and word.
    `tolerance`: share by which a figure may become worse. Series with fewer than ENOUGH seconds in a run are left out.
    """
    rows = []
    for name in a:
        if name not in b:
            continue
        quantiles = (0.5,) if name.startswith(MEMORY) else (0.5, 0.99)
        one, other = a[name], b[name]
        if min(one.seconds, other.seconds) >= ENOUGH:
            rows += [_row(name, q, one, other, tolerance) for q in quantiles]
    return rows


class Blocks:
    """Samples of each second, counted in bins 0.3 % wide, so that a thousand resampled runs cost little.

    `samples`: number of samples added. Memory grows with the number of seconds, not of samples.
    """

    def __init__(self, series: Series | None = None) -> None:
        """Start with the samples of `series`, if any."""
        self.samples = 0
        self._by_second: dict[int, npt.NDArray[np.int32]] = {}
        if series is not None:
            self.add(*series)

    def add(self, t: Times, values: Times) -> None:
        """Add samples. `t`: their times in ns; `values`: in the unit of the series."""
        bins = np.rint(np.log2(np.maximum(values, FINEST) / FINEST) * BINS_AN_OCTAVE).astype(int)
        self.samples += len(values)
        for second in np.unique(t // BLOCK_NS).tolist():
            counts = np.bincount(bins[t // BLOCK_NS == second]).astype(np.int32)
            before = self._by_second.get(second, counts[:0])
            longer, shorter = (counts, before) if len(counts) > len(before) else (before.copy(), counts)
            longer[: len(shorter)] += shorter
            self._by_second[second] = longer

    @property
    def seconds(self) -> int:
        """Return the number of seconds that have samples."""
        return len(self._by_second)

    @cached_property
    def _first(self) -> int:
        """Return the lowest bin that has samples. Cached: read it only after all samples were added."""
        return min((int(np.flatnonzero(counts)[0]) for counts in self._by_second.values()), default=0)

    @cached_property
    def _counts(self) -> npt.NDArray[np.float64]:
        """Return counts, shape (seconds, bins); column 0 is the bin `_first`.

        Cached: read it only after all samples were added.
        """
        width = max(map(len, self._by_second.values()), default=0) - self._first
        counts = np.zeros((self.seconds, width))
        for row, second in enumerate(sorted(self._by_second)):
            mine = self._by_second[second][self._first :]
            counts[row, : len(mine)] = mine
        return counts

    def quantile(self, quantile: float) -> float:
        """Return a quantile of all samples; `quantile` is from 0 to 1.

        It differs by at most 0.2 % from the exact one.
        """
        reached = np.cumsum(self._counts.sum(axis=0))
        place = quantile * (self.samples - 1)
        low, high = (int(np.searchsorted(reached, rank, side="right")) for rank in (int(place), math.ceil(place)))
        one, other = (float(FINEST * 2.0 ** ((bin + self._first) / BINS_AN_OCTAVE)) for bin in (low, high))
        return one + (other - one) * (place - int(place))

    def redrawn(self, quantile: float, rng: np.random.Generator) -> Times:
        """Return the quantile (0 to 1) of RESAMPLES runs whose seconds are drawn with replacement (a bootstrap)."""
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
    before, after = a.quantile(quantile), b.quantile(quantile)
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
    """Return the word for an interval of the ratio, from `low` to `high`.

    It is "slower", "a little slower", "perhaps slower", "faster", "a little faster", "noise" or "within tolerance".
    `tolerance`: share by which a figure may become worse. `steady`: the series hardly varies within a run, but differs
    from run to run. The interval does not include that variation, so a change within the tolerance is "within
    tolerance".
    """
    if steady and 1 / (1 + tolerance) <= low and high <= 1 + tolerance:
        return "within tolerance"
    if low <= 1 <= high:
        return "noise"
    if low > 1:
        return "slower" if low > 1 + tolerance else "a little slower" if high <= 1 + tolerance else "perhaps slower"
    return "faster" if high < 1 / (1 + tolerance) else "a little faster"
