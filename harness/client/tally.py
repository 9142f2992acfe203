"""Statistics of one process, cheap enough for every message: counts, and histograms with at most 1 % error.

Locust's own `events.request.fire` costs ten times as much per message; its integration drains a `Tally` once a second
instead and merges the increments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from earwitness.harness.native import HOT

ACKNOWLEDGED = "acknowledged"
"""Name of a histogram: ns from passing the bytes of a message to the socket until its answer."""
ACKNOWLEDGED_FROM_PLAN = "acknowledged, from its planned start"
"""Name of a histogram: ns from the planned start of a message until its answer, delays of the tester included."""
FIRST_TOKEN_FROM_PLAN = "first token, from its planned start"
"""Name of a histogram: ns from the planned start of a question until the first piece of its answer with text."""

_UNIT_BITS = 6  # values are counted in units of 64 ns: 0.64 % at 10 µs
_SUB_BITS = 7  # 128 buckets an octave: 0.8 % wide
BUCKETS = 24 << _SUB_BITS
"""Number of buckets of a histogram, up to 68 s; longer latencies count in the last one."""


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """Return the smallest and the largest value in ns (inclusive) that a bucket counts."""
    shift = max((bucket >> _SUB_BITS) - 1, 0)
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low << _UNIT_BITS, ((low + (1 << shift)) << _UNIT_BITS) - 1


def bucket_middle(bucket: int) -> int:
    """Return the value in ns that represents a bucket: the middle of its bounds."""
    low, high = bucket_bounds(bucket)
    return (low + high) // 2


@dataclass(slots=True, kw_only=True)
class Summary:
    """Increments of one histogram: count, sum, extremes and sparse bucket counts; times in ns."""

    n: int = 0
    total_ns: int = 0
    min_ns: int = 0
    max_ns: int = 0
    buckets: dict[int, int] = field(default_factory=dict)

    def merge(self, other: Summary) -> None:
        """Add the increments `other`, of another process or another second, to this object."""
        if not other.n:
            return
        self.min_ns = min(self.min_ns, other.min_ns) if self.n else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.n += other.n
        self.total_ns += other.total_ns
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def percentile_ns(self, q: float) -> int:
        """Return the value at quantile `q` (0…1) in ns, within 1 %; 0 if nothing was counted."""
        if not self.n:
            return 0
        wanted = max(1, round(q * self.n))
        for bucket in sorted(self.buckets):
            wanted -= self.buckets[bucket]
            if wanted <= 0:
                return min(max(bucket_middle(bucket), self.min_ns), self.max_ns)
        return self.max_ns


class PlainBuckets:
    """Buckets of a histogram. `add` is on the hot path; the compiled class of the native path does the same."""

    __slots__ = ("_buckets", "max_ns", "min_ns", "total_ns")

    def __init__(self) -> None:
        """Start empty, with BUCKETS buckets."""
        self._buckets = [0] * BUCKETS
        self._clear()

    def _clear(self) -> None:
        self.total_ns = 0
        self.min_ns = 1 << 62
        self.max_ns = 0

    def add(self, ns: int, /) -> None:
        """Count one latency in ns; negative ones (a clock set back) count as 0."""
        if ns < 0:
            ns = 0
        units = ns >> 6
        shift = units.bit_length() - 8
        if shift > 0:
            units = (shift << 7) + (units >> shift)
            if units >= BUCKETS:
                units = BUCKETS - 1
        self._buckets[units] += 1
        self.total_ns += ns
        if ns < self.min_ns:
            self.min_ns = ns
        if ns > self.max_ns:
            self.max_ns = ns

    def take(self) -> tuple[dict[int, int], int, int, int]:
        """Return (counts by bucket, sum, least, most) since the last call, times in ns, and start anew.

        If nothing was counted, the least is 2⁶², the counts are empty, and sum and most are 0.
        """
        taken = {index: count for index, count in enumerate(self._buckets) if count}
        found = taken, self.total_ns, self.min_ns, self.max_ns
        if taken:
            self._buckets = [0] * BUCKETS
        self._clear()
        return found


if TYPE_CHECKING:
    Buckets = PlainBuckets
else:
    Buckets = PlainBuckets if HOT is None else HOT.Histogram


class Histogram(Buckets):
    """Histogram of latencies under one name. `add` is on the hot path."""

    __slots__ = ()

    def drain(self) -> Summary:
        """Return what was added since the last drain, and reset the histogram."""
        buckets, total_ns, min_ns, max_ns = self.take()
        least = min_ns if buckets else 0
        return Summary(n=sum(buckets.values()), total_ns=total_ns, min_ns=least, max_ns=max_ns, buckets=buckets)


class Tally:
    """Counts and histograms by name. All sessions of a process share one object."""

    __slots__ = ("_counts", "_histograms")

    def __init__(self) -> None:
        """Start without counts; a histogram is made when its name is first used."""
        self._counts: dict[str, int] = {}
        self._histograms: dict[str, Histogram] = {}

    def histogram(self, name: str) -> Histogram:
        """Return the histogram `name`, a new one if there is none.

        Callers on the hot path store it and call its `add`.
        """
        found = self._histograms.get(name)
        if found is None:
            found = self._histograms[name] = Histogram()
        return found

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to the count `name`."""
        self._counts[name] = self._counts.get(name, 0) + n

    def drain(self) -> tuple[dict[str, Summary], Mapping[str, int]]:
        """Return (histograms, counts) by name since the last drain, and reset them.

        Histograms without samples are absent.
        """
        summaries = {name: summary for name, h in self._histograms.items() if (summary := h.drain()).n}
        counts, self._counts = self._counts, {}
        return summaries, counts
