"""Figures of a run: counted from literal records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from checks.record import NOBODY, Kind, empty
from harness.report import figures


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
    assert figures.load_figures([view]) == {
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
    rows = figures.fan_out([said, heard], [5])
    assert rows == {"5": {"samples": 1, "p50": 5.0, "p99": 5.0, "max": 5.0}}


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
    (burst,) = figures.bursts([view], table)
    assert (burst["sent"], burst["acknowledged"], burst["delivered"], burst["hearers"]) == (2, 1, 1, 1)
    assert (burst["sent_s"], burst["acknowledged_s"], burst["delivered_s"]) == (0.1, 0.2, 0.3)
    assert burst["delivery_ms"]["p50"] == 200.0


def test_replicas_are_named_by_their_connections() -> None:
    """Connections without a named replica are left out."""
    view = records(
        {"kind": Kind.CONNECT, "author": 1 << 31},
        {"kind": Kind.CONNECT, "author": 1 << 31},
        {"kind": Kind.CONNECT, "author": NOBODY},
    )
    assert figures.replicas([(view, {1 << 31: "backend-1"})]) == {"backend-1": 2}
