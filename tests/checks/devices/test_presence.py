"""I27 presence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from presented import MS, now, pause
from shared import connect, told_of

from earwitness.checks import Batch, Flag, Kind, Outcome
from earwitness.checks.history.record import FOREIGN, FaultKind, Place
from earwitness.checks.judge import judge

ANN, BOB, BOB2, EVE = range(4)


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """Ann watches. The bound is 8 ms, a quarter of it 2 ms."""
    history = new_history(presence_s=0.008)
    connect(history, ANN)
    return history


def test_coming_and_going(history: Any) -> None:
    """Shown when it happens, and within the bound."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    pause(history, 20)
    history.cut(BOB)
    pause(history, 7)
    told_of(history, ANN, BOB, False)
    pause(history, 20)
    verdict = history.drained().judge()["I27"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


def test_a_ghost(history: Any) -> None:
    """Shown as online for longer than the bound after the last connection, until the end."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.cut(BOB)
    pause(history, 12)
    verdict = history.drained().judge()["I27"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == (
        "ann was shown bob as online in room-1, 8 ms after the last connection had ended"
    )


def test_a_ghost_that_goes_late(history: Any) -> None:
    """Shown as offline at last, but too late."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.cut(BOB)
    pause(history, 12)
    told_of(history, ANN, BOB, False)
    pause(history, 3)
    assert history.drained().judge()["I27"].violations == 1


def test_somebody_who_was_never_there(history: Any) -> None:
    """Shown as online without ever having had a connection."""
    told_of(history, ANN, BOB, True)
    pause(history, 5)
    verdict = history.drained().judge()["I27"]
    assert history.tell(verdict).sentence == "ann was shown bob as online in room-1, who had not been connected yet"


@pytest.mark.parametrize(("before_ms", "violations"), [(1, 0), (5, 1)])
def test_others_may_know_first(history: Any, before_ms: int, violations: int) -> None:
    """That somebody comes may be told a quarter of the bound before their own device writes it down."""
    told_of(history, ANN, BOB, True)
    pause(history, before_ms)
    connect(history, BOB)
    pause(history, 5)
    assert history.drained().judge()["I27"].violations == violations


@pytest.mark.parametrize(("before_ms", "violations"), [(10, 0), (14, 1)])
def test_clocks_of_two_hosts(history: Any, before_ms: int, violations: int) -> None:
    """Beside a quarter of the bound there is all that their clocks may differ by, here 10 ms."""
    told_of(history, ANN, BOB, True)
    pause(history, before_ms)
    connect(history, BOB, journal=1)
    pause(history, 5)
    batches = [Batch(number, records) for number, records in history.drained().arrays().items()]
    infos = [
        replace(info, meta={"host": host, "clock_offset_ms": 5})
        for info, host in zip(history.infos(), "ab", strict=True)
    ]
    verdicts = judge(history.roster, history.contract, batches, infos)
    assert [verdict.violations for verdict in verdicts if verdict.id == "I27"] == [violations]


@pytest.mark.parametrize(("lag_ms", "violations"), [(1.0, 1), (3.0, 0)])
def test_a_process_that_stood_still(history: Any, lag_ms: float, violations: int) -> None:
    """The end of a connection is written down as late as the loop of its process lags, beside a quarter of the
    bound."""
    connect(history, BOB, journal=1)
    told_of(history, ANN, BOB, True)
    pause(history, 10)
    told_of(history, ANN, BOB, False)
    pause(history, 4)
    history.cut(BOB, journal=1)
    batches = [Batch(number, records) for number, records in history.drained().arrays().items()]
    infos = [
        replace(info, footer={**(info.footer or {}), "lag_ms": {"p99": 1.0, "max": lag_ms}}) for info in history.infos()
    ]
    verdicts = judge(history.roster, history.contract, batches, infos)
    assert [verdict.violations for verdict in verdicts if verdict.id == "I27"] == [violations]


def test_the_handshake_counts(history: Any) -> None:
    """A connection begins with its handshake, not when it is written down."""
    told_of(history, ANN, BOB, True)
    pause(history, 5)
    connect(history, BOB, size=6000)
    pause(history, 5)
    assert history.drained().judge()["I27"].outcome == Outcome.PASS


def test_the_second_tab_closes(history: Any) -> None:
    """Shown as offline although the first tab is open."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    connect(history, BOB2)
    pause(history, 10)
    history.cut(BOB2, own=True)
    told_of(history, ANN, BOB2, False)
    pause(history, 5)
    verdict = history.drained().judge()["I27"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == (
        "ann was shown bob as offline in room-1, who had been connected for 14 ms"
    )


@pytest.mark.parametrize("late_ms", [1, 3])
def test_others_may_know_first_that_somebody_goes(history: Any, late_ms: int) -> None:
    """The end of a connection may be told a quarter of the bound before the device writes it down."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    pause(history, 10)
    told_of(history, ANN, BOB, False)
    pause(history, late_ms)
    history.cut(BOB)
    pause(history, 5)
    assert history.drained().judge()["I27"].violations == (late_ms == 3)


def test_just_come_and_not_yet_shown(history: Any) -> None:
    """As offline somebody may be shown for as long as the bound after coming."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.cut(BOB)
    told_of(history, ANN, BOB, False)
    pause(history, 12)
    connect(history, BOB, conn=9)
    pause(history, 7)
    told_of(history, ANN, BOB, True)
    assert history.drained().judge()["I27"].outcome == Outcome.PASS


def test_the_same_twice(history: Any) -> None:
    """Comings and goings alternate, on one connection and in one conversation."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    told_of(history, ANN, BOB, True, conv=1)
    told_of(history, ANN, BOB, True, conn=9)
    assert history.judge()["I27"].violations == 0
    told_of(history, ANN, BOB2, True)
    verdict = history.drained().judge()["I27"]
    assert history.tell(verdict).sentence == "ann was shown twice in a row that bob is online in room-1"


@pytest.mark.parametrize(
    ("kind", "place", "violations"),
    [(FaultKind.KILL, Place.BACKEND, 1), (FaultKind.PAUSE, Place.BACKEND, 0), (FaultKind.KILL, 0, 0)],
)
def test_faults(history: Any, kind: FaultKind, place: int, violations: int) -> None:
    """The end of a replica is what leases are for; anything else that is wrong excuses what is shown meanwhile."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.add(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN), counter=int(kind), attempt=int(place))
    history.cut(BOB)
    pause(history, 12)
    assert history.drained().judge()["I27"].violations == violations


def test_what_is_excused_all_the_time_is_not_examined(history: Any) -> None:
    """A run with a fault from its beginning to its end says nothing about presence."""
    history.add(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    told_of(history, ANN, BOB, True)
    pause(history, 20)
    verdict = history.drained().judge()["I27"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


def test_after_a_fault_the_bound_begins_anew(history: Any) -> None:
    """What is shown more than the bound after the end of a fault is judged again."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.cut(BOB)
    history.add(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    history.add(Kind.FAULT, author=FOREIGN)
    pause(history, 8)
    assert history.judge()["I27"].violations == 0
    pause(history, 4)
    assert history.drained().judge()["I27"].violations == 1


@pytest.mark.parametrize("whose", [BOB, ANN])
def test_members_who_go_are_not_judged(history: Any, whose: int) -> None:
    """Who is no member any more, or watches no more, is not shown any changes."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.add(Kind.KICK, whose, conv=0)
    history.cut(BOB)
    pause(history, 12)
    assert history.drained().judge()["I27"].examined == 0


def test_a_torn_record_does_not_say_who_was_there(history: Any) -> None:
    """The end of a connection may be missing: its user is not judged."""
    connect(history, BOB, journal=1)
    told_of(history, ANN, BOB, False)
    pause(history, 20)
    history.torn = {1}
    verdict = history.drained().judge()["I27"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


def test_a_torn_record_may_lack_a_connection(history: Any) -> None:
    """A process that was killed while a device came back may not have written that down."""
    connect(history, BOB, journal=1)
    history.cut(BOB, journal=1)
    pause(history, 20)
    told_of(history, ANN, BOB, True)
    pause(history, 5)
    history.drained()
    assert history.judge()["I27"].violations == 1
    history.torn = {1}
    assert history.judge()["I27"].examined == 0


def test_a_torn_record_may_lack_the_first_connection(history: Any) -> None:
    """Of somebody who is on record nowhere nobody knows whether they were just coming."""
    told_of(history, ANN, BOB, True)
    history.add(Kind.PROBE, journal=1, author=FOREIGN)
    history.torn = {1}
    assert history.drained().judge()["I27"].examined == 0


def test_missing_journals(history: Any) -> None:
    """Nobody knows whose connections are on record elsewhere."""
    told_of(history, ANN, BOB, True)
    pause(history, 12)
    history.facts["journals_expected"] = 2
    verdict = history.drained().judge()["I27"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)


def test_without_a_promise_there_is_nothing_to_judge(new_history: Callable[..., Any]) -> None:
    """No bound, no verdict."""
    history = new_history()
    told_of(history, ANN, BOB, True)
    verdict = history.judge()["I27"]
    assert (verdict.promised, verdict.examined) == (False, 0)


# -- to the last nanosecond -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late_ns", "violations"), [(0, 0), (1, 1)])
def test_the_first_moment_that_is_too_late(history: Any, late_ns: int, violations: int) -> None:
    """Shown as offline exactly the bound after the end is in time."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.cut(BOB)
    told_of(history, ANN, BOB, False, t=now(history) + 7 * MS + late_ns)
    assert history.judge()["I27"].violations == violations


@pytest.mark.parametrize(("late_ns", "violations"), [(1, 0), (2, 1)])
def test_the_last_moment_of_an_excuse(history: Any, late_ns: int, violations: int) -> None:
    """A fault excuses what is shown until the bound after it, that moment included."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.cut(BOB)
    history.add(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN))
    history.add(Kind.FAULT, author=FOREIGN)
    told_of(history, ANN, BOB, False, t=now(history) + 7 * MS + late_ns)
    assert history.judge()["I27"].violations == violations


@pytest.mark.parametrize(("late_ns", "examined"), [(1, 1), (2, 2)])
def test_what_a_fault_excuses_from_its_first_moment_to_its_last(history: Any, late_ns: int, examined: int) -> None:
    """The first status begins with the fault and ends with the excuse, or a nanosecond later."""
    history.add(Kind.FAULT, author=FOREIGN, flags=int(Flag.OWN), t=now(history) + MS)
    told_of(history, ANN, BOB, True)
    history.add(Kind.FAULT, author=FOREIGN)
    told_of(history, ANN, BOB, False, t=now(history) + 7 * MS + late_ns)
    assert history.judge()["I27"].examined == examined


def test_until_all_was_waited_for(history: Any) -> None:
    """What is shown after DRAIN began is shown, until DRAINED: here for the last of nine milliseconds wrongly."""
    connect(history, BOB)
    told_of(history, ANN, BOB, True)
    history.cut(BOB)
    pause(history, 7)
    assert history.drained().judge()["I27"].violations == 1


def test_a_status_at_the_end_of_the_record(history: Any) -> None:
    """It was shown at least at that moment."""
    told_of(history, ANN, BOB, True)
    assert history.judge()["I27"].violations == 1


def test_of_whom_a_status_is_looked_at(history: Any) -> None:
    """Of everybody in the roster, the first one too; of nobody else, whoever has a number above theirs."""
    connect(history, BOB)
    connect(history, len(history.roster.user_of))
    told_of(history, BOB, ANN, True)
    told_of(history, BOB, len(history.roster.user_of), True)
    verdict = history.judge()["I27"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


@pytest.mark.parametrize(("between_ns", "violations"), [(0, 1), (1, 0)])
def test_a_connection_that_follows_at_once(history: Any, between_ns: int, violations: int) -> None:
    """Two of 6 ms, without a moment between them, are one of 12 ms: time enough to be shown as online."""
    connect(history, BOB)
    told_of(history, ANN, BOB, False)
    pause(history, 4)
    history.cut(BOB)
    connect(history, BOB, conn=9, t=now(history) - MS + between_ns)
    pause(history, 4)
    history.cut(BOB, conn=9)
    assert history.drained().judge()["I27"].violations == violations
