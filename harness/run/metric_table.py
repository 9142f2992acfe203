"""Table of all Prometheus metrics: name, type, labels and help, each stated once.

`/metrics`, `docs/reference/metrics.md` and the test of `dashboards/` use this table. Times are in seconds, sizes in
bytes, shares in ratios. A metric with several states has a series for each state; the series of the present state is 1,
the others are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

PREFIX: Final = "earwitness_"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

STAGES: Final = ("load", "drain", "collect", "judge", "finished")
"""Stages of a run, in order: load, waiting for answers and deliveries, reading the final state, judging, verdict."""
OUTCOMES: Final = ("PASS", "UNKNOWN", "FAIL")
THRESHOLD_STATES: Final = ("pending", "met", "missed", "not_measured")


@dataclass(frozen=True, slots=True)
class Described:
    """Description of one metric.

    name    full name, with PREFIX; that of a counter is without `_total`
    kind    COUNTER, GAUGE or HISTOGRAM
    labels  names of the labels of each series
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> tuple[str, ...]:
        """Return the names of the metric's series in Prometheus, with suffixes such as `_total` and `_bucket`."""
        if self.kind == COUNTER:
            return (f"{self.name}_total",)
        if self.kind == HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


CHECK: Final = ("run", "check", "name", "promised")
FAULT: Final = ("run", "fault", "kind", "where")


def _described(kind: str, name: str, labels: Sequence[str], text: str) -> Described:
    return Described(PREFIX + name, kind, tuple(labels), text)


TABLE: Final = (
    _described(GAUGE, "build_info", ("version",), "Version of the tester"),
    _described(GAUGE, "users", (), "Virtual users of Locust, of all processes"),
    _described(
        GAUGE,
        "loop_lag_seconds",
        ("process", "statistic"),
        "How late each load process woke its sleepers in the last second: p50, p99 and max",
    ),
    _described(GAUGE, "run_info", ("run", "story", "seed", "target"), "The run of these figures"),
    _described(GAUGE, "run_stage", ("run", "stage"), f"1 for the stage of the run, of {', '.join(STAGES)}"),
    _described(GAUGE, "stage_duration_seconds", ("run", "stage"), "Time spent in each stage so far"),
    _described(GAUGE, "outcome", ("run", "outcome"), "1 for the run's outcome so far; final in the stage finished"),
    _described(GAUGE, "verdict_timestamp_seconds", ("run",), "When the judge published the verdict, as Unix time"),
    _described(GAUGE, "check_outcome", (*CHECK, "outcome"), "1 for the outcome of the check so far"),
    _described(COUNTER, "check_examined", CHECK, "Opportunities for a violation that the check examined"),
    _described(COUNTER, "check_violations", CHECK, "Violations that the check found"),
    _described(COUNTER, "messages", ("run", "event"), "Messages sent, acknowledged, refused, unanswered and received"),
    _described(
        COUNTER,
        "stream_events",
        ("run", "event"),
        "Streamed answers begun, completed and ended by an error, and tokens",
    ),
    _described(COUNTER, "connections_opened", ("run",), "Connections opened"),
    _described(COUNTER, "reconnections", ("run",), "Connections opened by devices that had been connected before"),
    _described(GAUGE, "connections_open", ("run",), "Connections open now"),
    _described(COUNTER, "records_judged", ("run",), "Records that the judge has read"),
    _described(COUNTER, "judge_cpu_seconds", ("run",), "Processor time of the judge process"),
    _described(
        HISTOGRAM,
        "fan_out_seconds",
        ("run", "room"),
        "From a message's sending to its receipt, by size of the room; sent and received by one process",
    ),
    _described(HISTOGRAM, "acknowledged_seconds", ("run",), "From a message's sending to its answer"),
    _described(GAUGE, "users_planned", ("run",), "Highest number of users that the run has planned"),
    _described(COUNTER, "actions_planned", ("run",), "Actions that were to begin so far; 0 without --arrivals"),
    _described(COUNTER, "actions_started", ("run",), "Of the planned actions those that have begun"),
    _described(GAUGE, "fault_active", FAULT, "How many faults of this name are on now"),
    _described(COUNTER, "fault_injections", FAULT, "Faults of this name that have begun"),
    _described(COUNTER, "fault_failures", FAULT, "Faults that had no effect or could not be ended"),
    _described(GAUGE, "fault_begin_timestamp_seconds", FAULT, "When the latest of them began, as Unix time; 0: never"),
    *(
        _described(GAUGE, f"threshold_{what}_{unit}", ("run", "threshold"), f"{text}, for thresholds in {unit}")
        for what, text in (("limit", "Limit of the threshold"), ("measured", "Measured figure, known at the end"))
        for unit in ("seconds", "bytes", "ratio", "per_second")
    ),
    _described(GAUGE, "threshold_state", ("run", "threshold", "state"), "1 for the state of the threshold"),
    _described(
        COUNTER, "process_cpu_seconds", ("run", "process"), "Processor time of a service or a load process (load-N)"
    ),
    _described(GAUGE, "process_resident_memory_bytes", ("run", "process"), "Resident memory"),
    _described(GAUGE, "process_resident_memory_peak_bytes", ("run", "process"), "Highest resident memory in this run"),
    _described(GAUGE, "process_open_fds", ("run", "process"), "Open file descriptors"),
)
"""All metrics, in the order of the page `docs/reference/metrics.md`."""

BY_NAME: Final = {described.name.removeprefix(PREFIX): described for described in TABLE}
SERIES: Final = frozenset(name for described in TABLE for name in described.series)
"""Names of all series that a query may use."""

Buckets = list[tuple[str, float]]
"""Buckets of a histogram: (upper bound as text, number of samples up to that bound) pairs."""


def gauge(name: str, rows: Iterable[tuple[Sequence[str], float]]) -> Metric:
    """Return the gauge `name` of the table. `rows`: (label values, value) for each series; `name` is without PREFIX."""
    described = BY_NAME[name]
    family = GaugeMetricFamily(described.name, described.help, labels=described.labels)
    for labels, value in rows:
        family.add_metric(list(labels), value)
    return family


def counter(name: str, rows: Iterable[tuple[Sequence[str], float]]) -> Metric:
    """Return the counter `name` of the table.

    `rows`: (label values, value) for each series; `name` is without PREFIX.
    """
    described = BY_NAME[name]
    family = CounterMetricFamily(described.name, described.help, labels=described.labels)
    for labels, value in rows:
        family.add_metric(list(labels), value)
    return family


def histogram(name: str, rows: Iterable[tuple[Sequence[str], Buckets, float]]) -> Metric:
    """Return the histogram `name` of the table; `name` is without PREFIX.

    `rows`: (label values, buckets, sum of the samples) for each series; bounds and sum are in seconds.
    """
    described = BY_NAME[name]
    family = HistogramMetricFamily(described.name, described.help, labels=described.labels)
    for labels, buckets, total_s in rows:
        family.add_metric(list(labels), buckets, total_s)
    return family


def states(name: str, labels: Sequence[str], all_states: Sequence[str], present: str) -> list[tuple[list[str], float]]:
    """Return (label values, value) of a series for each state: 1 for the state `present`, 0 for the others.

    Raises ValueError if `present` is none of `all_states`; its text names the metric `name` of the table.
    """
    if present not in all_states:
        raise ValueError(f"{BY_NAME[name].name} has no state {present!r}")
    return [([*labels, state], float(state == present)) for state in all_states]
