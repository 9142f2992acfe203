"""I43: a message sent on a connection that stays open is answered within the bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome

ANN, BOB, BOB2, EVE = range(4)
MS = 1_000_000
ON = int(Flag.OWN)


def asked(history: Any, end: int = 500) -> Any:
    """Ann joins at 1 ms and sends at 10 ms; her connection lasts until the run is drained at `end` ms."""
    history.join(ANN, t=MS).send(ANN, 1, t=10 * MS)
    return history.drained(t=end * MS) if end else history


def timed_out(history: Any, t: int) -> Any:
    return history.add(
        Kind.INFO, ANN, conn=1, conv=0, author=ANN, counter=1, attempt=1, t=t * MS, flags=int(Flag.TIMEOUT)
    )


def test_never_answered(new_history: Callable[..., Any]) -> None:
    """Also if the client gave up waiting: a violation, told in words."""
    history = timed_out(asked(new_history(answer_bound_s=0.1), 0), 300).drained(t=500 * MS)
    verdict = history.judge()["I43"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 1, 1)
    assert history.tell(verdict).sentence == (
        "#1 of ann, sent in room-1, was never answered, although its connection stayed open for more than 100 ms"
    )


@pytest.mark.parametrize(("at", "violations"), [(110, 0), (111, 1)])
def test_answered_later_than_promised(new_history: Callable[..., Any], at: int, violations: int) -> None:
    """An answer at the bound is good; one after it is late."""
    history = asked(new_history(answer_bound_s=0.1), 0).ack(ANN, 1, 1, t=at * MS).drained(t=500 * MS)
    verdict = history.judge()["I43"]
    assert (verdict.examined, verdict.violations) == (1, violations)
    if violations:
        assert "was answered later than 100 ms" in history.tell(verdict).sentence


@pytest.mark.parametrize(
    ("answer", "attempt"), [(Kind.OK, 1), (Kind.FAIL, 1), (Kind.OK, 0)], ids=["taken", "refused", "of no attempt"]
)
def test_any_answer_counts(new_history: Callable[..., Any], answer: Kind, attempt: int) -> None:
    """A refusal is an answer, and so is one that does not say which attempt it is for."""
    history = asked(new_history(answer_bound_s=0.1), 0)
    history.add(answer, ANN, conn=1, conv=0, author=ANN, counter=1, attempt=attempt, t=50 * MS).drained(t=500 * MS)
    assert (history.judge()["I43"].outcome, history.judge()["I43"].examined) == (Outcome.PASS, 1)


@pytest.mark.parametrize(
    "excused",
    [
        lambda h: h.cut(ANN, t=110 * MS),
        lambda h: h.leave(ANN, t=100 * MS),
        lambda h: h.add(Kind.KICK, ANN, conv=0, t=100 * MS),
        lambda h: h.add(Kind.FAULT, flags=ON, t=50 * MS),
    ],
    ids=["cut", "left", "removed", "fault"],
)
def test_what_excuses(new_history: Callable[..., Any], excused: Callable[[Any], Any]) -> None:
    """Nobody could have been answered, or something was wrong on purpose."""
    history = excused(asked(new_history(answer_bound_s=0.1), 0)).drained(t=500 * MS)
    assert history.judge()["I43"].violations == 0


def test_cut_after_the_bound(new_history: Callable[..., Any]) -> None:
    """What happens to the connection later excuses nothing."""
    history = asked(new_history(answer_bound_s=0.1), 0).cut(ANN, t=112 * MS).drained(t=500 * MS)
    assert history.judge()["I43"].violations == 1


def test_the_retry_waits_after_a_cut(new_history: Callable[..., Any]) -> None:
    """The first sending's connection was cut; the retry on a connection that lasts is not answered either."""
    history = asked(new_history(answer_bound_s=0.1), 0)
    history.add(Kind.INFO, ANN, conn=1, conv=0, author=ANN, counter=1, attempt=1, t=20 * MS).cut(ANN, t=21 * MS)
    history.join(ANN, conn=7, t=30 * MS).send(ANN, 1, attempt=2, conn=7, t=40 * MS).drained(t=500 * MS)
    assert history.judge()["I43"].violations == 1


@pytest.mark.parametrize(("joined_ns", "violations"), [(10 * MS, 1), (10 * MS + 1, 0)])
def test_joined_at_the_moment_of_the_sending(new_history: Callable[..., Any], joined_ns: int, violations: int) -> None:
    """The connection belonged to the conversation; a nanosecond later it did not yet."""
    history = new_history(answer_bound_s=0.1).join(ANN, t=joined_ns).send(ANN, 1, t=10 * MS).drained(t=500 * MS)
    assert history.judge()["I43"].violations == violations


@pytest.mark.parametrize(("at_ns", "violations"), [(310 * MS, 0), (310 * MS + 1, 1)])
def test_the_tester_stood_still(new_history: Callable[..., Any], at_ns: int, violations: int) -> None:
    """It may have recorded the answer 200 ms later than it came; what is later than that was late."""
    history = asked(new_history(answer_bound_s=0.1), 0).ack(ANN, 1, 1, t=at_ns).drained(t=500 * MS)
    infos = history.infos
    lag = {"p99": 1.0, "max": 200.0}
    history.infos = lambda: [replace(info, footer={**info.footer, "lag_ms": lag}) for info in infos()]
    assert history.judge()["I43"].violations == violations


def held_up(history: Any, ms: float) -> Any:
    """Let the footers state that the tester had more to read than it had read for `ms` in all."""
    infos = history.infos
    history.infos = lambda: [replace(info, footer={**info.footer, "held_up_ms": ms}) for info in infos()]
    return history


@pytest.mark.parametrize(("held_ms", "outcome"), [(1_999.0, Outcome.FAIL), (2_000.0, Outcome.UNKNOWN)])
def test_read_late_by_the_tester(new_history: Callable[..., Any], held_ms: float, outcome: Outcome) -> None:
    """An answer that came 2.1 s after its sending, where 0.1 s are promised: 2 s of them may be the tester's."""
    history = asked(new_history(answer_bound_s=0.1), 0).ack(ANN, 1, 1, t=2110 * MS).drained(t=9000 * MS)
    verdict = held_up(history, held_ms).judge()["I43"]
    assert verdict.outcome is outcome
    if outcome is Outcome.UNKNOWN:
        assert verdict.why.endswith("for 2.00 s in all, so it is not known whether 1 answers came in time")


@pytest.mark.parametrize(("held_ms", "outcome"), [(8_889.0, Outcome.FAIL), (8_890.0, Outcome.UNKNOWN)])
def test_unread_by_the_tester(new_history: Callable[..., Any], held_ms: float, outcome: Outcome) -> None:
    """What had not come almost 9 s after its sending may lie among bytes that were not read."""
    never = timed_out(asked(new_history(answer_bound_s=0.1), 0), 300).drained(t=9000 * MS)
    assert held_up(never, held_ms).judge()["I43"].outcome is outcome


def test_what_others_prove_stays_proven(new_history: Callable[..., Any]) -> None:
    """One answer may have been read late, the other came later than the tester can explain."""
    history = asked(new_history(answer_bound_s=0.1), 0).ack(ANN, 1, 1, t=2000 * MS)
    history.send(ANN, 2, t=2001 * MS)
    history.ack(ANN, 2, 2, t=6000 * MS).drained(t=9000 * MS)
    verdict = held_up(history, 3_000.0).judge()["I43"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)


@pytest.mark.parametrize("drained", [False, True])
def test_closed_by_the_tester_itself(new_history: Callable[..., Any], drained: bool) -> None:
    """When the run is drained the tester closes connections: that is no cut, and the message was not answered."""
    history = asked(new_history(answer_bound_s=0.1), 500 if drained else 0)
    history.add(Kind.INFO, ANN, conn=1, conv=0, author=ANN, counter=1, attempt=1, t=501 * MS)
    history.cut(ANN, own=drained, t=502 * MS)
    assert history.judge()["I43"].violations == drained


def test_drained_too_soon(new_history: Callable[..., Any]) -> None:
    """The tester closed before the bound had passed: nothing can be said, and that is said."""
    verdict = asked(new_history(answer_bound_s=0.1), 109).judge()["I43"]
    assert (verdict.outcome, verdict.why) == (Outcome.UNKNOWN, "1 messages had not been answered when the run ended")


def test_what_a_missing_part_may_hold(new_history: Callable[..., Any]) -> None:
    """The answer may stand in the end of the journal that is missing, or in another process's journal."""
    torn = asked(new_history(answer_bound_s=0.1))
    torn.torn = {0}
    assert torn.judge()["I43"].violations == 0
    other = asked(new_history(answer_bound_s=0.1)).ack(ANN, 1, 1, journal=1, t=20 * MS)
    assert other.judge()["I43"].violations == 0


def test_a_platform_that_does_not_acknowledge(new_history: Callable[..., Any]) -> None:
    """It promises no answers: an observation."""
    verdict = asked(new_history(answer_bound_s=0.1, acknowledges=False)).judge()["I43"]
    assert not verdict.promised
