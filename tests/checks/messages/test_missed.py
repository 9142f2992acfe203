"""I25: a connection that stood open until a message's deadline owes it, whatever happens to the connection later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome

ANN, BOB, BOB2, EVE = range(4)
MS = 1_000_000
ON = int(Flag.OWN)


def open_until(history: Any, end: int | None = 500, sent: int = 10, acked: int = 20) -> Any:
    """Bob joins at 1 ms; Ann's message is acknowledged at `acked`; his connection is cut at `end` ms."""
    history.join(BOB, t=MS).send(ANN, 1, t=sent * MS).ack(ANN, 1, 1, t=acked * MS)
    return history if end is None else history.cut(BOB, t=end * MS)


def test_lost_on_a_connection_that_ended_later(new_history: Callable[..., Any]) -> None:
    """The socket fell silent, was cut after the bound, and nobody noticed: a violation, told in words."""
    history = open_until(new_history(delivery_bound_s=0.1))
    verdict = history.judge()["I25"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 1, 1)
    assert history.tell(verdict).sentence == (
        "bob on tab 1 was connected to room-1 until after the deadline of #1 of ann, and never received it"
    )


@pytest.mark.parametrize(("end", "violations"), [(120, 0), (121, 1)])
def test_the_bound_must_have_passed(new_history: Callable[..., Any], end: int, violations: int) -> None:
    """A connection that is cut before the deadline owes nothing; one that is cut just after it does."""
    assert open_until(new_history(delivery_bound_s=0.1), end).judge()["I25"].violations == violations


@pytest.mark.parametrize(("end_ns", "violations"), [(120 * MS, 0), (120 * MS + 1, 1)])
def test_the_first_moment_after_the_bound(new_history: Callable[..., Any], end_ns: int, violations: int) -> None:
    """A nanosecond after the deadline the message had been missed."""
    history = open_until(new_history(delivery_bound_s=0.1), None).cut(BOB, t=end_ns)
    assert history.judge()["I25"].violations == violations


@pytest.mark.parametrize(("held_ms", "outcome"), [(379.0, Outcome.FAIL), (380.0, Outcome.UNKNOWN)])
def test_missed_or_unread(new_history: Callable[..., Any], held_ms: float, outcome: Outcome) -> None:
    """What had not come 380 ms after its deadline may lie among bytes that a tester behind in reading did not read."""
    history = open_until(new_history(delivery_bound_s=0.1))
    infos = history.infos
    history.infos = lambda: [replace(info, footer={**info.footer, "held_up_ms": held_ms}) for info in infos()]
    verdict = history.judge()["I25"]
    assert verdict.outcome is outcome
    if outcome is Outcome.UNKNOWN:
        assert verdict.why.endswith("more to read than it had read for 0.38 s in all; 1 messages seem late")


def test_never_acknowledged(new_history: Callable[..., Any]) -> None:
    """Without an acknowledgement there is no deadline."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS).send(ANN, 1, t=10 * MS).cut(BOB, t=500 * MS)
    assert history.judge()["I25"].examined == 0


@pytest.mark.parametrize(("at", "violations"), [(120, 0), (600, 1)])
def test_resumed_too_late(new_history: Callable[..., Any], at: int, violations: int) -> None:
    """It comes after a reconnection: in time is good, after the deadline it had been missed."""
    history = open_until(new_history(delivery_bound_s=0.1), 300 if at > 300 else 121)
    history.join(BOB, conn=9, t=(at - 5) * MS, flags=int(Flag.CONTINUED)).hear(BOB, ANN, 1, 1, conn=9, t=at * MS)
    verdict = history.judge()["I25"]
    assert verdict.violations == violations
    assert [found.what for found in verdict.findings] == ["missed-then"] * violations


@pytest.mark.parametrize(
    "excused",
    [
        lambda h: h.hear(BOB, ANN, 1, 1, t=60 * MS),
        lambda h: h.leave(BOB, t=100 * MS),
        lambda h: h.add(Kind.KICK, BOB, conv=0, t=100 * MS),
        lambda h: h.add(Kind.FAULT, flags=ON, t=50 * MS),
        lambda h: h.drained(t=110 * MS),
        lambda h: h.join(BOB, t=15 * MS),
        lambda h: h.replay(BOB, ANN, 1, 1, conn=8, t=60 * MS) if h.join(BOB, conn=8, t=5 * MS) else h,
    ],
    ids=["it came", "left", "removed", "fault", "drain", "joined later", "beside on another connection"],
)
def test_what_excuses(new_history: Callable[..., Any], excused: Callable[[Any], Any]) -> None:
    """Nothing was missed, or nobody could have owed it."""
    assert excused(open_until(new_history(delivery_bound_s=0.1))).judge()["I25"].violations == 0


def test_sent_when_it_joined(new_history: Callable[..., Any]) -> None:
    """What was sent at the moment of the joining is not owed; a nanosecond later it is."""
    for later_ns in (0, 1):
        history = new_history(delivery_bound_s=0.1).join(BOB, t=10 * MS).send(ANN, 1, t=10 * MS + later_ns)
        history.ack(ANN, 1, 1, t=20 * MS).cut(BOB, t=500 * MS)
        assert history.judge()["I25"].violations == later_ns


def test_joined_and_cut_at_one_moment(new_history: Callable[..., Any]) -> None:
    """Such a connection owes nothing, also if clocks that differ put the acknowledgement before the sending."""
    history = new_history(delivery_bound_s=0.1).ack(ANN, 1, 1, t=5 * MS).send(ANN, 1, t=300 * MS)
    for later_ns in (0, 200 * MS):
        history.join(BOB, t=200 * MS).cut(BOB, t=200 * MS + later_ns)
        assert history.judge()["I25"].examined == (1 if later_ns else 0)


def test_the_author_owes_nothing_to_itself(new_history: Callable[..., Any]) -> None:
    """Nor does the first subscription of all."""
    history = new_history(delivery_bound_s=0.1).join(ANN, t=MS).send(ANN, 1, t=10 * MS).ack(ANN, 1, 1, t=20 * MS)
    assert history.cut(ANN, t=500 * MS).judge()["I25"].examined == 0


def test_replayed_on_the_same_connection(new_history: Callable[..., Any]) -> None:
    """It came, though not live."""
    history = open_until(new_history(delivery_bound_s=0.1)).replay(BOB, ANN, 1, 1, t=60 * MS)
    assert (history.judge()["I25"].examined, history.judge()["I25"].violations) == (1, 0)


def test_more_misses_than_are_shown(new_history: Callable[..., Any]) -> None:
    """All of nine are kept, so that all can be counted by replica; a report describes eight."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS)
    for n in range(1, 10):
        history.send(ANN, n, t=10 * MS).ack(ANN, n, n, t=20 * MS)
    verdict = history.cut(BOB, t=500 * MS).judge()["I25"]
    assert (verdict.violations, len(verdict.findings)) == (9, 9)


def test_one_of_many_was_replayed(new_history: Callable[..., Any]) -> None:
    """Of 65 messages only the last one came."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS)
    for n in range(1, 66):
        history.send(ANN, n, t=10 * MS).ack(ANN, n, n, t=20 * MS)
    history.replay(BOB, ANN, 65, 65, t=60 * MS).cut(BOB, t=500 * MS)
    assert history.judge()["I25"].violations == 64


@pytest.mark.parametrize("others", [0, 64])
def test_late_on_a_later_connection(new_history: Callable[..., Any], others: int) -> None:
    """It came on the connection that owed it: late, and not missed there as well. Others came on an earlier one."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS)
    for n in range(1, others + 1):
        history.send(ANN, n, t=2 * MS).ack(ANN, n, n, t=2 * MS).hear(BOB, ANN, n, n, t=3 * MS)
    history.cut(BOB, t=4 * MS).join(BOB, conn=9, t=5 * MS).send(ANN, others + 1, t=10 * MS)
    history.ack(ANN, others + 1, others + 1, t=20 * MS).hear(BOB, ANN, others + 1, others + 1, conn=9, t=600 * MS)
    verdict = history.cut(BOB, conn=9, t=700 * MS).judge()["I25"]
    assert [finding.what for finding in verdict.findings] == ["late"]


def test_late_on_two_connections_at_once(new_history: Callable[..., Any]) -> None:
    """It came on both, on the first one last: missed on neither."""
    history = new_history(delivery_bound_s=0.1).join(BOB, t=MS).join(BOB, conn=9, t=2 * MS)
    history.send(ANN, 1, t=10 * MS).ack(ANN, 1, 1, t=20 * MS).hear(BOB, ANN, 1, 1, conn=9, t=600 * MS)
    history.hear(BOB, ANN, 1, 1, t=601 * MS).cut(BOB, t=700 * MS).cut(BOB, conn=9, t=700 * MS)
    assert [finding.what for finding in history.judge()["I25"].findings] == ["late"]


def test_one_was_resumed_too_late_and_one_never(new_history: Callable[..., Any]) -> None:
    """Both had been missed."""
    history = open_until(new_history(delivery_bound_s=0.1), None).send(ANN, 2, t=10 * MS).ack(ANN, 2, 2, t=20 * MS)
    history.cut(BOB, t=300 * MS).join(BOB, conn=9, t=590 * MS, flags=int(Flag.CONTINUED))
    assert history.hear(BOB, ANN, 1, 1, conn=9, t=600 * MS).judge()["I25"].violations == 2


def test_what_is_not_known(new_history: Callable[..., Any]) -> None:
    """Without the connection's end, or with a journal that lacks its end, nothing is concluded."""
    assert open_until(new_history(delivery_bound_s=0.1), None).judge()["I25"].examined == 0
    torn = open_until(new_history(delivery_bound_s=0.1))
    torn.torn = {0}
    assert torn.judge()["I25"].violations == 0


def test_the_generator_stood_still(new_history: Callable[..., Any]) -> None:
    """A device may have been late in writing it down by as much as the load process stood still."""
    history = open_until(new_history(delivery_bound_s=0.1), 500)
    infos = history.infos
    history.infos = lambda: [
        type(info)(
            name=info.name, records=info.records, footer={**info.footer, "lag_ms": {"p99": 1.0, "max": 400.0}},
            torn=False, meta=info.meta,
        )
        for info in infos()
    ]  # fmt: skip
    assert history.judge()["I25"].violations == 0


def test_a_member_who_was_removed_owes_nothing_until_the_end(new_history: Callable[..., Any]) -> None:
    """I5b: a removal ends the duty, also where the platform does not tell the device."""
    history = new_history().join(BOB).join(BOB2).add(Kind.KICK, BOB, conv=0)
    history.send(ANN, 1).ack(ANN, 1, 1).drained()
    assert history.judge()["I5b"].violations == 0
