"""A run as a trace that the Perfetto UI shows (Chrome's trace event format): `earwitness export RUN --perfetto`.

| track | content |
|---|---|
| process "faults" | one slice for each injected fault |
| process of a device | its user's name |
| thread of a device | one connection: a slice while it was open, and a mark for each record |
| arrow | from a send to each of its deliveries |

Times are microseconds since the first record. Texts of messages are in no journal, so they are in no trace.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from earwitness.checks.engine.fault_windows import FaultLog
from earwitness.checks.findings.names import device
from earwitness.checks.history.record import Kind
from earwitness.harness.record.columns import Columns
from earwitness.harness.record.history import History

FAULTS: Final = 0
"""Process number of the faults. The process number of a device is its client number + 1."""
MARK_US: Final = 0.5
"""Width of a mark in µs: wide enough to be clicked, narrower than the time between two records."""
WORDS: Final = {
    "invoke": "send", "ok": "accepted", "fail": "refused", "info": "no answer", "deliver": "receive",
    "replay": "receive again", "connect": "connect", "disconnect": "end", "join": "join", "leave": "leave",
}  # fmt: skip
"""Name of the mark of a kind of record. Kinds that are not listed use the name of the kind."""

Sends = dict[tuple[int, int, int], tuple[int, int, float]]
"""Sendings: (author, counter, attempt) → (process number, thread number, time in µs since the first record)."""


def write_perfetto(history: History, path: Path, batches: Iterable[Columns]) -> int:
    """Write the trace of a run and return the number of its records.

    `batches`: all records of the history. The records are read twice, and each sending takes an entry in memory.
    """
    begin_ns = min((int(view.records["t"].min()) for view in history.journals if view.count), default=0)
    sends, count, numbers = _sends(history, begin_ns), 0, itertools.count(1)
    with path.open("wb") as file:
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        file.write(b",\n".join(map(orjson.dumps, _heads(history, begin_ns))))
        for columns in batches:
            for event in _events(columns, begin_ns, sends, numbers):
                file.write(b",\n" + orjson.dumps(event))
            count += columns.count
        for event in _open_times(history, begin_ns):
            file.write(b",\n" + orjson.dumps(event))
        file.write(b"\n]}\n")
    return count


def _us(ns: int, begin_ns: int) -> float:
    return (ns - begin_ns) / 1000


def _sends(history: History, begin_ns: int) -> Sends:
    found: Sends = {}
    for view in history.journals:
        records = view.records
        for r in records[records["kind"] == Kind.INVOKE]:
            key = (int(r["author"]), int(r["counter"]), int(r["attempt"]))
            found[key] = (int(r["client"]) + 1, int(r["conn"]), _us(int(r["t"]), begin_ns))
    return found


def _heads(history: History, begin_ns: int) -> Iterator[Mapping[str, Any]]:
    """Yield the events that name the tracks, and the slices of the faults."""
    yield {"ph": "M", "pid": FAULTS, "name": "process_name", "args": {"name": "faults"}}
    for client in range(len(history.roster.user_of)):
        name = device(history.roster, client)
        yield {"ph": "M", "pid": client + 1, "name": "process_name", "args": {"name": name}}
    last_ns = max((int(view.records["t"].max()) for view in history.journals if view.count), default=0)
    for journal, view in enumerate(history.journals):
        faults, log = view.records[view.records["kind"] == Kind.FAULT], FaultLog()
        log.add(journal, faults)
        names = dict.fromkeys(view.names.get(int(number), "fault") for number in faults["author"])
        for window, name in zip(log.windows(), names, strict=False):
            yield _slice(name, FAULTS, 0, window.start, min(window.end, last_ns), begin_ns)


def _slice(name: str, pid: int, tid: int, start_ns: int, end_ns: int, begin_ns: int) -> dict[str, Any]:
    start_us = _us(start_ns, begin_ns)
    return {"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": start_us, "dur": _us(end_ns, begin_ns) - start_us}


def _events(columns: Columns, begin_ns: int, sends: Sends, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    """Yield a mark for each record of a device, and an arrow for each delivery whose send is on record."""
    for row in columns.rows():
        if (client := _number(row, "client")) < 0:
            continue
        pid, tid = client + 1, max(0, _number(row, "connection"))
        ts, kind = _us(_number(row, "time_ns"), begin_ns), str(row["kind"])
        name, counter = WORDS.get(kind, kind), _number(row, "counter")
        if counter >= 0:
            name = f"{name} #{counter}"
        args = {key: value for key, value in row.items() if key not in ("time_ns", "kind", "client")}
        yield {"ph": "X", "cat": "record", "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": MARK_US, "args": args}
        key = (_number(row, "author"), counter, _number(row, "attempt"))
        send = sends.get(key) if kind == "deliver" else None
        if send is not None:
            arrow = {"cat": "message", "name": "delivery", "id": next(numbers)}
            yield {**arrow, "ph": "s", "pid": send[0], "tid": send[1], "ts": send[2]}
            yield {**arrow, "ph": "f", "bp": "e", "pid": pid, "tid": tid, "ts": ts}


def _number(row: Mapping[str, object], column: str) -> int:
    """Return the whole number in a column of a row, -1 if the column is absent or no number."""
    value = row.get(column)
    return value if isinstance(value, int) else -1


def _open_times(history: History, begin_ns: int) -> Iterator[dict[str, Any]]:
    """Yield the begin and end of the time in which each connection was open, as events of the connection's thread."""
    for view in history.journals:
        records = view.records
        ends = records[(records["kind"] == Kind.CONNECT) | (records["kind"] == Kind.DISCONNECT)]
        for r in ends:
            pid, tid = int(r["client"]) + 1, int(r["conn"])
            kind = "b" if r["kind"] == Kind.CONNECT else "e"
            span = {"cat": "connection", "id": f"{pid}.{tid}", "name": f"connection {tid} is open"}
            yield {**span, "ph": kind, "pid": pid, "tid": tid, "ts": _us(int(r["t"]), begin_ns)}
