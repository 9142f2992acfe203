"""Histograms of times in bounded memory for any number of samples; a percentile is at most 0.4 % off the exact one.

Times are whole nanoseconds. They may be negative, as the clocks of two hosts differ. A value below 128 has a bucket of
its own; above, each octave has 128 buckets, so a bucket is at most 0.8 % wide. The least and the greatest value are
kept exactly. Histogram sets of equal length can be added to each other, in any order and with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from earwitness.checks.engine.compiled import kernel

Array = npt.NDArray[Any]
SUB: Final = 128
"""Buckets in one octave."""
SUB_BITS: Final = 7
OCTAVES: Final = 128
"""Octaves that a histogram may have: 0 to 63 for negative values from the highest down, 64 to 127 for the others."""
ERROR: Final = 0.004
"""Largest relative error of a percentile, as a share of its value."""
ROWS_AT_ONCE: Final = 1 << 10
NEVER: Final = np.iinfo(np.int64).max


@kernel
def count_step(
    which: Array, values: Array, start: Any, rows: Array, pool: Array, used: Array, least: Array, most: Array
) -> Any:
    """Count `values` (ns) from index `start` on, each in the histogram that `which` names.

    Return the number done so far.

    `rows`, `pool`, `used`, `least` and `most` are changed. `rows[histogram, octave]`: 1 + the row of `pool` with the
    128 counts of that octave; 0: none yet. Rows are assigned when an octave first occurs, because a histogram of
    latencies fills few of them: ten of 128 are usual. `used[0]`: rows of `pool` in use; `least`, `most`: the extreme
    values of each histogram. The result is below `len(values)` if `pool` is full. The caller then enlarges `pool` and
    calls again with the result as `start`, because compiled loops cannot allocate.
    """
    for i in range(start, len(values)):
        value = np.int64(values[i])
        of = np.int64(which[i])
        rest = value if value >= 0 else -(value + 1)
        # The octave is how often the value must be halved until it lies below 256.
        shift = 0
        while rest >> shift >= 4096:
            shift += 4
        while rest >> shift >= 256:
            shift += 1
        units = rest >> shift
        octave = shift
        if units >= 128:
            octave = shift + 1
            units -= 128
        if value < 0:
            octave = 63 - octave
            units = 127 - units
        else:
            octave = 64 + octave
        row = np.int64(rows[of, octave])
        if row == 0:
            if used[0] == len(pool):
                return i
            used[0] += 1
            row = np.int64(used[0])
            rows[of, octave] = row
        pool[row - 1, units] += 1
        least[of] = min(least[of], value)
        most[of] = max(most[of], value)
    return len(values)


class Histograms:
    """Set of histograms, numbered from 0."""

    def __init__(self, number: int = 1) -> None:
        """Start `number` empty histograms."""
        self._rows = np.zeros((number, OCTAVES), np.int32)
        self._pool = np.zeros((0, SUB), np.int64)
        self._used = np.zeros(1, np.int64)
        self._least, self._most = np.full(number, NEVER, np.int64), np.full(number, -NEVER, np.int64)

    def __len__(self) -> int:
        """Return the number of histograms."""
        return len(self._rows)

    def add(self, values_ns: Array, which: Array | int = 0) -> None:
        """Count values (ns); `which`: the number of the histogram of each value, or one number for all."""
        values = np.ascontiguousarray(values_ns, np.int64)
        of = np.ascontiguousarray(np.broadcast_to(which, len(values)), np.int64)
        done = 0
        while True:
            columns = self._rows, self._pool, self._used, self._least, self._most
            done = int(count_step(of, values, done, *columns))
            if done == len(values):
                return
            self._grow(ROWS_AT_ONCE)

    def merge(self, other: Histograms) -> Self:
        """Add the counts of `other`, which has as many histograms, to these; return self."""
        for of, octave in np.argwhere(other._rows).tolist():
            row = int(self._rows[of, octave])
            if row == 0:
                if self._used[0] == len(self._pool):
                    self._grow(ROWS_AT_ONCE)
                self._used[0] += 1
                row = self._rows[of, octave] = int(self._used[0])
            self._pool[row - 1] += other._pool[other._rows[of, octave] - 1]
        np.minimum(self._least, other._least, out=self._least)
        np.maximum(self._most, other._most, out=self._most)
        return self

    def totals(self) -> Array:
        """Return the number of values in each histogram; index: the histogram's number."""
        sums = np.concatenate([[0], self._pool.sum(axis=1)]).astype(np.int64)
        result: Array = sums[self._rows].sum(axis=1)
        return result

    def total(self, which: Sequence[int] | None = None) -> int:
        """Return the number of values in the histograms `which` together; None: in all."""
        totals = self.totals()
        return int((totals if which is None else totals[list(which)]).sum())

    def percentile(self, share: float, which: Sequence[int] | None = None) -> float | None:
        """Return the percentile `share` (0 to 100) of all values of the histograms `which` together, in ns.

        None without values.

        It is interpolated between neighbouring values, as numpy does; the values of a bucket count as evenly spread
        over the bucket. `which`: None for all.
        """
        of = list(range(len(self)) if which is None else which)
        counts, lows, widths = self._buckets(of)
        total = int(counts.sum())
        if not total:
            return None
        place = share / 100 * (total - 1)
        below = int(place)
        ends = int(self._least[of].min()), int(self._most[of].max())
        reached = np.cumsum(counts)
        one, other = (
            _value(rank, total, reached, (counts, lows, widths), ends) for rank in (below, min(below + 1, total - 1))
        )
        return one + (other - one) * (place - below)

    def _buckets(self, of: Sequence[int]) -> tuple[Array, Array, Array]:
        """Return (counts, lowest values, widths) of all buckets of the histograms `of` together, in ascending order."""
        octaves = [octave for octave in range(OCTAVES) if (self._rows[of, octave] > 0).any()]
        counts, lows, widths = [], [], []
        for octave in octaves:
            rows = self._rows[of, octave]
            counts.append(self._pool[rows[rows > 0] - 1].sum(axis=0))
            number = octave - 64 if octave >= 64 else 63 - octave
            width = 1 << max(0, number - 1)
            low = width * (np.arange(SUB, dtype=np.int64) + (SUB if number else 0))
            lows.append(low if octave >= 64 else -(low + width)[::-1])
            widths.append(np.full(SUB, width, np.int64))
        none = [np.zeros(0, np.int64)]
        return np.concatenate(counts or none), np.concatenate(lows or none), np.concatenate(widths or none)

    def _grow(self, rows: int) -> None:
        more = np.zeros((max(len(self._pool), rows), SUB), np.int64)
        self._pool = np.concatenate([self._pool, more])


def _value(rank: int, total: int, reached: Array, buckets: tuple[Array, Array, Array], ends: tuple[int, int]) -> float:
    """Return the value with `rank` (from 0) in ascending order; the first and the last value are exact.

    `total`: number of values; `reached`: cumulative counts of the buckets; `buckets`: result of `_buckets`; `ends`: the
    least and the greatest value.
    """
    if rank in (0, total - 1):
        return float(ends[0] if rank == 0 else ends[1])
    counts, lows, widths = buckets
    at = int(np.searchsorted(reached, rank, side="right"))
    inside = rank - int(reached[at]) + int(counts[at])
    found = float(lows[at]) + (float(widths[at] - 1) * (inside + 0.5) / float(counts[at]) if widths[at] > 1 else 0.0)
    return float(min(max(found, ends[0]), ends[1]))
