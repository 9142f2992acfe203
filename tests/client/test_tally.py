"""Histograms: at most 1 % error from 10 µs to 60 s, mergeable, and drained as increments."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.harness.client.tally import Histogram, Summary, Tally, bucket_bounds, bucket_middle


@given(st.integers(10_000, 60_000_000_000))
def test_a_value_is_known_within_one_percent(ns: int) -> None:
    """The bucket's bounds hold the value, and its middle is within 1 % of it."""
    histogram = Histogram()
    histogram.add(ns)
    ((bucket, count),) = histogram.drain().buckets.items()
    low, high = bucket_bounds(bucket)
    assert count == 1
    assert low <= ns <= high
    assert abs(bucket_middle(bucket) - ns) <= ns / 100


def test_buckets_leave_no_gap_and_do_not_overlap() -> None:
    """Each bucket begins where the one before ended."""
    for bucket in range(3000):
        assert bucket_bounds(bucket)[1] + 1 == bucket_bounds(bucket + 1)[0]


@pytest.mark.parametrize("ns", [-5, 0, 1, 10**12, 10**18])
def test_values_out_of_range_are_counted_at_the_ends(ns: int) -> None:
    """Nothing raises on the hot path; the exact extremes are kept beside the buckets."""
    histogram = Histogram()
    histogram.add(ns)
    summary = histogram.drain()
    assert summary.n == 1
    assert summary.max_ns == max(ns, 0)


def test_percentiles_of_many_values_are_right_within_one_percent() -> None:
    """Against the sorted list itself."""
    rng = random.Random(7)
    values = [int(rng.lognormvariate(15, 1.5)) for _ in range(20_000)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    summary = histogram.drain()
    values.sort()
    for q in (0.0, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = values[max(1, round(q * len(values))) - 1]
        assert summary.percentile_ns(q) == pytest.approx(exact, rel=0.01)
    assert (summary.min_ns, summary.max_ns, summary.total_ns) == (values[0], values[-1], sum(values))


def test_a_drain_gives_only_what_is_new() -> None:
    """Names without news are left out."""
    tally = Tally()
    tally.histogram("x").add(1000)
    tally.histogram("y")
    tally.count("lost")
    tally.count("lost", 2)
    summaries, counts = tally.drain()
    assert list(summaries) == ["x"]
    assert counts == {"lost": 3}
    assert tally.drain() == ({}, {})
    tally.histogram("x").add(500)
    again = tally.drain()[0]["x"]
    assert (again.n, again.min_ns, again.max_ns) == (1, 500, 500)


def test_merged_increments_are_the_whole() -> None:
    """Seconds and processes add up to what one histogram would have said."""
    rng = random.Random(8)
    whole, parts, merged = Histogram(), Histogram(), Summary()
    for _ in range(5):
        for _ in range(100):
            value = rng.randrange(1, 10**9)
            whole.add(value)
            parts.add(value)
        merged.merge(parts.drain())
    merged.merge(Summary())
    assert merged == whole.drain()


def test_nothing_has_no_percentile() -> None:
    """An empty summary says 0."""
    assert Summary().percentile_ns(0.99) == 0
