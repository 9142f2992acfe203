"""Series of a run on one time axis, for the plots of `report.html`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from earwitness.checks.engine.fault_windows import FaultLog
from earwitness.checks.history.record import Kind, Phase
from earwitness.harness.record.history import History
from earwitness.harness.report.figures import Records, read_table, since_sending
from earwitness.harness.report.measures import Times, joined

BINS = 240
"""Most points of a line: more cannot be told apart on a screen."""
PERCENTILES = (50.0, 99.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot: seconds since the first record, and values; NaN where there is none."""

    name: str
    seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines that share an axis. `unit` of the values; `log`: the axis is logarithmic."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    log: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """Span of time to shade: a fault, or the end of the load."""

    name: str
    start_s: float
    end_s: float


class Axis:
    """Time axis of a run in bins of whole tenths of a second, at most `BINS`."""

    def __init__(self, begin_ns: int, end_ns: int) -> None:
        self.begin_ns = begin_ns
        self.seconds = max(0.1, (end_ns - begin_ns) / 1e9)
        self.width_s = max(0.1, math.ceil(self.seconds / BINS * 10) / 10)
        self.count = math.ceil(self.seconds / self.width_s)

    def bins(self, times_ns: Times) -> Times:
        """Return the bin of each time (ns)."""
        at = (np.asarray(times_ns, np.int64) - self.begin_ns) / (self.width_s * 1e9)
        return np.clip(at.astype(np.int64), 0, self.count - 1)

    def middles(self) -> tuple[float, ...]:
        """Return the middle of each bin in seconds."""
        return tuple(round((n + 0.5) * self.width_s, 2) for n in range(self.count))

    def rate(self, name: str, times_ns: Times) -> Line:
        """Return how many times lie in each bin, per second."""
        counts = np.bincount(self.bins(times_ns), minlength=self.count) / self.width_s
        return Line(name, self.middles(), tuple(float(f"{value:.4g}") for value in counts))

    def percentile(self, name: str, times_ns: Times, values: Times, share: float) -> Line:
        """Return a percentile of the values of each bin."""
        order = np.argsort(self.bins(times_ns), kind="stable")
        bins, values = self.bins(times_ns)[order], np.asarray(values)[order]
        edges = np.searchsorted(bins, np.arange(self.count + 1))
        spans = pairwise(edges)
        found = [float(np.percentile(values[a:b], share)) if b > a else math.nan for a, b in spans]
        return Line(name, self.middles(), tuple(round(value, 3) for value in found))


def axis_of(views: Sequence[Records]) -> Axis | None:
    """Return the axis from the first to the last record; None without records."""
    times = [(int(view["t"].min()), int(view["t"].max())) for view in views if len(view)]
    return Axis(min(a for a, _ in times), max(b for _, b in times)) if times else None


def plots_of(history: History, axis: Axis) -> list[Plot]:
    """Return the plots of a run; those without a point are left out."""
    views = [view.records for view in history.journals]
    plots = [
        _throughput(views, axis),
        _latency(views, axis, "Acknowledgement", Kind.OK),
        _latency(views, axis, "Fan-out: from a message's sending to its receipt", Kind.DELIVER),
        _connections(views, axis),
        _trouble(views, axis),
        *_services(history, axis),
    ]
    return [plot for plot in plots if any(math.isfinite(v) and v for line in plot.lines for v in line.values)]


def bands_of(history: History, axis: Axis) -> list[Band]:
    """Return the faults of a run, and the time after the load."""
    bands = []
    for journal, view in enumerate(history.journals):
        log = FaultLog()
        faults = view.records[view.records["kind"] == Kind.FAULT]
        log.add(journal, faults)
        names = [view.names.get(int(number), "fault") for number in faults["author"]]
        for window, name in zip(log.windows(), dict.fromkeys(names), strict=False):
            end = min(window.end, axis.begin_ns + int(axis.seconds * 1e9))
            bands.append(Band(name, (window.start - axis.begin_ns) / 1e9, (end - axis.begin_ns) / 1e9))
    drains = _times(
        [view.records for view in history.journals],
        lambda r: (r["kind"] == Kind.PHASE) & (r["counter"] == Phase.DRAIN),
    )
    if len(drains):
        bands.append(Band("drain", (int(drains.min()) - axis.begin_ns) / 1e9, axis.seconds))
    return bands


def _times(views: Sequence[Records], which: Callable[[Records], Times]) -> Times:
    return joined([view["t"][which(view)] for view in views])


def _throughput(views: Sequence[Records], axis: Axis) -> Plot:
    kinds = {"sent": Kind.INVOKE, "acknowledged": Kind.OK, "received": Kind.DELIVER}
    lines = [axis.rate(name, _times(views, lambda r, k=kind: r["kind"] == k)) for name, kind in kinds.items()]  # type: ignore[misc]
    return Plot("Messages a second", "1/s", tuple(lines))


def _latency(views: Sequence[Records], axis: Axis, title: str, kind: Kind) -> Plot:
    delay_ms, _, sent_ns = since_sending(list(views), kind)
    lines = [axis.percentile(f"p{share:g}", sent_ns, delay_ms, share) for share in PERCENTILES] if len(sent_ns) else []
    return Plot(f"{title}, by the time of sending", "ms", tuple(lines), log=True)


def _connections(views: Sequence[Records], axis: Axis) -> Plot:
    opened = np.bincount(axis.bins(_times(views, lambda r: r["kind"] == Kind.CONNECT)), minlength=axis.count)
    closed = np.bincount(axis.bins(_times(views, lambda r: r["kind"] == Kind.DISCONNECT)), minlength=axis.count)
    there = np.cumsum(opened) - np.cumsum(closed)
    return Plot("Open connections", "", (Line("open", axis.middles(), tuple(float(n) for n in there)),))


def _trouble(views: Sequence[Records], axis: Axis) -> Plot:
    lines = (
        axis.rate("refused", _times(views, lambda r: r["kind"] == Kind.FAIL)),
        axis.rate("without an answer", _times(views, lambda r: r["kind"] == Kind.INFO)),
    )
    return Plot("Messages without success, a second", "1/s", lines)


def _services(history: History, axis: Axis) -> list[Plot]:
    """Return memory and processor time of services and load processes."""
    rows: dict[str, list[Mapping[str, float]]] = {}
    for row in read_table(history.table("services")):
        if isinstance(row.get("service"), str) and all(key in row for key in ("t_ns", "rss_mb", "cpu_s")):
            rows.setdefault(row["service"], []).append(row)
    memory, cpu = [], []
    for name, samples in sorted(rows.items()):
        seconds = tuple(round((row["t_ns"] - axis.begin_ns) / 1e9, 2) for row in samples)
        memory.append(Line(name, seconds, tuple(float(row["rss_mb"]) for row in samples)))
        spent = pairwise(samples)
        shares = [
            100 * (b["cpu_s"] - a["cpu_s"]) / max(1e-9, (b["t_ns"] - a["t_ns"]) / 1e9)
            for a, b in spent
            if b["t_ns"] > a["t_ns"]
        ]
        cpu.append(Line(name, seconds[1 : 1 + len(shares)], tuple(round(max(0.0, share), 1) for share in shares)))
    return [Plot("Processor, per cent of one", "%", tuple(cpu)), Plot("Memory", "MB", tuple(memory))]
