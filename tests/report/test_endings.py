"""How connections ended, and when a platform stopped answering: from literal records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import FOREIGN, NOBODY, Flag, Kind, Phase, empty
from earwitness.harness.report.endings import ending_line, endings, stopped, stopped_line
from earwitness.harness.report.recorded import Recorded

S = 1_000_000_000
OWN = int(Flag.OWN)


def records(*rows: dict[str, Any]) -> np.ndarray:
    found = empty(len(rows))
    for at, row in enumerate(rows):
        for key, value in row.items():
            found[key][at] = value
    return found


def closed(code: int, reason: int = NOBODY, **slots: Any) -> dict[str, Any]:
    return {"kind": Kind.DISCONNECT, "counter": code, "author": reason, **slots}


def test_endings_are_counted_over_all_journals() -> None:
    """By who ended it, code and reason: the same text has another number in each journal."""
    first = records(closed(4001, FOREIGN), closed(4001, FOREIGN + 1), closed(1006), closed(1000, flags=OWN))
    second = records(closed(4001, FOREIGN + 5), closed(1000, flags=OWN), {"kind": Kind.CONNECT})
    rows = endings(Recorded([first, second], [{FOREIGN: "bye", FOREIGN + 1: "slow"}, {FOREIGN + 5: "bye"}]))
    assert [(row["by"], row["code"], row["reason"], row["count"]) for row in rows] == [
        ("earwitness", 1000, "", 2),
        ("platform", 4001, "bye", 2),
        ("platform", 1006, "", 1),
        ("platform", 4001, "slow", 1),
    ]
    line = "connections ended by the platform: 2 with 4001 'bye', 1 without a close frame (1006), 1 with 4001 'slow'"
    assert ending_line(rows) == line


def test_our_own_endings_are_not_worth_a_line() -> None:
    """Except where our own limit ended them. Many different reasons are one number in the line."""
    assert ending_line(endings(Recorded([records(closed(1000, flags=OWN))], [{}]))) == ""
    assert ending_line(endings(Recorded([]))) == ""
    why = "frame with 21 bytes exceeds limit of 20 bytes"
    too_big = ending_line(endings(Recorded([records(closed(1009, FOREIGN, flags=OWN))], [{FOREIGN: why}])))
    assert too_big == f"connections ended by earwitness: 1 with 1009 {why!r} (urls.frame_bytes_max)"
    many = records(*(closed(4001, FOREIGN + n) for n in range(200)))
    rows = endings(Recorded([many], [{FOREIGN + n: f"session {n}" for n in range(200)}]))
    assert len(rows) == 50
    assert ending_line(rows).endswith(", 45 others")


def test_a_reason_cannot_write_on_the_terminal() -> None:
    """Control characters of the platform's are shown, not sent."""
    assert "\x1b" not in ending_line(endings(Recorded([records(closed(4001, FOREIGN))], [{FOREIGN: "\x1b[2Jgone"}])))


def load(*rows: dict[str, Any], end_s: int = 20) -> list[np.ndarray]:
    """A load from 10 s on; two connections; `rows` after the first message."""
    begin = [
        {"kind": Kind.PHASE, "counter": Phase.LOAD, "t": 10 * S},
        {"kind": Kind.CONNECT, "client": 0, "conn": 1, "t": 10 * S},
        {"kind": Kind.CONNECT, "client": 1, "conn": 2, "t": 10 * S},
        {"kind": Kind.INVOKE, "client": 0, "conn": 1, "t": 11 * S},
        {"kind": Kind.OK, "client": 0, "conn": 1, "t": 12 * S},
    ]
    end = [{"kind": Kind.PHASE, "counter": Phase.DRAIN, "t": end_s * S}, {"kind": Kind.OK, "t": (end_s + 1) * S}]
    return [records(*begin, *rows, *end)]


def at(second: float, kind: Kind, **slots: Any) -> dict[str, Any]:
    return {"kind": kind, "t": int(second * S), **slots}


@pytest.mark.parametrize(
    ("rows", "unanswered", "ended"),
    [
        ([at(13, Kind.INVOKE)], 1, 0),
        ([at(13, Kind.INVOKE), at(14, Kind.INVOKE), at(19, Kind.INFO)], 2, 0),
        ([at(13, Kind.DISCONNECT, conn=1), at(13, Kind.DISCONNECT, conn=2)], 0, 2),
        ([at(15, Kind.PROBE, counter=0)], 1, 0),
        ([at(15, Kind.REQUEST, size=0), at(16, Kind.LOGIN, counter=0)], 2, 0),
    ],
)
def test_a_platform_that_stopped(rows: list[dict[str, Any]], unanswered: int, ended: int) -> None:
    """Asked, and silent to the end of the load. What it says afterwards does not change that."""
    found = stopped(Recorded(load(*rows)))
    assert found == {"at_s": 2.0, "silent_s": 8.0, "unanswered": unanswered, "ended": ended}
    line = stopped_line(found)
    assert line.startswith("the platform stopped answering 2.0 s after the load began: nothing came for the 8.0 s")


def test_one_that_never_answered() -> None:
    """It is silent from the start."""
    begin = {"kind": Kind.PHASE, "counter": Phase.LOAD, "t": 10 * S}
    end = {"kind": Kind.PHASE, "counter": Phase.DRAIN, "t": 15 * S}
    found = stopped(Recorded([records(begin, at(11, Kind.LOGIN, counter=0), end)]))
    assert found == {"at_s": 0.0, "silent_s": 5.0, "unanswered": 1, "ended": 0}


@pytest.mark.parametrize(
    "rows",
    [
        [],  # nobody wanted anything
        [at(13, Kind.INVOKE), at(18.5, Kind.DELIVER)],  # it answers late, but it answers
        [at(13, Kind.INVOKE), at(19, Kind.PROBE, counter=503)],  # an error is an answer
        [at(18.5, Kind.INVOKE)],  # asked a moment before the end
        [at(13, Kind.DISCONNECT, conn=1)],  # the other connection is open, and nobody spoke
        [at(13, Kind.DISCONNECT, conn=1, flags=OWN), at(13, Kind.DISCONNECT, conn=2, flags=OWN)],  # we hung up
    ],
)
def test_one_that_did_not_stop(rows: list[dict[str, Any]]) -> None:
    """Silence alone says nothing."""
    assert stopped(Recorded(load(*rows))) is None


def test_another_journal_still_hears_it() -> None:
    """The last word counts over all load processes."""
    quiet = load(at(13, Kind.INVOKE))
    assert stopped(Recorded([*quiet, records(at(19, Kind.DELIVER))])) is None
    assert stopped(Recorded([])) is None
