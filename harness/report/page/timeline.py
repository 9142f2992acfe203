"""Series of a run on one time axis, for the plots of `report.html`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from earwitness.checks.engine.fault_windows import FaultLog
from earwitness.checks.history.record import Flag, Kind, Phase
from earwitness.harness.record.history import History
from earwitness.harness.report.figures import read_table
from earwitness.harness.report.histograms import Histograms
from earwitness.harness.report.measures import Times, joined
from earwitness.harness.report.recorded import Recorded, Records, Since
from earwitness.harness.report.streams import BROKEN, FAILED, FINISHED, streamed_of

Sample: TypeAlias = Mapping[str, Any]
"""One row of the table of resource samples, see `harness.run.sampler`."""
BINS = 240
"""Most points of a line: more cannot be distinguished on a screen."""
PERCENTILES = (50.0, 99.0)
GAPS = "A line is broken where nothing was sent."
SHORTEST_NS = 200_000_000
"""Shortest time in ns between two samples of CPU time that are used: CPU time is counted in steps of 10 ms."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot: seconds since the first record, and a value for each; NaN where there is no value."""

    name: str
    seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines that share a pair of axes.

    `unit`: of the values; `log`: whether the axis of values is logarithmic; `note`: sentences below the plot.
    """

    title: str
    unit: str
    lines: tuple[Line, ...]
    log: bool = False
    note: str = ""

    @property
    def drawn(self) -> bool:
        """Return whether any line has a finite value, so that the plot is not empty."""
        return any(math.isfinite(value) for line in self.lines for value in line.values)


@dataclass(frozen=True, slots=True)
class Band:
    """Span of time to shade. `kind`: "fault", "drain" (the end of a run), or "error", the moment of a violation."""

    name: str
    start_s: float
    end_s: float
    kind: str = "fault"


class Axis:
    """Time axis of a run, divided into at most `BINS` bins; the width of a bin is a multiple of 0.1 s."""

    def __init__(self, begin_ns: int, end_ns: int) -> None:
        """Choose the width of the bins for a run from `begin_ns` to `end_ns` (monotonic ns)."""
        self.begin_ns = begin_ns
        self.seconds = max(0.1, (end_ns - begin_ns) / 1e9)
        self.width_s = max(0.1, math.ceil(self.seconds / BINS * 10) / 10)
        self.count = math.ceil(self.seconds / self.width_s)

    def at_s(self, time_ns: int) -> float:
        """Return the seconds from the first record to `time_ns` (monotonic ns)."""
        return (time_ns - self.begin_ns) / 1e9

    def bins(self, times_ns: Times) -> Times:
        """Return the index of the bin of each time (ns); times outside the run count to the first or the last bin."""
        at = (np.asarray(times_ns, np.int64) - self.begin_ns) / (self.width_s * 1e9)
        return np.clip(at.astype(np.int64), 0, self.count - 1)

    def middles(self) -> tuple[float, ...]:
        """Return the middle of each bin in seconds."""
        return tuple(round((n + 0.5) * self.width_s, 2) for n in range(self.count))

    def rate(self, name: str, times_ns: Times) -> Line:
        """Return a line with the number of `times_ns` in each bin, per second."""
        return self.rates(name, np.bincount(self.bins(times_ns), minlength=self.count))

    def rates(self, name: str, counts: Times) -> Line:
        """Return a line of counts per second; `counts`: the number of events in each bin."""
        return Line(name, self.middles(), tuple(float(f"{value:.4g}") for value in counts / self.width_s))


def axis_of(recorded: Recorded) -> Axis | None:
    """Return the axis from the first to the last record; None without records."""
    return Axis(*recorded.bounds_ns) if recorded.bounds_ns else None


def plots_of(history: History, recorded: Recorded, axis: Axis) -> list[Plot]:
    """Return the plots of a run in the order of the page; a plot may have nothing to draw (`Plot.drawn`)."""
    samples = _samples(history)
    waits = Waits(axis)
    recorded.deliver([waits])
    return [
        _throughput(recorded, axis),
        _acknowledged(waits, axis, samples),
        waits.plot("Fan-out: from a message's sending to its receipt", Kind.DELIVER),
        _connections(recorded, axis),
        _trouble(recorded, axis),
        *_answers(history, recorded, axis),
        *_services(samples, axis),
    ]


def bands_of(recorded: Recorded, axis: Axis) -> list[Band]:
    """Return a band for each fault of a run, and a band "drain" from the end of the load to the end of the run."""
    bands = []
    for journal, (faults, known) in enumerate(zip(recorded.of_kind(Kind.FAULT), recorded.names, strict=True)):
        log = FaultLog()
        log.add(journal, faults)
        names = [known.get(int(number), "fault") for number in faults["author"]]
        for window, name in zip(log.windows(), dict.fromkeys(names), strict=False):
            end = min(window.end, axis.begin_ns + int(axis.seconds * 1e9))
            bands.append(Band(name, axis.at_s(window.start), axis.at_s(end)))
    phases = recorded.of_kind(Kind.PHASE)
    drains = joined([rows["t"][rows["counter"] == Phase.DRAIN] for rows in phases])
    if len(drains):
        bands.append(Band("drain", axis.at_s(int(drains.min())), axis.seconds, "drain"))
    return bands


class Waits:
    """Times from sending to delivery and to acknowledgement: one histogram for each bin of the axis (a `Sink`)."""

    def __init__(self, axis: Axis) -> None:
        """Start without samples."""
        self._axis = axis
        self._of = {kind: Histograms(axis.count) for kind in (Kind.DELIVER, Kind.OK)}

    def __call__(self, kind: Kind, since: Since) -> None:
        """Count the times of a chunk of records, each in the bin in which its message was sent."""
        self._of[kind].add(since.took_ns, self._axis.bins(since.sent_ns))

    def plot(self, title: str, kind: Kind) -> Plot:
        """Return the plot of the times to deliveries (`kind` DELIVER) or to acknowledgements (`kind` OK)."""
        lines = _lines(self._axis, self._of[kind])
        return Plot(f"{title}, by the time of sending", "ms", lines, log=True, note=GAPS if lines else "")


def _lines(axis: Axis, waits: Histograms) -> tuple[Line, ...]:
    """Return a line for each of PERCENTILES, in ms, of the times (ns) of each bin; () if there are no times."""
    if not waits.total():
        return ()
    lines = []
    for share in PERCENTILES:
        found = (waits.percentile(share, [bin]) for bin in range(axis.count))
        values = tuple(math.nan if ns is None else round(ns / 1e6, 3) for ns in found)
        lines.append(Line(f"p{share:g}", axis.middles(), values))
    return tuple(lines)


def _throughput(recorded: Recorded, axis: Axis) -> Plot:
    kinds = {"sent": Kind.INVOKE, "acknowledged": Kind.OK, "received": Kind.DELIVER}
    counts = {name: np.zeros(axis.count, np.int64) for name in kinds}
    for _, part in recorded.parts():
        bins = axis.bins(part["t"])
        for name, kind in kinds.items():
            counts[name] += np.bincount(bins[part["kind"] == kind], minlength=axis.count)
    lines = [axis.rates(name, count) for name, count in counts.items()]
    return Plot("Messages a second", "1/s", tuple(lines))


def _connections(recorded: Recorded, axis: Axis) -> Plot:
    opened, closed = (
        np.bincount(axis.bins(joined([rows["t"] for rows in recorded.of_kind(kind)])), minlength=axis.count)
        for kind in (Kind.CONNECT, Kind.DISCONNECT)
    )
    there = np.cumsum(opened) - np.cumsum(closed)
    return Plot("Open connections", "", (Line("open", axis.middles(), tuple(float(n) for n in there)),))


def _acknowledged(waits: Waits, axis: Axis, samples: Mapping[str, Sequence[Sample]]) -> Plot:
    """Return the plot of the time to acknowledgement, measured from the real and from the planned start of a message.

    The first is by the time of sending; the second is the highest p99 of a load process, by the time of its sample.
    """
    plot = waits.plot("Acknowledgement", Kind.OK)
    planned = _planned(axis, samples)
    if not planned.seconds:
        note = (
            "The latency from the planned start was not recorded over time; see the other latencies for the whole run."
        )
        return replace(plot, note=f"{plot.note} {note}".strip())
    parts = (
        plot.note,
        "From the planned start: the slowest load process, by the second of the answer.",
        "Without planned arrivals it equals the latency from the real start.",
    )
    return replace(plot, lines=(*plot.lines, planned), note=" ".join(filter(None, parts)))


def _planned(axis: Axis, samples: Mapping[str, Sequence[Sample]]) -> Line:
    """Return the line of the p99 in ms from the planned start: in each bin, the highest one of a load process."""
    highest = np.full(axis.count, math.nan)
    for row in (row for rows in samples.values() for row in rows):
        found = row.get("planned_ack_ms")
        if isinstance(found, Mapping) and isinstance(found.get("p99"), int | float):
            at = int(axis.bins(np.array([row["t_ns"]]))[0])
            highest[at] = np.fmax(highest[at], found["p99"])
    known = np.flatnonzero(np.isfinite(highest))
    middles = axis.middles()
    return Line("p99 from the planned start", tuple(middles[at] for at in known), tuple(map(float, highest[known])))


def _trouble(recorded: Recorded, axis: Axis) -> Plot:
    """Return the plot of failures a second: unaccepted messages, lost connections, failed probes and requests."""
    cut = int(Flag.OWN)
    wrong: dict[str, Callable[[Records], Times]] = {
        "messages refused": lambda r: r["kind"] == Kind.FAIL,
        "messages without an answer": lambda r: r["kind"] == Kind.INFO,
        "connections that the platform ended": lambda r: (r["kind"] == Kind.DISCONNECT) & (r["flags"] & cut == 0),
        "probes not answered 200": lambda r: (r["kind"] == Kind.PROBE) & (r["counter"] != 200),
        "requests without an answer": lambda r: (r["kind"] == Kind.REQUEST) & (r["size"] == 0),
    }
    lines = [
        axis.rate(name, joined([rows["t"][which(rows)] for rows in recorded.rare])) for name, which in wrong.items()
    ]
    there = tuple(line for line in lines if any(line.values))
    return Plot(
        "Failed requests and lost connections a second",
        "1/s",
        there,
        note="" if there else "No request failed and no connection was lost, so nothing is drawn.",
    )


def _answers(history: History, recorded: Recorded, axis: Axis) -> list[Plot]:
    """Return the plots of streamed answers, none if no agent answered."""
    gaps, first = Histograms(axis.count), Histograms(axis.count)
    seen = streamed_of(history, recorded, lambda took, at: gaps.add(took, axis.bins(at)))
    if not len(seen.rows):
        return []
    first.add(seen.first_ns, axis.bins(seen.first_at))
    ends = {"finished": FINISHED, "ended by an error": FAILED, "broken off": BROKEN}
    rates = [axis.rate(name, seen.rows["last"][seen.rows["status"] == n]) for name, n in ends.items()]
    unnamed = "" if len(seen.first_ns) else "The platform does not state which question an answer belongs to."
    return [
        Plot(
            "First token of a streamed answer, by the time of its question",
            "ms",
            _lines(axis, first),
            log=True,
            note=unnamed,
        ),
        Plot("Gap between two tokens of a streamed answer", "ms", _lines(axis, gaps), log=True),
        Plot("Streamed answers a second, by their last event", "1/s", tuple(rates)),
    ]


def _samples(history: History) -> dict[str, list[Sample]]:
    """Return service or load process → its resource samples, in the table's order; incomplete rows are left out."""
    rows: dict[str, list[Sample]] = {}
    for row in read_table(history.table("services")):
        known = all(isinstance(row.get(key), int | float) for key in ("t_ns", "rss_mb", "cpu_s"))
        if known and isinstance(row.get("service"), str):
            rows.setdefault(row["service"], []).append(row)
    return dict(sorted(rows.items()))


def _services(samples: Mapping[str, Sequence[Sample]], axis: Axis) -> list[Plot]:
    """Return two plots of the services and load processes: CPU time (per cent of one core) and memory (MB)."""
    memory = [
        Line(name, *_by_bin(axis, [(row["t_ns"], row["rss_mb"]) for row in rows])) for name, rows in samples.items()
    ]
    cpu = [Line(name, *_by_bin(axis, list(_shares(rows)))) for name, rows in samples.items()]
    note = "" if samples else "Not recorded: an imported history and a platform of others have no such samples."
    return [
        Plot("Processor time, per cent of one core", "%", tuple(cpu), note=note),
        Plot("Memory", "MB", tuple(memory), note=note),
    ]


def _shares(rows: Sequence[Sample]) -> Iterator[tuple[float, float]]:
    """Yield (time in ns, CPU time since the sample before in per cent of one core).

    The first sample of a restarted service is left out, because its CPU time counts from 0 again.
    """
    for before, after in pairwise(rows):
        if after["t_ns"] - before["t_ns"] > SHORTEST_NS and after["cpu_s"] >= before["cpu_s"]:
            spent = 1e9 * (after["cpu_s"] - before["cpu_s"]) / (after["t_ns"] - before["t_ns"])
            yield after["t_ns"], 100 * spent


def _by_bin(axis: Axis, samples: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (times in s, values) of samples: all of them up to BINS samples, else the mean of each bin.

    `samples`: (time in ns, value).
    """
    if not samples:
        return (), ()
    times, values = np.array(samples, dtype=float).T
    bins = axis.bins(times)
    counts = np.bincount(bins, minlength=axis.count)
    at = np.flatnonzero(counts)
    if len(samples) <= BINS:  # each sample at its own time
        return tuple(axis.at_s(int(t)) for t in times), tuple(round(float(value), 2) for value in values)
    means = np.bincount(bins, weights=values, minlength=axis.count)[at] / counts[at]
    middles = axis.middles()
    return tuple(middles[n] for n in at), tuple(round(float(value), 2) for value in means)
