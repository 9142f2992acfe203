"""Figures of a run: counted from literal records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import NOBODY, Flag, Kind, empty
from earwitness.harness.record.clocks import ClockMap
from earwitness.harness.record.reading import JournalView
from earwitness.harness.record.sidecar import Sidecar
from earwitness.harness.report import figures
from earwitness.harness.report.flood import Flood
from earwitness.harness.report.measures import Measured
from earwitness.harness.report.recorded import Recorded


def records(*rows: dict[str, Any]) -> np.ndarray:
    found = empty(len(rows))
    for at, row in enumerate(rows):
        for key, value in row.items():
            found[key][at] = value
    return found


MS = 1_000_000


def test_load_counts_users_once_and_connections_each() -> None:
    """Two connections of one client are one user; invocations and deliveries are counted by kind."""
    view = records(
        {"kind": Kind.CONNECT, "client": 3},
        {"kind": Kind.CONNECT, "client": 3},
        {"kind": Kind.CONNECT, "client": 4},
        {"kind": Kind.INVOKE, "client": 3},
        {"kind": Kind.DELIVER, "client": 4},
        {"kind": Kind.REPLAY, "client": 4},
    )
    assert figures.load_figures(Recorded([view])) == {
        "users": 2,
        "connections": 3,
        "messages_sent": 1,
        "messages_delivered": 1,
    }


def test_fan_out_joins_deliveries_of_one_journal_with_sendings_of_another() -> None:
    """A delivery's delay runs from the first attempt of its message, grouped by the size of its room."""
    said = records(
        {"kind": Kind.INVOKE, "t": 10 * MS, "author": 1, "counter": 1, "conv": 0, "attempt": 1},
        {"kind": Kind.INVOKE, "t": 90 * MS, "author": 1, "counter": 1, "conv": 0, "attempt": 2},
    )
    heard = records(
        {"kind": Kind.DELIVER, "t": 15 * MS, "author": 1, "counter": 1, "conv": 0},
        {"kind": Kind.DELIVER, "t": 99 * MS, "author": 7, "counter": 1, "conv": 0},
    )
    measured = Measured(Recorded([said, heard]), [5], (), Path("none"))
    assert measured.latencies()["fan-out, room of 5"] == {"samples": 1, "p50": 5.0, "p99": 5.0, "max": 5.0}


def test_a_burst_is_timed_from_its_first_sending(tmp_path: Path) -> None:
    """Acknowledged and delivered are the seconds until the last of each, and only its own messages count."""
    table = tmp_path / "bursts.jsonl"
    table.write_text(json.dumps({"client": 1, "first": 5, "count": 2, "room": 0}) + "\n{torn")
    view = records(
        {"kind": Kind.INVOKE, "t": 0, "author": 1, "counter": 4},
        {"kind": Kind.INVOKE, "t": 1000 * MS, "author": 1, "counter": 5},
        {"kind": Kind.INVOKE, "t": 1100 * MS, "author": 1, "counter": 6},
        {"kind": Kind.OK, "t": 1200 * MS, "author": 1, "counter": 6},
        {"kind": Kind.DELIVER, "t": 1300 * MS, "author": 1, "counter": 6, "client": 2},
    )
    (burst,) = figures.bursts(Recorded([view]), table)
    assert (burst["sent"], burst["acknowledged"], burst["delivered"], burst["hearers"]) == (2, 1, 1, 1)
    assert (burst["sent_s"], burst["acknowledged_s"], burst["delivered_s"]) == (0.1, 0.2, 0.3)
    assert burst["delivery_ms"]["p50"] == 200.0


@pytest.mark.parametrize(
    ("journals", "seconds"),
    [
        ([(5, 100, 0)], 5.0),
        ([(5, 100, 0), (4, 135, -2)], 4.0),  # the other host's wall clock is 37 s ahead
        ([(None, 100, 0), (4, 135, -2)], 4.0),  # also if the leading host sent nothing
        ([(4, 135, -2)], 41.0),  # nothing else is known
        ([(5, None, 0), (None, 100, 0)], None),
    ],
)
def test_the_first_message_by_the_clock_of_the_leading_host(
    journals: list[tuple[int | None, int | None, int]], seconds: float | None, tmp_path: Path
) -> None:
    """Journals: when the first message was sent (mapped), wall clock minus monotonic clock, offset of the latter."""
    views, recorded = [], []
    for said_s, wall_s, offset_s in journals:
        sidecar = Sidecar(tmp_path / "none")
        sidecar.meta = {} if wall_s is None else {"wall_minus_monotonic_ns": wall_s * 1000 * MS}
        clock = ClockMap(offset_ns=offset_s * 1000 * MS)
        views.append(JournalView("load", tmp_path / "none", sidecar, clock=clock))
        rows = [] if said_s is None else [{"kind": Kind.INVOKE, "t": said_s * 1000 * MS}]
        recorded.append(records(*rows))
    assert figures.to_first_message_s(Recorded(recorded), views, 100.0) == seconds


def test_replicas_are_named_by_their_connections() -> None:
    """Connections without a named replica are left out."""
    view = records(
        {"kind": Kind.CONNECT, "author": 1 << 31},
        {"kind": Kind.CONNECT, "author": 1 << 31},
        {"kind": Kind.CONNECT, "author": NOBODY},
    )
    assert figures.replicas(Recorded([view], [{1 << 31: "backend-1"}])) == {"backend-1": 2}


def test_a_flood_is_what_the_others_felt_of_it(tmp_path: Path) -> None:
    """Messages between well-behaved people are split at the first flood; those of abusers, and from before everybody
    was here, are left out; sockets closed with 4429 are counted by whose they were."""
    (tmp_path / "floods.jsonl").write_text(json.dumps({"client": 9, "calm_ns": 100 * MS, "t_ns": 200 * MS}))

    def message(counter: int, sent_ms: int, took_ms: int, author: int = 1, client: int = 2) -> list[dict[str, Any]]:
        of = {"author": author, "counter": counter, "attempt": 1}
        return [
            {"kind": Kind.INVOKE, "t": sent_ms * MS, "client": author, **of},
            {"kind": Kind.OK, "t": (sent_ms + 1) * MS, "client": author, **of},
            {"kind": Kind.DELIVER, "t": (sent_ms + took_ms) * MS, "client": client, **of},
        ]

    view = records(
        *message(1, 50, 99),
        *message(2, 100, 5),
        *message(3, 200, 15),
        *message(4, 210, 77, client=9),
        *message(1, 220, 88, author=9),
        {"kind": Kind.DISCONNECT, "client": 9, "counter": 4429},
        {"kind": Kind.DISCONNECT, "client": 9, "counter": 4429, "flags": Flag.OWN},
        {"kind": Kind.DISCONNECT, "client": 1, "counter": 1012},
    )
    recorded, flood = Recorded([view]), Flood(tmp_path / "floods.jsonl", tmp_path / "bursts.jsonl")
    recorded.deliver([flood])
    found = flood.found(recorded)
    assert found is not None
    assert (found["fan-out"]["before"]["p99"], found["fan-out"]["during"]["p99"]) == (5.0, 15.0)
    assert (found["fan-out"]["before"]["samples"], found["fan-out"]["during"]["samples"]) == (1, 1)
    assert found["fan-out"]["p99_ratio"] == 3.0
    assert (found["ack"]["before"]["samples"], found["ack"]["during"]["samples"]) == (1, 2)
    assert found["closed"] == {"abusers": 1, "others": 0}
    assert Flood(tmp_path / "none.jsonl", tmp_path / "bursts.jsonl").found(recorded) is None
