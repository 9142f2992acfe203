"""Metrics of one run, made from the live verdict, the table of processes, faults, thresholds and plan.

This module counts nothing. The judge counts the records of all load processes, all processes write the table of
processes, and the master adds up the actions that its workers report.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import Metric

from earwitness.harness.described import from_json
from earwitness.harness.errors import RecordError
from earwitness.harness.record.rundir import read_json
from earwitness.harness.report.live_file import LADDER_S
from earwitness.harness.report.thresholds import METRICS, RATES, SHARES, SIZES, TIMES, Threshold
from earwitness.harness.run.faults import FaultCount
from earwitness.harness.run.metric_table import (
    OUTCOMES,
    STAGES,
    THRESHOLD_STATES,
    Buckets,
    counter,
    gauge,
    histogram,
    states,
)

BASE: Final = {
    "time": ("seconds", {unit: ms / 1e3 for unit, ms in TIMES.items()}),
    "size": ("bytes", {unit: mb * 1e6 for unit, mb in SIZES.items()}),
    "share": ("ratio", {unit: percent / 1e2 for unit, percent in SHARES.items()}),
    "rate": ("per_second", RATES),
}
"""Kind of a threshold → (base unit, unit of the threshold → number of base units)."""
STALE_NS: Final = 5_000_000_000
"""Age in ns at which a process counts as ended: its last sample is that much older than the newest sample of all."""


@dataclass
class ProcessTable:
    """Reader of the growing file `tables/services.jsonl`: latest row and highest memory of each process.

    latest   process name → its latest row
    peak_mb  process name → its highest resident memory so far, MB
    """

    path: Path
    latest: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    _read_bytes: int = 0

    def refresh(self) -> None:
        """Read the rows that were appended since the last call; an incomplete line is left for the next call.

        A file that cannot be read changes nothing.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_bytes)
                fresh = file.read()
        except OSError:
            return
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.splitlines():
            row = _row(line)
            if row is not None:
                name = str(row["service"])
                self.latest[name] = row
                self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), float(row["rss_mb"]))

    def living(self) -> dict[str, Mapping[str, Any]]:
        """Return the latest row of each process that has not ended, by process name.

        A process has ended if its latest row is more than STALE_NS (5 s) older than the newest row of all.
        """
        newest = max((int(row["t_ns"]) for row in self.latest.values()), default=0)
        return {name: row for name, row in self.latest.items() if newest - int(row["t_ns"]) <= STALE_NS}


def _row(line: bytes) -> dict[str, Any] | None:
    """Return a row about a process; None for a row with an error of the sampler, or for a line that is not a row."""
    try:
        row = from_json(line.decode())
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"service", "t_ns", "rss_mb", "cpu_s", "fds"} <= row.keys() else None


@dataclass
class Stages:
    """Stages that a run has entered: (stage, `time.monotonic()` in seconds at its beginning) pairs, in order."""

    entered: list[tuple[str, float]] = field(default_factory=list)

    def enter(self, stage: str) -> None:
        """Enter a stage of STAGES."""
        self.entered.append((stage, time.monotonic()))

    @property
    def present(self) -> str:
        """Return the stage that was entered last."""
        return self.entered[-1][0]

    def durations_s(self) -> dict[str, float]:
        """Return stage → seconds spent in it so far, without the last stage, `finished`."""
        ends = [at for _, at in self.entered[1:]] + [time.monotonic()]
        return {stage: end - at for (stage, at), end in zip(self.entered, ends, strict=True) if stage != STAGES[-1]}


@dataclass
class RunMetrics:
    """Metrics of one run. `metrics` yields its families, each labelled with the name of the run.

    users       planned number of users
    room_sizes  sizes of the plan's rooms; each has a histogram from the start, so that its first increment is not
                missed
    thresholds  thresholds in the order of the verdict
    faults      counts by the name of the fault; `harness.run.faults` updates them
    """

    path: Path
    story: str
    seed: int
    target: str
    users: int
    room_sizes: Sequence[int]
    thresholds: Sequence[Threshold]
    faults: Mapping[str, FaultCount]
    stages: Stages = field(default_factory=Stages)
    processes: ProcessTable = field(init=False)

    def __post_init__(self) -> None:
        """Open the table of processes, and enter the first stage."""
        self.processes = ProcessTable(self.path / "tables" / "services.jsonl")
        self.stages.enter(STAGES[0])

    @property
    def name(self) -> str:
        """Return the value of the label `run`."""
        return self.path.name

    def metrics(self, live: Mapping[str, Any] | None, actions: tuple[int, int]) -> Iterator[Metric]:
        """Yield all metric families of the run.

        `live`: content of live.json, None before the judge has published it. `actions`: numbers of (planned, started)
        actions so far.
        """
        yield gauge("run_info", [([self.name, self.story, str(self.seed), self.target], 1)])
        yield from self._stages()
        yield gauge("users_planned", [([self.name], self.users)])
        for name, count in zip(("actions_planned", "actions_started"), actions, strict=True):
            yield counter(name, [([self.name], count)])
        yield from self._faults()
        yield from self._thresholds()
        yield from self._processes()
        if live is not None:
            yield from self._verdict(live)
            yield from self._traffic(live)

    def _stages(self) -> Iterator[Metric]:
        yield gauge("run_stage", states("run_stage", [self.name], STAGES, self.stages.present))
        spent = self.stages.durations_s().items()
        yield gauge("stage_duration_seconds", [([self.name, stage], seconds) for stage, seconds in spent])

    def _faults(self) -> Iterator[Metric]:
        rows = [([self.name, name, one.kind, one.where], one) for name, one in self.faults.items()]
        yield gauge("fault_active", [(labels, one.active) for labels, one in rows])
        yield counter("fault_injections", [(labels, one.injections) for labels, one in rows])
        yield counter("fault_failures", [(labels, one.failures) for labels, one in rows])
        yield gauge("fault_begin_timestamp_seconds", [(labels, one.began_at_s) for labels, one in rows])

    def _thresholds(self) -> Iterator[Metric]:
        judged = self._judged_thresholds()
        limits: dict[str, list[tuple[list[str], float]]] = {unit: [] for unit, _ in BASE.values()}
        measured: dict[str, list[tuple[list[str], float]]] = {unit: [] for unit, _ in BASE.values()}
        present: list[tuple[list[str], float]] = []
        for one in self.thresholds:
            unit, factors = BASE[METRICS[one.metric][0]]
            labels, row = [self.name, one.name], judged.get(one.name)
            limits[unit].append((labels, one.limit * factors[one.unit]))
            if row is not None and row["measured"] is not None:
                measured[unit].append((labels, float(row["measured"]) * factors[one.unit]))
            present += states("threshold_state", labels, THRESHOLD_STATES, _state(row))
        for unit in limits:
            yield gauge(f"threshold_limit_{unit}", limits[unit])
            yield gauge(f"threshold_measured_{unit}", measured[unit])
        yield gauge("threshold_state", present)

    def _judged_thresholds(self) -> dict[str, Mapping[str, Any]]:
        """Return the rows of the verdict's thresholds by name; {} before the verdict."""
        if not self.thresholds or self.stages.present != STAGES[-1]:
            return {}
        try:
            return {row["name"]: row for row in read_json(self.path / "verdict.json")["thresholds"]}
        except RecordError:
            return {}

    def _processes(self) -> Iterator[Metric]:
        self.processes.refresh()
        rows = [([self.name, process], row) for process, row in self.processes.living().items()]
        yield counter("process_cpu_seconds", [(labels, row["cpu_s"]) for labels, row in rows])
        yield gauge("process_resident_memory_bytes", [(labels, row["rss_mb"] * 1e6) for labels, row in rows])
        peaks = [([self.name, process], mb * 1e6) for process, mb in self.processes.peak_mb.items()]
        yield gauge("process_resident_memory_peak_bytes", peaks)
        yield gauge("process_open_fds", [(labels, row["fds"]) for labels, row in rows])

    def _verdict(self, live: Mapping[str, Any]) -> Iterator[Metric]:
        yield gauge("outcome", states("outcome", [self.name], OUTCOMES, live["outcome"]))
        yield gauge("verdict_timestamp_seconds", [([self.name], live["at"])])
        rows = [
            ([self.name, check["id"], check["name"], str(check["promised"]).lower()], check) for check in live["checks"]
        ]
        outcomes = [
            one for labels, check in rows for one in states("check_outcome", labels, OUTCOMES, check["outcome"])
        ]
        yield gauge("check_outcome", outcomes)
        yield counter("check_examined", [(labels, check["examined"]) for labels, check in rows])
        yield counter("check_violations", [(labels, check["violations"]) for labels, check in rows])

    def _traffic(self, live: Mapping[str, Any]) -> Iterator[Metric]:
        run, connections = [self.name], live["connections"]
        yield counter("messages", [([self.name, event], count) for event, count in live["messages"].items()])
        yield counter("stream_events", [([self.name, event], count) for event, count in live["streams"].items()])
        yield counter("connections_opened", [(run, connections["opened"])])
        yield counter("reconnections", [(run, connections["again"])])
        yield gauge("connections_open", [(run, connections["open"])])
        yield counter("records_judged", [(run, live["records"])])
        yield counter("judge_cpu_seconds", [(run, live["judge_cpu_s"])])
        none = {"within": [0] * len(LADDER_S), "samples": 0, "sum_s": 0.0}
        spreads = {**{str(size): none for size in self.room_sizes}, **live["fan_out"]}
        yield histogram(
            "fan_out_seconds",
            [
                ([self.name, size], buckets(one["within"], one["samples"]), one["sum_s"])
                for size, one in spreads.items()
            ],
        )


def _state(row: Mapping[str, Any] | None) -> str:
    """Return the state of a threshold: from its row of the verdict, or "pending" if that is None."""
    if row is None:
        return "pending"
    return {True: "met", False: "missed", None: "not_measured"}[row["met"]]


def acknowledged(run: str, times_ms: Mapping[float, int], total_ms: float) -> Metric:
    """Return the metric of the latencies of acknowledgements, in the master those of all processes.

    `run`: value of the label `run`. `times_ms`: milliseconds -> number of samples, as in Locust's statistics.
    `total_ms`: sum of all samples in milliseconds.
    """
    within = [sum(count for ms, count in times_ms.items() if ms <= bound * 1e3) for bound in LADDER_S]
    rows = [([run], buckets(within, sum(times_ms.values())), total_ms / 1e3)]
    return histogram("acknowledged_seconds", rows)


def buckets(within: Iterable[float], samples: float) -> Buckets:
    """Return the buckets of a histogram.

    `within`: number of samples up to each bound of LADDER_S; `samples`: number of all samples.
    """
    bounds = [f"{bound:g}" for bound in LADDER_S]
    return [*zip(bounds, within, strict=True), ("+Inf", samples)]
