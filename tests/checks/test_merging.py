"""Routing of records to judges of conversations, and their verdicts put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import NOBODY, Flag, Kind, empty
from earwitness.checks.merging import merge
from earwitness.checks.roster import Roster
from earwitness.checks.routing import COMMON, NOWHERE, WAITING, Router
from earwitness.checks.verdict import Doubt, Finding, Outcome, Verdict, conclude

ROSTER = Roster(user_of=(0, 1, 2), conversations=((0, 1), (0, 2), (1, 2), (0, 1, 2)))
OF = [1, 2, 3, 0]
"""Shard of each conversation of ROSTER among four: the largest one first, then in their order."""


def records(*rows: dict[str, Any]) -> np.ndarray:
    found = empty(len(rows))
    for at, row in enumerate(rows):
        for key, value in row.items():
            found[key][at] = value
    return found


def said(kind: Kind, conv: int, counter: int = 1, **slots: Any) -> dict[str, Any]:
    return {"kind": kind, "author": 0, "client": 0, "counter": counter, "conv": conv, "attempt": 1, **slots}


def test_a_record_goes_to_its_conversation() -> None:
    """What names none goes to all, to none, or to the first shard."""
    rows = [
        (said(Kind.INVOKE, 0), OF[0]),
        (said(Kind.DELIVER, 2, counter=2), OF[2]),
        ({"kind": Kind.CONNECT, "client": 1, "conn": 1}, COMMON),
        ({"kind": Kind.FAULT}, COMMON),
        ({"kind": Kind.PROBE}, NOWHERE),
        ({"kind": Kind.TOKEN, "conv": 1}, NOWHERE),
        ({"kind": Kind.KICK, "client": 1, "conv": 1}, OF[1]),
        ({"kind": Kind.IDENTITY, "client": 1}, 0),
        (said(Kind.DELIVER, 99, flags=int(Flag.FOREIGN_RUN)), 0),
    ]
    router = Router(ROSTER, 4)
    assert router.route(0, records(*(row for row, _ in rows))).tolist() == [shard for _, shard in rows]
    assert router.groups() == [(0,), (1,), (2,), (3,)]


def test_an_answer_without_a_conversation_goes_where_its_message_is() -> None:
    """Also if that is read later. One of no message goes to the first shard."""
    router = Router(ROSTER, 4)
    early, late = records(said(Kind.OK, NOBODY, 5)), records(said(Kind.INVOKE, 2, 5), said(Kind.OK, NOBODY, 5))
    assert router.route(0, early).tolist() == [WAITING]
    assert router.route(1, late).tolist() == [OF[2], OF[2]]
    lost = records(said(Kind.OK, NOBODY, 700))
    assert router.route(0, lost).tolist() == [WAITING]
    assert router.where(np.concatenate([early, lost])).tolist() == [OF[2], 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said(Kind.INVOKE, 0), said(Kind.DELIVER, 2)),
        ({"kind": Kind.RUN, "conn": 7, "author": 9, "conv": 0}, {"kind": Kind.RUN, "conn": 7, "author": 9, "conv": 2}),
    ],
    ids=["a message", "an answer of an agent"],
)
def test_conversations_that_share_something_are_judged_together(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Their shards become one, whichever is read first; a bad body shares nothing."""
    for rows in ((one, other), (other, one)):
        router = Router(ROSTER, 4)
        for row in rows:
            router.route(0, records(row))
        assert router.groups() == [(0,), (1, 3), (2,)]
    router = Router(ROSTER, 4)
    router.route(0, records(said(Kind.INVOKE, 0), said(Kind.DELIVER, 2, flags=int(Flag.CORRUPT))))
    assert len(router.groups()) == 4


def test_many_messages_and_disputes_need_room() -> None:
    """The tables grow; nothing is lost."""
    router, number = Router(ROSTER, 4), 20_000
    rows = np.concatenate([records(said(Kind.INVOKE, 0))] * number)
    rows["counter"] = 7 * np.arange(1, number + 1)
    assert (router.route(0, rows) == OF[0]).all()
    rows["conv"], rows["kind"] = 1, Kind.DELIVER
    assert (router.route(0, rows) == OF[1]).all()
    assert router.groups() == [(0,), (1, 2), (3,)]


def verdict(examined: int, *findings: int, unknown: Any = "", **facts: int) -> Verdict:
    found = [Finding(what="x", records=((0, at),), at=at) for at in findings]
    return conclude(
        "I4", "gap-free", examined=examined, violations=len(found), findings=found, unknown=unknown, facts=facts
    )


def test_counts_are_added_and_the_first_findings_kept() -> None:
    """In the order of the check, whatever the order of the parts; at most FINDINGS."""
    (both,) = merge([[verdict(5, 9, 3, open=2)], [verdict(7, *range(20, 30), 4, open=1)]])
    assert (both.examined, both.violations, both.outcome, both.facts) == (12, 13, Outcome.FAIL, {"open": 3})
    assert [finding.at for finding in both.findings] == [3, 4, 9, *range(20, 30)]
    (many,) = merge([[verdict(5, 1000)], [verdict(7, *range(600))]])
    assert [finding.at for finding in many.findings] == list(range(500))


def test_reasons_are_counted_together() -> None:
    """Each once, with its sum and the first name; another one holds only where there is nothing to count."""
    counts = ((2, 5, "five"), (0, 1, "one"), (3, 4, "four"))
    doubts = [[Doubt("{n} of {first}", n, "none", (rank, name)), Doubt("{n} late", 0, Doubt("{n} open", 1))]
              for n, rank, name in counts]  # fmt: skip
    parts = [[verdict(1, unknown=both)] for both in doubts]
    assert merge(parts)[0].why == "5 of four; 3 open"
    assert merge(parts[1:2])[0].why == "none; 1 open"
    assert merge([[verdict(0)], [verdict(0)]])[0].why == "nothing was examined"


def test_a_check_that_raised_is_unknown_as_a_whole() -> None:
    """One part without a result leaves no verdict about the whole."""
    raised = Verdict(id="I4", name="gap-free", outcome=Outcome.UNKNOWN, examined=0, why="the check itself failed: x")
    assert merge([[verdict(5, 1)], [raised]]) == [raised]


def test_verdicts_of_different_checks_are_not_merged() -> None:
    """A mistake of the caller is no verdict."""
    with pytest.raises(ValueError, match="another check"):
        merge([[verdict(1)], [conclude("I5a", "stored", examined=1, violations=0)]])
    with pytest.raises(ValueError, match="different reasons"):
        merge([[verdict(1, unknown="a")], [verdict(1, unknown=Doubt("{n}", 1))]])
