"""Figures of a run from its records: amount of load, latencies, bursts, responsiveness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from earwitness.checks.history.record import RECORD, Kind
from earwitness.checks.messages.unreceived import MISSES_NOTHING
from earwitness.checks.verdict import Verdict
from earwitness.harness.described import from_json
from earwitness.harness.record.reading import JournalView

Records = npt.NDArray[np.void]
Milliseconds = npt.NDArray[np.float64]


def load_figures(views: Iterable[Records]) -> dict[str, int]:
    """Return the counts of users, connections, messages sent and messages delivered, by name."""
    connections = sent = delivered = 0
    users: set[int] = set()
    for records in views:
        kind = records["kind"]
        connects = kind == Kind.CONNECT
        connections += int(connects.sum())
        users.update(int(user) for user in np.unique(records["client"][connects]))
        sent += int((kind == Kind.INVOKE).sum())
        delivered += int((kind == Kind.DELIVER).sum())
    return {"users": len(users), "connections": connections, "messages_sent": sent, "messages_delivered": delivered}


def span_s(views: Iterable[Records]) -> float:
    """Return the seconds from the first record to the last one; 0 without records."""
    times = [(int(records["t"].min()), int(records["t"].max())) for records in views if len(records)]
    return round((max(b for _, b in times) - min(a for a, _ in times)) / 1e9, 3) if times else 0.0


def missed_live(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return the deliveries that devices of continuous members missed: missed, owed, devices, not_known.

    Reported for every run; a violation only where the contract promises it (I47).
    """
    for verdict in verdicts:
        if verdict.id == MISSES_NOTHING.id:
            facts = verdict.facts
            known = {"devices": facts.get("devices", 0), "not_known": facts.get("not_known", 0)}
            return {"missed": verdict.violations, "owed": verdict.examined, **known}
    return {}


def to_first_message_s(journals: Iterable[JournalView], started: float | None) -> float | None:
    """Return the seconds from `started` to the first message sent; None if either time is unknown.

    `started`: Unix time at which the leading process started.
    """
    found = []
    for journal in journals:
        said = np.flatnonzero(journal.records["kind"] == Kind.INVOKE)
        offset = journal.sidecar.meta.get("wall_minus_monotonic_ns")
        if len(said) and offset is not None:
            found.append((int(journal.records["t"][said[0]]) + offset - journal.clock.offset_ns) / 1e9)
    return round(min(found) - started, 2) if found and started is not None else None


def replicas(views: Iterable[tuple[Records, dict[int, str]]]) -> dict[str, int]:
    """Return replica -> number of connections that it accepted, where the platform names its replicas."""
    counts: dict[str, int] = {}
    for records, names in views:
        connects = records[records["kind"] == Kind.CONNECT]
        for number, count in zip(*np.unique(connects["author"], return_counts=True), strict=True):
            name = names.get(int(number))
            if name is not None:
                counts[name] = counts.get(name, 0) + int(count)
    return dict(sorted(counts.items()))


def percentiles(parts: list[Milliseconds]) -> dict[str, float]:
    """Return samples, p50, p99 and max of all values together; only samples (0) if there are none."""
    values = np.concatenate(parts) if parts else np.empty(0)
    if not len(values):
        return {"samples": 0}
    p50, p99 = np.percentile(values, (50, 99))
    return {
        "samples": len(values),
        "p50": round(float(p50), 3),
        "p99": round(float(p99), 3),
        "max": round(float(values.max()), 3),
    }


def fan_out(views: list[Records], room_sizes: list[int]) -> dict[str, dict[str, float]]:
    """Return room size -> percentiles of the milliseconds from sending a message to its delivery to each member."""
    delay_ms, size = fan_out_ms(views, room_sizes)
    return {str(int(s)): percentiles([delay_ms[size == s]]) for s in np.unique(size)}


def fan_out_ms(views: list[Records], room_sizes: list[int]) -> tuple[Milliseconds, npt.NDArray[np.int64]]:
    """Return (milliseconds, size of the room) of each delivery; see `since_sending`."""
    delay_ms, heard, _ = since_sending(views, Kind.DELIVER)
    sizes = np.asarray(room_sizes)
    inside = heard["conv"] < len(sizes)
    return delay_ms[inside], sizes[heard["conv"][inside]]


def since_sending(views: list[Records], kind: Kind) -> tuple[Milliseconds, Records, npt.NDArray[np.int64]]:
    """Return how long after the first sending of its message each record of a kind was written.

    The result is (milliseconds, record, monotonic ns of that sending). All times are of one host's clock.

    Memory: 16 bytes per message and record; of each journal only the last five million records are used.
    """
    views = [records[-5_000_000:] for records in views]
    invoke = _joined(views, Kind.INVOKE, first_attempt=True)
    later = _joined(views, kind)
    if not len(invoke) or not len(later):
        return np.empty(0), later[:0], np.empty(0, np.int64)
    keys = message_keys(invoke)
    order = np.argsort(keys, kind="stable")
    keys, sent_at = keys[order], invoke["t"][order]
    wanted = message_keys(later)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    known = keys[at] == wanted
    later, sent_ns = later[known], sent_at[at[known]]
    return (later["t"] - sent_ns) / 1e6, later, sent_ns


def bursts(views: list[Records], table: Path) -> list[dict[str, Any]]:
    """Return the bursts of `table`, with the seconds from the first sending until all are sent, acked, delivered."""
    found = []
    for row in read_table(table):
        first, last = row["first"], row["first"] + row["count"] - 1
        mine = [r[(r["author"] == row["client"]) & (r["counter"] >= first) & (r["counter"] <= last)] for r in views]
        records: Records = np.concatenate(mine) if mine else np.empty(0, RECORD)
        sent = records[records["kind"] == Kind.INVOKE]
        acked = records[records["kind"] == Kind.OK]
        heard = records[records["kind"] == Kind.DELIVER]
        stored = records[records["kind"] == Kind.STORED]
        if not len(sent):
            continue
        begin = sent["t"].min()

        def after(part: Records, begin: np.int64 = begin) -> float | None:
            return round(float(part["t"].max() - begin) / 1e9, 4) if len(part) else None

        lag_ms = _lag_after_send(sent, heard)
        found.append(
            {
                **row,
                "sent": len(sent),
                "acknowledged": len(acked),
                "delivered": len(heard),
                "stored": len(stored),
                "hearers": len(np.unique(heard["client"])),
                "sent_s": after(sent),
                "acknowledged_s": after(acked),
                "delivered_s": after(heard),
                "delivery_ms": lag_ms,
            }
        )
    return found


def _lag_after_send(sent: Records, heard: Records) -> dict[str, float]:
    if not len(heard):
        return {"samples": 0}
    first = int(sent["counter"].min())
    at = np.zeros(int(max(sent["counter"].max(), heard["counter"].max())) - first + 1, dtype=np.int64)
    at[sent["counter"].astype(np.int64) - first] = sent["t"]
    return percentiles([(heard["t"] - at[heard["counter"].astype(np.int64) - first]) / 1e6])


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a side table; none if it does not exist.

    It stops at a torn line.
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


def _joined(views: list[Records], kind: Kind, *, first_attempt: bool = False) -> Records:
    parts = []
    for records in views:
        mask = records["kind"] == kind
        if first_attempt:
            mask &= records["attempt"] <= 1
        parts.append(records[mask])
    return np.concatenate(parts) if parts else np.empty(0, RECORD)


def message_keys(records: Records) -> npt.NDArray[np.uint64]:
    """Return one number for each record that identifies its message (author and counter)."""
    keys: npt.NDArray[np.uint64] = (records["author"].astype(np.uint64) << np.uint64(32)) | records["counter"]
    return keys
