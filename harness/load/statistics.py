"""Message statistics for Locust, merged once a second: Locust's `fire` costs ten times as much as a message itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import gevent
from locust.stats import StatsError

from earwitness.harness.client.tally import (
    ACKNOWLEDGED,
    ACKNOWLEDGED_FROM_PLAN,
    FIRST_TOKEN_FROM_PLAN,
    Histogram,
    Summary,
    Tally,
    bucket_middle,
)
from earwitness.harness.record.latencies import encoded

PERIOD_S = 1.0
LAG_PERIOD_S = 0.02
CHECK: Final = "CHECK"
"""Request type under which Locust's statistics show violations."""
KEPT: Final = {
    ACKNOWLEDGED: "ack", ACKNOWLEDGED_FROM_PLAN: "planned ack", FIRST_TOKEN_FROM_PLAN: "planned first token",
}  # fmt: skip
"""Histograms that are kept for the journal's footer, by name → name in the footer."""
VIOLATION: Final = "violation; the verdict has the counterexamples"


class Publisher:
    """Publisher of this process's counts in Locust's statistics, from which console, CSV, web UI and master read."""

    def __init__(self, environment: Any, tally: Tally) -> None:
        """Start the greenlet that copies `tally` into Locust's statistics until `close`."""
        self._stats = environment.stats
        self._tally = tally
        self._kept = {name: Summary() for name in KEPT}
        self._lately = Summary()
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            gevent.sleep(PERIOD_S)
            self.publish()

    def publish(self) -> None:
        """Merge what was counted since the last call into Locust's statistics."""
        summaries, counts = self._tally.drain()
        for name, summary in summaries.items():
            if name in self._kept:
                self._kept[name].merge(summary)
            if name == ACKNOWLEDGED_FROM_PLAN:
                self._lately.merge(summary)
            self._merge(self._stats.get(name, "WS"), summary)
            self._merge(self._stats.total, summary)
        for name, count in counts.items():
            self._count(self._stats.get(name, "WS"), count)
            self._count(self._stats.total, count)

    def planned_ack(self) -> dict[str, dict[str, float]]:
        """Return {"planned_ack_ms": {"samples", "p50", "p99", "max"}} for acknowledgements since the last call.

        The latencies count from the planned start of a message, in ms. {} if nothing was acknowledged.
        """
        lately, self._lately = self._lately, Summary()
        return {"planned_ack_ms": {"samples": lately.n, **_in_ms(lately)}} if lately.n else {}

    @staticmethod
    def _merge(entry: Any, summary: Summary) -> None:
        Publisher._at(entry, summary.n)
        entry.total_response_time += summary.total_ns / 1e6
        low, high = summary.min_ns / 1e6, summary.max_ns / 1e6
        entry.min_response_time = low if entry.min_response_time is None else min(entry.min_response_time, low)
        entry.max_response_time = max(entry.max_response_time, high)
        for bucket, count in summary.buckets.items():
            entry.response_times[_rounded_ms(bucket_middle(bucket))] += count

    @staticmethod
    def _count(entry: Any, count: int) -> None:
        # One-way events have no response time; None, never 0, keeps percentiles honest.
        Publisher._at(entry, count)
        entry.num_none_requests += count

    @staticmethod
    def _at(entry: Any, count: int) -> None:
        now = time.time()
        entry.num_requests += count
        entry.num_reqs_per_sec[int(now)] += count
        entry.last_request_timestamp = now

    def close(self) -> dict[str, str]:
        """Stop, publish what is outstanding, and return the latencies of the whole run for the journal's footer.

        They are encoded histograms under "ack" (from sending), "planned ack" and "planned first token" (from the
        planned start). The last one is absent if no agent answered.
        """
        self._greenlet.kill()
        self.publish()
        return {
            short: encoded((bucket_middle(bucket), count) for bucket, count in self._kept[name].buckets.items())
            for name, short in KEPT.items()
            if self._kept[name].n or name != FIRST_TOKEN_FROM_PLAN
        }


class LoopLag:
    """Lag of the event loop: how late it wakes a sleeping greenlet.

    The load generator adds this time to any latency.
    """

    def __init__(self) -> None:
        """Start the greenlet that measures the lag until `close`."""
        self._histogram = Histogram()
        self._last, self._all = Summary(), Summary()
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            end = time.monotonic_ns() + int(PERIOD_S * 1e9)
            while (now := time.monotonic_ns()) < end:
                due = now + int(LAG_PERIOD_S * 1e9)
                gevent.sleep(LAG_PERIOD_S)
                self._histogram.add(time.monotonic_ns() - due)
            self._take()

    def _take(self) -> None:
        self._last = self._histogram.drain()
        self._all.merge(self._last)

    def lately(self) -> dict[str, float]:
        """Return median ("p50"), "p99" and maximum ("max") of the last second, in milliseconds."""
        return _in_ms(self._last)

    def close(self) -> dict[str, float]:
        """Stop measuring; return median ("p50"), "p99" and maximum ("max") of the whole run, in milliseconds."""
        self._greenlet.kill()
        self._take()
        return _in_ms(self._all)


def _in_ms(lag: Summary) -> dict[str, float]:
    return {
        "p50": round(lag.percentile_ns(0.5) / 1e6, 2),
        "p99": round(lag.percentile_ns(0.99) / 1e6, 2),
        "max": round(lag.max_ns / 1e6, 2),
    }


def _rounded_ms(ns: int) -> float | int:
    """Return milliseconds, rounded to about two significant digits.

    Locust itself rounds to whole milliseconds, so its percentiles would be at least 1 ms.
    """
    ms = ns / 1e6
    if ms < 1:
        return round(ms, 2)
    if ms < 10:
        return round(ms, 1)
    if ms < 100:
        return round(ms)
    digits = len(str(int(ms))) - 2
    return int(round(ms, -digits))


class Violations:
    """Violations of a run in Locust's statistics, as failures of their check, in its header, charts and files.

    A failure is also counted as a request, so both counts grow by the same number.
    """

    def __init__(self, stats: Any) -> None:
        """Count from zero in `stats`, Locust's statistics of the master or the only process."""
        self._stats = stats
        self._counted: dict[str, int] = {}

    def count(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the violations of promised checks since the last call. `rows`: checks as in `live.json`."""
        for row in rows:
            fresh = row["violations"] - self._counted.get(row["id"], 0)
            if row["promised"] and fresh > 0:
                self._counted[row["id"]] = row["violations"]
                self._add(f"{row['id']} {row['name']}", fresh)

    def _add(self, name: str, count: int) -> None:
        second = int(time.time())
        for entry in (self._stats.get(name, CHECK), self._stats.total):
            entry.num_requests += count
            entry.num_none_requests += count  # without a response time
            entry.num_failures += count
            entry.num_reqs_per_sec[second] += count
            entry.num_fail_per_sec[second] += count
        error = self._stats.errors.setdefault(
            StatsError.create_key(CHECK, name, VIOLATION), StatsError(CHECK, name, VIOLATION, first_seen=time.time())
        )
        error.occurrences += count
        error.last_seen = time.time()
