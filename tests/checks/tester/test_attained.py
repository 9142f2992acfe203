"""H4: the plan compared with what was started, connected, done, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Batch, Judge, Kind, Outcome, Verdict

ANN, BOB = 0, 1
ALL_DONE = {
    "users": 100,
    "others": 0,
    "connected": 100,
    "acted": 100,
    "beyond_plan": 0,
    "actions_planned": 400,
    "actions_started": 400,
}


@pytest.fixture
def attained(healthy_history: Callable[..., Any]) -> Callable[..., Verdict]:
    """`attained({"acted": 90}, users_planned=100)`: H4 about one load process whose counts differ in this."""

    def judged(load: dict[str, Any] | None = None, lag_ms: Any = None, behind_ms: float = 0.0, **facts: Any) -> Verdict:
        history = healthy_history()
        (info,) = history.infos()
        footer = {
            "lag_ms": lag_ms or {"p99": 1.0, "max": 9.0},
            "load": {**ALL_DONE, **(load or {})},
            "behind_ms": behind_ms,
        }
        judge = Judge(history.roster, history.contract)
        judge.step(Batch(0, history.arrays()[0]))
        verdicts = judge.finish([replace(info, name="load-1", footer=footer)], facts)
        return next(verdict for verdict in verdicts if verdict.id == "H4")

    return judged


def test_the_plan_was_attained(attained: Callable[..., Verdict]) -> None:
    """Everything that was planned happened: nothing is to be said."""
    verdict = attained(users_planned=100)
    assert (verdict.outcome, verdict.why) == (Outcome.PASS, "")


@pytest.mark.parametrize(
    ("load", "why"),
    [
        ({"users": 94, "connected": 94, "acted": 94}, "94 of 100 planned users were started"),
        ({"connected": 94, "acted": 94}, "94 of 100 users connected"),
        ({"acted": 94}, "94 of 100 users did anything after they had connected"),
        ({"beyond_plan": 1}, "1 users were started beyond the plan of this run and did nothing"),
        ({"actions_started": 84}, "84 of 400 planned actions were started"),
        ({"left_s": 12.2}, "load process load-1 left the run after 12 s, before its end"),
    ],
)
def test_a_shortfall(attained: Callable[..., Verdict], load: dict[str, Any], why: str) -> None:
    """Less than 95 % of any part of the plan is UNKNOWN, with the two numbers."""
    verdict = attained(load, users_planned=100)
    assert verdict.outcome is Outcome.UNKNOWN
    assert why in verdict.why


@pytest.mark.parametrize(
    "load", [{"users": 95, "connected": 95, "acted": 95}, {"actions_started": 380}], ids=["users", "actions"]
)
def test_the_least_share_is_enough(attained: Callable[..., Verdict], load: dict[str, Any]) -> None:
    """Exactly 95 % of the users, or of the actions, is the planned load."""
    verdict = attained(load, users_planned=100)
    assert (verdict.outcome, verdict.why) == (Outcome.PASS, "")


def test_almost_all_is_said_and_passes(attained: Callable[..., Verdict]) -> None:
    """From 95 % on it passes, and the number is told all the same."""
    verdict = attained({"connected": 95, "acted": 95}, users_planned=100)
    assert (verdict.outcome, verdict.why) == (Outcome.PASS, "95 of 100 users connected")


def test_users_of_other_classes_count_as_started(attained: Callable[..., Verdict]) -> None:
    """HttpUser classes beside chat users are part of the planned users, and need no socket."""
    mixed = {"users": 75, "others": 25, "connected": 75, "acted": 75}
    assert attained(mixed, users_planned=100).outcome is Outcome.PASS
    assert "80 of 100 planned users" in attained({**mixed, "others": 5}, users_planned=100).why


@pytest.mark.parametrize(
    ("by", "said"), [("SIGTERM", "interrupted by SIGTERM after 6 of 60 s"), ("", "stopped after 6 of 60 s")]
)
def test_an_interrupted_run(attained: Callable[..., Verdict], by: str, said: str) -> None:
    """A run that ended before its planned time is never PASS."""
    verdict = attained(interrupted={"after_s": 6.2, "of_s": 60.0, "by": by})
    assert (verdict.outcome, verdict.why) == (Outcome.UNKNOWN, said)


@pytest.mark.parametrize(("longest", "outcome"), [(2000.0, Outcome.PASS), (2000.5, Outcome.UNKNOWN)])
def test_the_generator_stood_still(attained: Callable[..., Verdict], longest: float, outcome: Outcome) -> None:
    """A load process that did nothing for more than two seconds has not put the planned load on."""
    verdict = attained(lag_ms={"p99": 1.0, "max": longest})
    assert verdict.outcome is outcome
    assert ("stalled for 2.0 s" in verdict.why) == (outcome is Outcome.UNKNOWN)


def test_messages_that_were_to_be_sent(attained: Callable[..., Verdict]) -> None:
    """Too little of what was offered is UNKNOWN; the least share can be set."""
    assert attained(messages_offered=100, messages_sent=90).outcome is Outcome.UNKNOWN
    assert attained(messages_offered=100, messages_sent=90, load_attained_min=0.9).outcome is Outcome.PASS


def test_lag_is_only_reported(attained: Callable[..., Verdict]) -> None:
    """Loop lag beyond its bound spoils what uses time, not this."""
    slow = attained(lag_ms={"p99": 500.0, "max": 900.0})
    assert slow.outcome is Outcome.PASS
    assert "500 ms" in slow.why
    assert attained(lag_ms={"p99": 100.0, "max": 100.0}).why == ""


def test_a_record_without_counts(new_history: Callable[..., Any]) -> None:
    """What another client recorded states no counts: then the logins are compared with the plan."""
    history = new_history().send(ANN, 1)
    for client in (ANN, BOB):
        history.add(Kind.LOGIN, client=client, counter=200)
    (info,) = history.infos()

    def judged(footer: dict[str, Any], **facts: Any) -> Verdict:
        judge = Judge(history.roster, history.contract)
        judge.step(Batch(0, history.arrays()[0]))
        return next(v for v in judge.finish([replace(info, footer=footer)], facts) if v.id == "H4")

    footer = {"lag_ms": {"p99": 1.0}}
    assert judged(footer, users_planned=2).outcome is Outcome.PASS
    assert judged(footer, users_planned=4, load_attained_min=0.5).outcome is Outcome.PASS
    assert "2 of 100 users connected" in judged(footer, users_planned=100).why
    assert judged({}).outcome is Outcome.UNKNOWN


def test_behind_in_reading(attained: Callable[..., Verdict]) -> None:
    """A tester that could not read as fast as the platform sent says so: late answers may be its own fault."""
    assert attained(behind_ms=1_900.0).outcome is Outcome.PASS
    assert attained(behind_ms=2_000.0).outcome is Outcome.PASS
    verdict = attained(behind_ms=19_200.0)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "was up to 19.2 s behind in reading what came" in verdict.why
