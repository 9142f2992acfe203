"""Figures of one run, one number each: a run is one sample. A run's records are not kept in memory afterwards."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from earwitness.checks.history.record import Kind
from earwitness.harness.errors import RecordError
from earwitness.harness.record.history import History, open_history
from earwitness.harness.record.rundir import read_json
from earwitness.harness.report.figures import read_table
from earwitness.harness.report.histograms import Histograms
from earwitness.harness.report.judging import measure
from earwitness.harness.report.measures import Measured
from earwitness.harness.report.recorded import Recorded, Since
from earwitness.harness.report.series import Named, load_span_ns, rare_series
from earwitness.harness.report.streams import SHARES

QUANTILES: Final = (50, 99)
ENOUGH_S: Final = 10
"""Fewest seconds with samples for a latency to be a figure: rare operations such as logins span too few."""
SIZES_MOST: Final = 4
"""Number of different room sizes up to which each size has figures of its own."""
SECOND_NS: Final = 1_000_000_000
FINISHED: Final = "collected"
"""State of a run that came to its end."""
ERRORS: Final = "errors"
CPU: Final = "CPU of "
MEMORY: Final = "memory of "
SENT, DELIVERED = "messages sent", "messages delivered"
STREAMS: Final = "streams "
"""Prefix of the names of figures that are shares of streamed answers."""
RATE: Final = "token rate p50"


@dataclass(frozen=True, slots=True)
class Measure:
    """Properties that a figure has in every run.

    unit            "ms", "MB", "%" or "1/s"
    more_is_better  whether a lower number is a regression
    absolute        compared by the difference, as the figure may be zero; else by the ratio
    """

    unit: str
    more_is_better: bool = False
    absolute: bool = False


def measure_of(name: str) -> Measure:
    """Return the measure of the figure called `name`."""
    if name == ERRORS:
        return Measure("%", absolute=True)
    if name.startswith(STREAMS):
        return Measure("%", absolute=True)
    if name in (SENT, DELIVERED, RATE):
        return Measure("1/s", more_is_better=True)
    if name.startswith(CPU):
        return Measure("ms")
    return Measure("MB" if name.startswith(MEMORY) else "ms")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run as a sample.

    run         path of its directory
    key         the checksum of `run.json`, which identifies the run also after its directory was renamed
    outcome     of its verdict; None: never judged
    described   the parts of `run.json` that must be equal for a comparison
    figures     by name, in the units of `measure_of`
    """

    run: str
    key: str
    outcome: str | None
    described: Mapping[str, Any]
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the sample as a JSON-ready dict, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the sample that `to_dict` made `data` from.

        Raises KeyError, TypeError or ValueError for other data.
        """
        figures = {str(name): float(value) for name, value in data["figures"].items()}
        outcome = None if data["outcome"] is None else str(data["outcome"])
        return cls(str(data["run"]), str(data["key"]), outcome, dict(data["described"]), figures)


DESCRIBED: Final = ("story", "created", "machine", "versions", "planned", "plan", "planned_faults", "contract")


def sample_of(path: Path) -> Sample:
    """Return a run directory as a sample. Its records are read for the figures, and not kept in memory.

    Raises RecordError for a directory that is no run, a run that was interrupted, and damaged evidence.
    """
    history = finished(path)
    return Sample(str(path), key_of(history), outcome_of(path), described(history.run), figures_of(history))


def finished(path: Path) -> History:
    """Return the history of a completed run.

    Raises RecordError if the run is damaged, unfinished or was interrupted.
    """
    history = open_history(path)
    if history.damage:
        raise RecordError(f"{path}: {history.damage[0]}. Leave the run out; earwitness verify {path} shows the damage.")
    if (state := history.run.get("state")) != FINISHED:
        raise RecordError(
            f"{path}: the run has not come to its end: its state is {state!r}. Wait for it, or leave it out."
        )
    if history.run.get("interrupted"):
        raise RecordError(f"{path}: the run was interrupted, so its load was another one. Leave it out, or repeat it.")
    return history


def key_of(history: History) -> str:
    """Return what identifies the run: the checksum of `run.json`, or without one the path of the directory."""
    return str(history.run.get("checksum") or history.path.resolve())


def described(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of `run.json` by which runs are found comparable; rosters, texts and addresses are left out."""
    plan = run.get("plan") or {}
    return {
        **{name: run.get(name) for name in DESCRIBED if name != "plan"},
        "plan": {name: plan.get(name) for name in ("sizes", "devices", "users", "reserve")},
        "processes": sum(str(name).startswith("load-") for name in _journals(run)),
        "keep_frames": bool((run.get("options") or {}).get("keep_frames")),
        "target": (run.get("target") or {}).get("kind", "imported"),
    }


def _journals(run: Mapping[str, Any]) -> list[Any]:
    names = run.get("journals")
    return names if isinstance(names, list) else []


def outcome_of(path: Path) -> str | None:
    """Return the outcome of a run's verdict, None if it was never judged."""
    try:
        return str(read_json(path / "verdict.json")["outcome"])
    except (RecordError, KeyError):
        return None


def figures_of(history: History) -> dict[str, float]:
    """Return all figures of a run by name; `measure_of` gives the unit of a name.

    Latencies (p50 and p99) are in ms, messages and tokens in 1/s, errors and shares of streamed answers in %, CPU in ms
    for each message, memory in MB. A figure that was not measured is absent, as is a latency with samples in fewer than
    ENOUGH_S different seconds.
    The tester's own CPU and memory are left out.
    """
    recorded = Recorded.of(history)
    sizes = [len(members) for members in history.roster.conversations]
    # Each size of rooms has its own latency; with many sizes one for all, as many rows make each claim harder.
    few = len(set(sizes)) <= SIZES_MOST
    latencies = Latencies(sizes if few else [1] * len(sizes))
    recorded.deliver([latencies])
    found = dict(latencies.found(recorded))
    if not few:
        found = {name.replace("fan-out of 1 ", "fan-out "): value for name, value in found.items()}
    begin, end = load_span_ns(recorded)
    sent, delivered = _counts(recorded, begin, end)
    if end > begin and sent:
        found[SENT], found[DELIVERED] = (number / (end - begin) * SECOND_NS for number in (sent, delivered))
        own = {str(name) for name in _journals(history.run)}
        found |= cpu_ms(history.table("services"), own, (begin, end), sent)
    measured = measure(history, recorded)
    return found | dict(_of_streams(measured)) | _whole_run(measured)


def _of_streams(measured: Measured) -> Iterator[tuple[str, float]]:
    """Yield (name, value) of figures of streamed answers: times in ms, tokens a second, shares in %.

    Nothing is yielded if no answer was streamed. A question without any token counts as infinitely late; a figure that
    becomes infinite for this reason is left out.
    """
    first = len(np.unique(measured.streamed.first_at // SECOND_NS))
    for name, seconds in (("first token", first), ("token gap", measured.token_gap_seconds)):
        if seconds >= ENOUGH_S:
            for quantile in QUANTILES:
                value, _ = measured.figure(name, "", f"p{quantile}")
                if value is not None and math.isfinite(value):
                    yield f"{name} p{quantile}", value
    rate, streams = measured.figure("token rate", "", "p50")
    if rate is not None and streams:
        yield RATE, rate
    for what in SHARES:
        share, among = measured.figure(f"{STREAMS}{what}")
        if share is not None and among:
            yield f"{STREAMS}{what}", share


class Latencies:
    """Latencies of a run by name, and the seconds in which each has samples (a `Sink` of `Recorded.deliver`)."""

    def __init__(self, room_sizes: Sequence[int]) -> None:
        """Start without samples; `room_sizes`: members by conversation number, each size has its own latency."""
        self._named = Named(room_sizes)
        self._waits = Histograms(len(self._named.names))
        self._seconds: list[set[int]] = [set() for _ in self._named.names]

    def __call__(self, kind: Kind, since: Since) -> None:
        """Count the latencies of a chunk of records.

        `kind`: of these records; `since`: their times and their sendings' times.
        """
        which, sent, took = self._named.counted(kind, since)
        self._waits.add(took, which)
        for number in np.unique(which).tolist():
            self._seconds[number].update(np.unique(sent[which == number] // SECOND_NS).tolist())

    def found(self, recorded: Recorded) -> Iterator[tuple[str, float]]:
        """Yield (name, ms): median and 99th percentile of each latency with samples in ENOUGH_S or more seconds."""
        for number, name in enumerate(self._named.names):
            if len(self._seconds[number]) >= ENOUGH_S:
                for share in QUANTILES:
                    if (ns := self._waits.percentile(share, [number])) is not None:
                        yield f"{name} p{share}", ns / 1e6
        for name, (t, values) in rare_series(recorded).items():
            if len(np.unique(t // SECOND_NS)) >= ENOUGH_S:
                for share in QUANTILES:
                    yield f"{name} p{share}", float(np.percentile(values, share))


def _counts(recorded: Recorded, begin: int, end: int) -> tuple[int, int]:
    """Return (messages sent, messages delivered) from `begin` to `end`, both in monotonic ns of the record."""
    counts = np.zeros(256, np.int64)
    for _, part in recorded.parts():
        inside = (part["t"] >= begin) & (part["t"] <= end)
        counts += np.bincount(part["kind"][inside], minlength=256)
    return int(counts[Kind.INVOKE]), int(counts[Kind.DELIVER])


def cpu_ms(table: Path, own: set[str], span_ns: tuple[int, int], messages: int) -> dict[str, float]:
    """Return "CPU KIND" → ms of CPU time for each message sent; the replicas of one kind of service are added up.

    `table`: path of the resource samples; `own`: names of the tester's processes, left out; `messages`: how many were
    sent. Only samples within `span_ns`, (first, last) in ns, count. A restarted service is a new process with a new CPU
    clock.
    """
    seen: dict[tuple[str, Any], tuple[float, float]] = {}
    for row in read_table(table):
        if row.get("service") in own or not {"service", "cpu_s", "t_ns"} <= row.keys():
            continue
        if span_ns[0] <= row["t_ns"] <= span_ns[1]:
            process, used_s = (str(row["service"]), row.get("pid")), float(row["cpu_s"])
            seen[process] = seen.get(process, (used_s, used_s))[0], used_s
    used: dict[str, float] = {}
    for (service, _), (first, last) in seen.items():
        kind = CPU + re.sub(r"-\d+$", "", service)
        used[kind] = used.get(kind, 0.0) + max(0.0, last - first) * 1e3 / messages
    return {kind: value for kind, value in used.items() if value > 0}


def _whole_run(measured: Measured) -> dict[str, float]:
    found = {
        MEMORY + kind: value
        for kind, (value, _) in measured.memory_mb.items()
        if value is not None and kind not in ("load", "collector")
    }
    errors, _ = measured.figure(ERRORS)
    return found if errors is None else {**found, ERRORS: errors}
