"""Figures of a run by name, for thresholds and comparisons, each with its number of samples."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from earwitness.checks.engine.fault_windows import FaultLog, Window
from earwitness.checks.history.record import Flag, Kind, Phase
from earwitness.harness.record.latencies import read_latencies
from earwitness.harness.report.figures import FanOut, message_keys, read_table
from earwitness.harness.report.histograms import Histograms
from earwitness.harness.report.recorded import Recorded, Records, Sink
from earwitness.harness.report.streams import Streamed, streamed

Times = npt.NDArray[Any]
ANSWERED = int(Flag.ACCEPTED | Flag.REFUSED)
LATENCIES = ("ack", "planned ack", "first token", "planned first token", "token gap", "probe", "reconnect", "lag")
"""Latencies of the verdict besides fan-out, in the order in which they are shown."""
ANSWER_NS = 10_000_000_000
"""Shortest time in ns after which a user gives up waiting for an answer; see `harness.load.connected`."""


class Measured:
    """Figures of one run, computed when first read: times in ms, memory in MB, shares in per cent, rates in 1/s.

    recorded    records of all journals
    room_sizes  number of members by conversation number
    footers     of the journals, with their histograms of acknowledgements and their event-loop lag
    services    path of the side table of resource samples
    """

    def __init__(
        self,
        recorded: Recorded,
        room_sizes: Sequence[int],
        footers: Sequence[Mapping[str, Any]],
        services: Path,
    ) -> None:
        """Store the sources of the figures, which the class explains; nothing is read yet."""
        self._recorded, self._footers, self._services = recorded, footers, services
        self._fan_out, self._counted_fan_out = FanOut(room_sizes), False
        self._token_gaps, self._gap_seconds = Histograms(), set[int]()

    def figure(self, metric: str, of: str = "", statistic: str = "") -> tuple[float | None, int]:
        """Return (value, samples) of a metric of `thresholds.METRICS`; see the class for units.

        `of`: what the metric is about (a room size, a service), "" for all; `statistic`: p50, p99, … or max, "" for
        metrics with one figure. The value is None if nothing was measured. It is infinite if the percentile falls among
        the samples that count as infinitely late (`never`).
        """
        if metric == "memory":
            return self.memory_mb.get(of, (None, 0))
        if metric in ("errors", "probe errors"):
            bad, all_of_them = self.probe_errors if metric == "probe errors" else self.errors
            return (100.0 * bad / all_of_them if all_of_them else None), all_of_them
        if metric.startswith("streams "):
            bad, all_of_them = self.streamed.share(metric.removeprefix("streams "))
            return (100.0 * bad / all_of_them if all_of_them else None), all_of_them
        if metric in ("ack", "planned ack"):
            return self._counted(metric, self.unanswered, share_of(statistic))
        if metric == "planned first token":
            return self._counted(metric, self.streamed.never, share_of(statistic))
        if metric == "first token":
            return with_never(self.streamed.first_ns / 1e6, self.streamed.never, share_of(statistic))
        if metric == "lag":
            lags = [float(f["lag_ms"][statistic]) for f in self._footers if statistic in (f.get("lag_ms") or {})]
            return max(lags, default=None), len(lags)
        if metric == "token gap":
            return milliseconds(self.token_gaps, None, statistic)
        if metric == "fan-out":
            return milliseconds(self.fan_out.waits, self.fan_out.of(int(of)) if of else None, statistic)
        return quantile(self.times_ms(metric), statistic)

    @property
    def fan_out(self) -> FanOut:
        """Return the fan-out times of all deliveries. Reads all records if `collect` was not called before."""
        if not self._counted_fan_out:
            self._recorded.deliver(self.collect())
        return self._fan_out

    def collect(self) -> list[Sink]:
        """Return the sinks to pass to `Recorded.deliver`; [] if an earlier call has returned them.

        A caller that reads all records anyway passes the sinks along before any figure is read. Otherwise `fan_out`
        reads the records once more.
        """
        sinks: list[Sink] = [] if self._counted_fan_out else [self._fan_out]
        self._counted_fan_out = True
        return sinks

    def never(self, metric: str) -> int:
        """Return the number of samples of a metric that count as infinitely late, because the answer never came."""
        if metric in ("ack", "planned ack"):
            return self.unanswered
        return self.streamed.never if metric in ("first token", "planned first token") else 0

    def _counted(self, metric: str, never: int, share: float) -> tuple[float | None, int]:
        """Return (percentile in ms, samples) of a latency in the footers and `never` infinitely late samples together.

        `share`: which percentile, 0 to 100. The value is None without samples.
        """
        histogram = self.acknowledged.get(metric)
        came = 0 if histogram is None else int(histogram.total_count)
        samples = came + never
        if histogram is None or not came:
            return (math.inf if samples else None), samples
        if share * samples > 100.0 * came:
            return math.inf, samples
        return histogram.get_value_at_percentile(min(100.0, share * samples / came)) / 1e3, samples

    @cached_property
    def unanswered(self) -> int:
        """Return the number of messages without an answer in time, except those that waited during a fault.

        These are messages that a user gave up, and those that had waited ANSWER_NS when the run closed its connections
        at its end. Messages on connections that were cut earlier do not count.
        """
        number = 0
        for infos in self._recorded.of_kind(Kind.INFO):
            given_up = infos[infos["flags"] & int(Flag.TIMEOUT) > 0]
            number += int(self._undisturbed(given_up["t"], given_up["t"]).sum())
        for begun, ended in waited_in_vain(self._recorded):
            number += int((self._undisturbed(begun, ended) & (ended - begun >= ANSWER_NS)).sum())
        return number

    def times_ms(self, metric: str) -> Times:
        """Return all samples of a metric in ms; of "token rate" in 1/s.

        `metric`: "probe", "login", "connect", "request", "reconnect" or "token rate". Raises KeyError for another.
        """
        known: dict[str, Callable[[], Times]] = {
            "probe": lambda: self._of(Kind.PROBE, lambda r: r["aux"] / 1e3),
            "login": lambda: self._of(Kind.LOGIN, lambda r: r["aux"] / 1e3),
            "connect": lambda: self._of(Kind.CONNECT, lambda r: r["size"] / 1e3),
            "request": lambda: self._of(Kind.REQUEST, lambda r: (r["t"] - r["seq"])[r["size"] > 0] / 1e6),
            "reconnect": lambda: joined(
                [reconnects_ms(rare, self._recorded.last_ns(n)) for n, rare in enumerate(self._recorded.rare)]
            ),
            "token rate": lambda: self.streamed.tokens_per_s,
        }
        return known[metric]()

    def latencies(self) -> dict[str, dict[str, float]]:
        """Return the latency rows of the verdict: samples, p50, p99 and max in ms of each metric with samples.

        A row has `unanswered` if answers never came. A statistic that would be infinite because of them is left out.
        """
        rooms = [str(size) for size in self.fan_out.heard()]
        named = [("fan-out", size, f"fan-out, room of {size}") for size in rooms]
        named += [(metric, "", metric) for metric in LATENCIES]
        rows = {}
        for metric, of, name in named:
            found = {what: self.figure(metric, of, what) for what in ("p50", "p99", "max")}
            samples = found["p99"][1]
            if samples:
                finite = {k: round(v, 3) for k, (v, _) in found.items() if v is not None and math.isfinite(v)}
                never = {"unanswered": self.never(metric)} if self.never(metric) else {}
                rows[name] = {"samples": samples, **finite, **never}
        return rows

    @cached_property
    def streamed(self) -> Streamed:
        """Return times and counts of the streamed answers; reading the property also fills `token_gaps`."""
        return streamed(self._recorded, self._footers, self._faults, gaps=self._count_gaps)

    def _count_gaps(self, took: Times, at: Times) -> None:
        self._token_gaps.add(took)
        self._gap_seconds.update(np.unique(at // 1_000_000_000).tolist())

    @property
    def token_gap_seconds(self) -> int:
        """Return the number of different seconds in which a gap between two tokens ended."""
        assert self.streamed is not None  # it fills them
        return len(self._gap_seconds)

    @property
    def token_gaps(self) -> Histograms:
        """Return the times (ns) between two tokens that follow each other in a stream."""
        assert self.streamed is not None  # it fills them
        return self._token_gaps

    def streams(self) -> dict[str, Any]:
        """Return the row of the verdict about streamed answers: counts, and tokens a second (p1, p50).

        {} if there were none.
        """
        counts = self.streamed.counts()
        if not counts:
            return {}
        rates = {what: self.figure("token rate", "", what)[0] for what in ("p1", "p50")}
        return {**counts, "tokens_per_s": {what: round(rate, 1) for what, rate in rates.items() if rate is not None}}

    @cached_property
    def acknowledged(self) -> dict[str, HdrHistogram]:
        """Return the histograms (µs) of the footers' latencies, such as "ack", by name, merged over all processes."""
        return read_latencies(self._footers)

    @cached_property
    def memory_mb(self) -> dict[str, tuple[float | None, int]]:
        """Return kind of service → (highest resident memory of one process in MB, number of samples).

        Replicas of a service count as one kind.
        """
        found: dict[str, tuple[float | None, int]] = {}
        for kind, rss_mb in self._memory_samples():
            peak, samples = found.get(kind, (None, 0))
            found[kind] = max(peak or 0.0, rss_mb), samples + 1
        return found

    def _memory_samples(self) -> Iterator[tuple[str, float]]:
        for row in read_table(self._services):
            if "service" in row:  # else a second in which the platform did not answer
                yield re.sub(r"-\d+$", "", row["service"]), float(row["rss_mb"])

    @cached_property
    def probe_errors(self) -> tuple[int, int]:
        """Return (probes with another status than 200, all probes). Probes that overlap a fault are left out."""
        bad, samples = 0, 0
        for probes in self._recorded.of_kind(Kind.PROBE):
            probes = probes[self._undisturbed(probes["t"] - probes["aux"] * 1000, probes["t"])]
            bad += int((probes["counter"] != 200).sum())
            samples += len(probes)
        return bad, samples

    @cached_property
    def errors(self) -> tuple[int, int]:
        """Return (operations that failed, all operations); see `thresholds.METRICS`.

        Operations during a fault are left out.

        Requests that the story itself makes are only counted in the footers, so those during a fault are included.
        """
        failed, samples = self.probe_errors
        for story in (footer["story"] for footer in self._footers if "story" in footer):
            failed += sum(int(row["count"]) for row in story["failed_requests"])
            samples += int(story["requests"])
        for rare in self._recorded.rare:
            kind, calm = rare["kind"], self._undisturbed(rare["t"], rare["t"])
            requests = rare[calm & (kind == Kind.REQUEST)]
            failed += int((calm & ((kind == Kind.FAIL) | (kind == Kind.INFO))).sum())
            failed += int(((requests["flags"] & ANSWERED) == 0).sum())
            samples += len(requests)
        return failed, samples + self._calm_sendings()

    def _calm_sendings(self) -> int:
        """Return the number of messages sent while no fault was active."""
        if not self._faults:
            return int(self._recorded.counts[Kind.INVOKE])
        number = 0
        for _, part in self._recorded.parts():
            sent = part["t"][part["kind"] == Kind.INVOKE]
            number += int(self._undisturbed(sent, sent).sum())
        return number

    def _undisturbed(self, begin_ns: Times, end_ns: Times) -> npt.NDArray[np.bool_]:
        """Return, for each span from `begin_ns` to `end_ns`, whether it overlaps no fault."""
        calm = np.ones(len(end_ns), dtype=bool)
        for window in self._faults:
            calm &= (end_ns < window.start) | (begin_ns > window.end)
        return calm

    @cached_property
    def _faults(self) -> list[Window]:
        log = FaultLog()
        for number, faults in enumerate(self._recorded.of_kind(Kind.FAULT)):
            log.add(number, faults)
        return log.windows()

    def _of(self, kind: Kind, values: Callable[[Records], Times]) -> Times:
        return joined([values(records) for records in self._recorded.of_kind(kind)])


def joined(parts: Sequence[Times]) -> Times:
    """Return the parts as one array, empty without parts."""
    return np.concatenate(parts) if parts else np.empty(0)


def quantile(values: Times, statistic: str) -> tuple[float | None, int]:
    """Return (value, number of values) of a statistic: p50, p99.9, … or max. The value is None without values."""
    if not len(values):
        return None, 0
    return float(np.percentile(values, share_of(statistic))), len(values)


def share_of(statistic: str) -> float:
    """Return the percentile that a statistic names: p50, p99.9, … or max."""
    return 100.0 if statistic == "max" else float(statistic[1:])


def with_never(values: Times, never: int, share: float) -> tuple[float | None, int]:
    """Return (percentile, samples) of `values` and `never` infinite values together.

    (None, 0) if there are none at all.

    `share`: which percentile, 0 to 100. It is infinite if it falls among the infinite values.
    """
    samples = len(values) + never
    if not samples:
        return None, 0
    if not len(values) or share * samples > 100.0 * len(values):
        return math.inf, samples
    return float(np.percentile(values, min(100.0, share * samples / len(values)))), samples


def waited_in_vain(recorded: Recorded) -> Iterator[tuple[Times, Times]]:
    """Yield (times of sending, times of the end), in ns, of messages without an answer when the run ended.

    There is one pair of arrays for each journal; only messages whose sending is in the record are included.
    """
    ended = [_ended_after_drain(rare) for rare in recorded.rare]
    if not any(len(rows) for rows in ended):
        return
    names = ["author", "counter", "attempt"]
    begun: list[dict[tuple[int, ...], int]] = [{} for _ in ended]
    for number, part in recorded.parts():
        sent = part[part["kind"] == Kind.INVOKE]
        sent = sent[np.isin(message_keys(sent), message_keys(ended[number]))]
        begun[number] |= {tuple(row): t for row, t in zip(sent[names].tolist(), sent["t"].tolist(), strict=True)}
    for rows, sendings in zip(ended, begun, strict=True):
        ends = zip(rows[names].tolist(), rows["t"].tolist(), strict=True)
        known = [(sendings[tuple(row)], t) for row, t in ends if tuple(row) in sendings]
        pairs = np.array(known, np.int64).reshape(-1, 2)
        yield pairs[:, 0], pairs[:, 1]


def _ended_after_drain(rare: Records) -> Records:
    """Return the INFO records of a journal that follow its phase DRAINED and are no time-outs.

    `rare`: the records of the journal of all but the frequent kinds, in order.
    """
    drained = np.flatnonzero((rare["kind"] == Kind.PHASE) & (rare["counter"] == Phase.DRAINED))
    after = rare[drained[0] :] if len(drained) else rare[:0]
    ended: Records = after[(after["kind"] == Kind.INFO) & (after["flags"] & int(Flag.TIMEOUT) == 0)]
    return ended


def milliseconds(times: Histograms, which: Sequence[int] | None, statistic: str) -> tuple[float | None, int]:
    """Return (value in ms, number of values) of a statistic of the histograms `which` of `times`, which are in ns.

    `which`: None for all. The value is None without values.
    """
    value = times.percentile(share_of(statistic), which)
    return (None if value is None else value / 1e6), times.total(which)


def reconnects_ms(records: Records, last_ns: int | None = None) -> Times:
    """Return the ms from each loss of a connection to the device's next connection; losses by the tester are left out.

    If the device has no next connection, the time ends at the phase DRAIN, or without that phase at the end of the
    journal (`last_ns`, in ns; None: the last of `records`).
    """
    kind = records["kind"]
    of_interest = records[(kind == Kind.CONNECT) | (kind == Kind.DISCONNECT)]
    drains = records["t"][(kind == Kind.PHASE) & (records["counter"] == Phase.DRAIN)]
    last = int(records["t"].max(initial=0)) if last_ns is None else last_ns
    drain = int(drains.min()) if len(drains) else last
    took = []
    lost: dict[int, int] = {}
    for client, what, flags, t in zip(
        *(of_interest[n].tolist() for n in ("client", "kind", "flags", "t")), strict=True
    ):
        if what == Kind.DISCONNECT:
            if not flags & Flag.OWN and t < drain:
                lost[client] = t
        elif client in lost:
            took.append(t - lost.pop(client))
    took += [drain - t for t in lost.values()]
    return np.asarray(took, dtype=float) / 1e6
