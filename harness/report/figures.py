"""Figures of a run from its records: amount of load, latencies, bursts, responsiveness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from earwitness.checks.history.record import RECORD, Kind
from earwitness.checks.messages.unreceived import MISSES_NOTHING
from earwitness.checks.verdict import Verdict
from earwitness.harness.described import from_json
from earwitness.harness.record.reading import JournalView
from earwitness.harness.report.histograms import Array, Histograms
from earwitness.harness.report.recorded import Recorded, Records, Since


def load_figures(recorded: Recorded) -> dict[str, int]:
    """Return the counts of users, connections, messages sent and messages delivered, by name."""
    connects, counts = recorded.of_kind(Kind.CONNECT), recorded.counts
    users = {user for records in connects for user in np.unique(records["client"]).tolist()}
    sent, delivered = int(counts[Kind.INVOKE]), int(counts[Kind.DELIVER])
    connections = int(counts[Kind.CONNECT])
    return {"users": len(users), "connections": connections, "messages_sent": sent, "messages_delivered": delivered}


def span_s(recorded: Recorded) -> float:
    """Return the seconds from the first record to the last one; 0 without records."""
    begin, end = recorded.bounds_ns or (0, 0)
    return round((end - begin) / 1e9, 3)


def missed_live(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return counts of the deliveries that devices of uninterrupted members missed; {} if I47 was not judged.

    Keys: `owed` deliveries were due to `devices` devices, and `missed` of them never came. Of `not_known` more
    deliveries it is unknown whether they were due. Every run has these counts; they are a violation only if the
    contract promises it.
    """
    for verdict in verdicts:
        if verdict.id == MISSES_NOTHING.id:
            facts = verdict.facts
            known = {"devices": facts.get("devices", 0), "not_known": facts.get("not_known", 0)}
            return {"missed": verdict.violations, "owed": verdict.examined, **known}
    return {}


def to_first_message_s(recorded: Recorded, journals: Sequence[JournalView], started: float | None) -> float | None:
    """Return the seconds from `started` to the first message sent; None if either time is unknown.

    `started`: Unix time at which the leading process started; `journals`: those of `recorded`. Record times are
    converted to Unix time by the wall clock of the leading process's host, if one of its journals is there, else by
    that of the journal's own host.
    """
    walls = [journal.sidecar.meta.get("wall_minus_monotonic_ns") for journal in journals]
    here = [wall for wall, journal in zip(walls, journals, strict=True) if wall is not None and not journal.clock.moves]
    found = []
    for said, journal, wall in zip(recorded.said_ns, journals, walls, strict=True):
        if journal.clock.moves and wall is not None:
            wall = here[0] if here else wall - journal.clock.offset_ns
        if said is not None and wall is not None:
            found.append((said[0] + wall) / 1e9)
    return round(min(found) - started, 2) if found and started is not None else None


def replicas(recorded: Recorded) -> dict[str, int]:
    """Return replica -> number of connections that it accepted, where the platform names its replicas."""
    counts: dict[str, int] = {}
    for connects, names in zip(recorded.of_kind(Kind.CONNECT), recorded.names, strict=True):
        for number, count in zip(*np.unique(connects["author"], return_counts=True), strict=True):
            name = names.get(int(number))
            if name is not None:
                counts[name] = counts.get(name, 0) + int(count)
    return dict(sorted(counts.items()))


def percentiles(waits: Histograms, which: Sequence[int] | None = None) -> dict[str, float]:
    """Return `samples`, and `p50`, `p99` and `max` in ms, of several histograms together.

    `waits`: histograms in ns; `which`: numbers of those to use, None for all. Without values the result holds only
    `samples`, which is 0.
    """
    samples = waits.total(which)
    named = {"p50": 50.0, "p99": 99.0, "max": 100.0} if samples else {}
    found = {name: waits.percentile(share, which) for name, share in named.items()}
    return {"samples": samples, **{name: round(ns / 1e6, 3) for name, ns in found.items() if ns is not None}}


class FanOut:
    """Times from sending a message to each delivery, in ns: one histogram for each size of rooms (a `Sink`)."""

    def __init__(self, room_sizes: Sequence[int]) -> None:
        """Start without deliveries; `room_sizes`: members by conversation number."""
        members = np.asarray(room_sizes, np.int64)
        self.sizes, of = np.unique(members, return_inverse=True)
        self._of = of.reshape(-1).astype(np.int64)
        self.waits = Histograms(max(1, len(self.sizes)))

    def __call__(self, kind: Kind, since: Since) -> None:
        """Count the deliveries of a chunk of records, except those in conversations that the roster lacks."""
        if kind is Kind.DELIVER:
            took, which = self.counted(since)
            self.waits.add(took, which)

    def counted(self, since: Since) -> tuple[Array, Array]:
        """Return (time it took in ns, index in `sizes`) of each delivery in a conversation that the roster has."""
        convs = since.slot("conv")
        known = convs < self.conversations
        return since.took_ns[known], self._of[convs[known]]

    @property
    def conversations(self) -> int:
        """Return the number of conversations in the roster."""
        return len(self._of)

    def of(self, size: int) -> list[int]:
        """Return the numbers of the histograms of rooms of this size: one or none."""
        return np.flatnonzero(self.sizes == size).tolist()

    def heard(self) -> list[int]:
        """Return the room sizes that have deliveries, in ascending order."""
        totals = self.waits.totals()
        return [int(size) for size, total in zip(self.sizes, totals, strict=False) if total]


def bursts(recorded: Recorded, table: Path) -> list[dict[str, Any]]:
    """Return the bursts that were planned and sent, with their counts and times.

    `sent_s`, `acknowledged_s`, `delivered_s`: seconds from the first sending of the burst until the last message was
    sent, acknowledged, delivered; None if none was. A burst of which nothing was sent is left out. `table`: path of the
    side table of bursts.
    """
    rows = list(read_table(table))
    mine = _of_bursts(recorded, rows) if rows else []
    return [found for row, records in zip(rows, mine, strict=True) if (found := _burst(row, records))]


def _of_bursts(recorded: Recorded, rows: Sequence[Mapping[str, Any]]) -> list[Records]:
    """Return, for each row of the table of bursts, all records of the messages of that burst."""
    found: list[list[Records]] = [[] for _ in rows]
    senders = np.unique([row["client"] for row in rows])
    for _, part in recorded.parts():
        part = part[np.isin(part["author"], senders)]
        for row, into in zip(rows, found, strict=True) if len(part) else ():
            first, last = row["first"], row["first"] + row["count"] - 1
            of = (part["author"] == row["client"]) & (part["counter"] >= first) & (part["counter"] <= last)
            into.append(part[of])
    return [np.concatenate([np.empty(0, RECORD), *parts]) for parts in found]


def _burst(row: Mapping[str, Any], records: Records) -> dict[str, Any]:
    """Return one row of `bursts`, from the table's `row` and the records of its messages; {} if none was sent."""
    sent = records[records["kind"] == Kind.INVOKE]
    if not len(sent):
        return {}
    acked, heard, stored = (records[records["kind"] == kind] for kind in (Kind.OK, Kind.DELIVER, Kind.STORED))
    begin = sent["t"].min()

    def after(part: Records) -> float | None:
        return round(float(part["t"].max() - begin) / 1e9, 4) if len(part) else None

    return {
        **row,
        "sent": len(sent),
        "acknowledged": len(acked),
        "delivered": len(heard),
        "stored": len(stored),
        "hearers": len(np.unique(heard["client"])),
        "sent_s": after(sent),
        "acknowledged_s": after(acked),
        "delivered_s": after(heard),
        "delivery_ms": _lag_after_send(sent, heard),
    }


def _lag_after_send(sent: Records, heard: Records) -> dict[str, float]:
    waits = Histograms()
    if len(heard):
        first = int(sent["counter"].min())
        at = np.zeros(int(max(sent["counter"].max(), heard["counter"].max())) - first + 1, dtype=np.int64)
        at[sent["counter"].astype(np.int64) - first] = sent["t"]
        waits.add(heard["t"] - at[heard["counter"].astype(np.int64) - first])
    return percentiles(waits)


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a side table (a file of JSON lines); nothing if the file does not exist.

    Stops at the first line that is no JSON, as a crash may have torn the last line. JSON values that are no objects are
    skipped.
    """
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                row = from_json(line)
            except ValueError:
                return
            if isinstance(row, dict):
                yield row


def message_keys(records: Records) -> npt.NDArray[np.uint64]:
    """Return a number for each record that identifies its message: author << 32 | counter."""
    keys: npt.NDArray[np.uint64] = (records["author"].astype(np.uint64) << np.uint64(32)) | records["counter"]
    return keys
