"""I28: availability during a rolling deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Batch, Flag, Kind, Outcome
from earwitness.checks.history.record import FaultKind, Place
from earwitness.checks.judge import judge

ANN, BOB = 0, 1
S = 1_000_000_000
ON = int(Flag.OWN)
REPLACE, RESTART, KILL = int(FaultKind.REPLACE), int(FaultKind.RESTART), int(FaultKind.KILL)


@pytest.fixture
def deployed(new_history: Callable[..., Any]) -> Callable[..., Any]:
    """A backend is replaced from 10 s to 14 s; bounds: 3 s to be served, 2 s to be back, a tenth of errors."""

    def make(kind: int = REPLACE, place: int = int(Place.BACKEND), **promises: Any) -> Any:
        promised = {"unavailable_s": 3.0, "reconnect_s": 2.0, "deploy_error_ratio": 0.1, **promises}
        history = new_history(**promised)
        return fault(fault(history, 10, ON, kind, place=place), 14, 0, kind, place=place)

    return make


def fault(
    history: Any, at: float, flags: int, kind: int, author: int = 1 << 31, place: int = int(Place.BACKEND)
) -> Any:
    slots = {"counter": kind, "attempt": place, "author": author}
    return history.add(Kind.FAULT, journal=1, flags=flags, t=int(at * S), **slots)


def away(history: Any, lost: float, back: float | None, code: int = 1012) -> Any:
    history.cut(BOB, counter=code, t=int(lost * S))
    return history if back is None else history.add(Kind.CONNECT, BOB, conn=9, t=int(back * S))


def drain(history: Any, at: float) -> Any:
    history.add(Kind.PHASE, counter=2, t=int(at * S))
    return history.add(Kind.PHASE, counter=3, t=int(at * S) + 1)


def verdict(history: Any) -> Any:
    return history.judge()["I28"]


def findings(history: Any) -> list[str]:
    return [found.what for found in verdict(history).findings]


def test_a_deployment_that_nobody_suffers_from(deployed: Callable[..., Any]) -> None:
    """Ann is served all the time, Bob is told to come back and does."""
    history = deployed().send(ANN, 1, t=11 * S).ack(ANN, 1, 1, t=12 * S)
    said = verdict(away(history, 12, 13.5))
    assert (said.outcome, said.examined, said.violations) == (Outcome.PASS, 2, 0)
    assert said.facts == {"deployments": 1, "cut": 1, "errors": 0, "answers": 1}


def test_a_connection_that_ends_without_a_word(deployed: Callable[..., Any]) -> None:
    """Graceful means a close code; of a process that is killed nobody expects one, nor outside a deployment."""
    history = away(deployed(), 12, 12.5, code=1006)
    assert findings(history) == ["cut"]
    assert history.tell(verdict(history)).sentence == (
        "bob on tab 1 was disconnected without a close code while a service was replaced"
    )
    assert findings(away(deployed(kind=RESTART), 12, 12.5, code=1006)) == ["cut"]
    assert verdict(away(deployed(kind=KILL), 12, 12.5, code=1006)).examined == 0
    assert findings(away(deployed(), 9, 9.5, code=1006)) == []
    own = deployed().cut(BOB, own=True, counter=1006, t=12 * S)
    assert findings(own) == []


@pytest.mark.parametrize(("back", "found"), [(14.0, []), (14.1, ["away"]), (None, ["away"])])
def test_who_is_cut_off_is_back_in_time(deployed: Callable[..., Any], back: float | None, found: list[str]) -> None:
    """Two seconds, or never."""
    assert [what for what in findings(drain(away(deployed(), 12, back), 20)) if what == "away"] == found


def test_drain_ends_the_duty_to_be_back(deployed: Callable[..., Any]) -> None:
    """Who would still have had time is nobody's fault, even if nothing says when the run ended."""
    assert findings(drain(away(deployed(), 12, None), 13.9)) == []
    assert findings(away(deployed(), 12, None)) == []
    assert findings(away(deployed(reconnect_s=None), 12, 14.5)) == []


@pytest.mark.parametrize(("answered", "found"), [(14.0, []), (14.1, ["unserved"])])
def test_waits_for_success(deployed: Callable[..., Any], answered: float, found: list[str]) -> None:
    """Three seconds from the first sending without success; an error is none, more sendings do not begin anew."""
    history = deployed().send(ANN, 1, t=11 * S).send(ANN, 2, t=13 * S)
    history._message(Kind.FAIL, ANN, ANN, 1, 0, aux=503, t=int(13.5 * S))
    assert [w for w in findings(history.ack(ANN, 2, 1, t=int(answered * S))) if w == "unserved"] == found


@pytest.mark.parametrize(("code", "found"), [(399, True), (400, False), (429, False), (499, False), (500, True)])
def test_who_is_refused_for_a_reason_is_served(deployed: Callable[..., Any], code: int, found: bool) -> None:
    """Who has used up the budget waits for the budget, not for the platform; then it begins anew."""
    history = deployed().send(ANN, 1, t=11 * S)
    history._message(Kind.FAIL, ANN, ANN, 1, 0, aux=code, t=int(11.5 * S))
    history.send(ANN, 2, t=int(11.6 * S)).ack(ANN, 2, 1, t=int(14.5 * S))
    assert ("unserved" in findings(history)) is found


def test_waits_that_do_not_count(deployed: Callable[..., Any]) -> None:
    """Before the deployment, after it, or while something else was wrong too."""
    assert findings(deployed().send(ANN, 1, t=1 * S).ack(ANN, 1, 1, t=9 * S)) == []
    assert findings(deployed().send(ANN, 1, t=15 * S).ack(ANN, 1, 1, t=19 * S)) == []
    both = fault(fault(deployed(), 12, ON, KILL, 1 << 31 | 1), 13, 0, KILL, 1 << 31 | 1)
    assert findings(both.send(ANN, 1, t=11 * S).ack(ANN, 1, 1, t=19 * S)) == []


def test_a_wait_that_never_ends(deployed: Callable[..., Any]) -> None:
    """Until DRAIN it was long enough, or it was not."""
    assert findings(drain(deployed().send(ANN, 1, t=11 * S), 14.5)) == ["unserved"]
    assert findings(drain(deployed().send(ANN, 1, t=11 * S), 13.5)) == []


def test_being_connected_is_success_for_who_asks_nothing(deployed: Callable[..., Any]) -> None:
    """Bob was cut off, is back late for one promise but in time for the other; Ann has asked meanwhile and waits on."""
    assert findings(away(deployed(reconnect_s=None), 12, 14.9)) == []
    assert findings(away(deployed(reconnect_s=None), 12, 15.1)) == ["unserved"]
    asking = deployed(reconnect_s=None).send(BOB, 1, t=11 * S)
    assert findings(away(asking, 12, 12.5).ack(BOB, 1, 1, t=15 * S)) == ["unserved"]


@pytest.mark.parametrize(("bad", "violations"), [(1, 0), (2, 1)])
def test_errors(deployed: Callable[..., Any], bad: int, violations: int) -> None:
    """Of ten answers meanwhile one may be an error. What the platform refuses for a reason is none."""
    history = deployed().send(ANN, 1, t=10 * S)
    for n in range(9 - bad):
        history.add(Kind.PROBE, ANN, counter=200, t=int((11 + n / 100) * S))
    for n in range(bad):
        history.add(Kind.PROBE, ANN, counter=503, t=int((12 + n / 100) * S))
    history._message(Kind.FAIL, ANN, ANN, 1, 0, aux=429, t=int(12.5 * S))
    history.add(Kind.PROBE, ANN, counter=503, t=30 * S)
    said = verdict(history)
    assert (said.violations, said.facts["errors"], said.facts["answers"]) == (violations, bad, 10)


def test_nothing_was_deployed(new_history: Callable[..., Any], deployed: Callable[..., Any]) -> None:
    """Without a deployment nothing is examined; without a promise it is not one."""
    quiet = new_history(unavailable_s=3.0).send(ANN, 1, t=1 * S).ack(ANN, 1, 1, t=9 * S)
    assert (verdict(quiet).outcome, verdict(quiet).examined) == (Outcome.UNKNOWN, 0)
    assert not verdict(deployed(unavailable_s=None)).promised


def test_lag_makes_waits_doubtful_and_nothing_else(deployed: Callable[..., Any]) -> None:
    """With a tester that was late itself a long wait proves nothing; a missing close code does."""
    history = deployed().send(ANN, 1, t=11 * S).ack(ANN, 1, 1, t=19 * S)
    history.facts = {"lag_bound_ms": 0.5}
    assert (verdict(history).outcome, verdict(history).violations) == (Outcome.UNKNOWN, 0)
    assert findings(away(history, 12, 12.5, code=1006)) == ["cut"]


# -- to the last nanosecond, and what is counted once -----------------------------------------------------------------


@pytest.mark.parametrize(("t", "found"), [(14 * S, []), (14 * S + 1, ["unserved"])])
def test_waited_until_drain(deployed: Callable[..., Any], t: int, found: list[str]) -> None:
    """Three seconds from 11 s on are allowed, to the nanosecond; DRAIN ends it, not DRAINED."""
    history = deployed().send(ANN, 1, t=11 * S).add(Kind.PHASE, counter=2, t=t)
    assert findings(history.add(Kind.PHASE, counter=3, t=15 * S)) == found


@pytest.mark.parametrize(
    ("sent", "served", "found"),
    [
        (11 * S, 14 * S, []),
        (11 * S, 14 * S + 1, ["unserved"]),
        (S, 10 * S - 1, []),
        (S, 10 * S, ["unserved"]),
        (14 * S, 18 * S, ["unserved"]),
        (14 * S + 1, 18 * S, []),
    ],
)
def test_a_wait_that_touches_a_deployment(
    deployed: Callable[..., Any], sent: int, served: int, found: list[str]
) -> None:
    """It was on from 10 to 14 s."""
    assert findings(deployed().send(ANN, 1, t=sent).ack(ANN, 1, 1, t=served)) == found


@pytest.mark.parametrize(("late_ns", "violations"), [(0, 0), (1, 1)])
def test_clocks_of_two_hosts(deployed: Callable[..., Any], late_ns: int, violations: int) -> None:
    """What they may differ by, here 10 ms, comes on top."""
    history = deployed().send(ANN, 1, t=11 * S).ack(ANN, 1, 1, t=14 * S + 10_000_000 + late_ns)
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    infos = [
        replace(info, meta={"host": host, "clock_offset_ms": 5})
        for info, host in zip(history.infos(), "ab", strict=True)
    ]
    verdicts = judge(history.roster, history.contract, batches, infos)
    assert [v.violations for v in verdicts if v.id == "I28"] == [violations]


@pytest.mark.parametrize(
    ("lost", "other", "bound_ms", "found"),
    [
        (10.002, None, 1, 1),  # the deployment had surely begun
        (10.002, None, 3, 0),
        (13.998, None, 3, 0),  # and perhaps was over
        (12.0, 12.002, 1, 1),  # before a database was killed
        (12.0, 12.002, 3, 0),
    ],
)
def test_a_cut_near_a_fault_that_another_host_recorded(
    deployed: Callable[..., Any], lost: float, other: float | None, bound_ms: int, found: int
) -> None:
    """The deployment must certainly have been on, and another fault certainly not."""
    history = away(deployed(), lost, lost + 0.1, code=1006)
    if other is not None:
        fault(fault(history, other, ON, KILL, author=7 << 28, place=0), other + 1, 0, KILL, author=7 << 28, place=0)
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    infos = [
        replace(info, meta={"clock": host, "clock_bound_ns": bound})
        for info, host, bound in zip(history.infos(), "ab", (0, bound_ms * 1_000_000), strict=True)
    ]
    verdicts = judge(history.roster, history.contract, batches, infos)
    assert [v.violations for v in verdicts if v.id == "I28"] == [found]


@pytest.mark.parametrize(("t", "examined"), [(10 * S - 1, 0), (10 * S, 1), (14 * S, 1), (14 * S + 1, 0)])
def test_who_talked_meanwhile(deployed: Callable[..., Any], t: int, examined: int) -> None:
    """From the first moment of a deployment to its last."""
    assert verdict(deployed().send(ANN, 1, t=t)).examined == examined


def test_after_success_a_wait_begins_anew(deployed: Callable[..., Any]) -> None:
    """Also for who is cut off and asks for nothing; a second acknowledgement ends no wait."""
    served = deployed().send(ANN, 1, t=int(10.5 * S)).ack(ANN, 1, 1, t=12 * S).ack(ANN, 1, 1, t=int(13.5 * S))
    assert findings(served.send(ANN, 2, t=int(13.6 * S)).ack(ANN, 2, 2, t=int(15.5 * S))) == []
    quiet = deployed().send(BOB, 1, t=int(10.5 * S)).ack(BOB, 1, 1, t=11 * S)
    assert findings(drain(away(quiet, 12, 12.5), 20)) == []


def test_the_first_connection_ends_the_absence(deployed: Callable[..., Any]) -> None:
    """A later one has nothing to do with it; the loss and the return are shown."""
    history = away(deployed(), 12, 13.5).add(Kind.CONNECT, BOB, conn=10, t=20 * S)
    assert findings(history) == []
    late = verdict(away(deployed(), 12, 14.5))
    assert [finding.records for finding in late.findings] == [((0, 1), (0, 2))]


def test_a_database_that_is_replaced_is_an_outage(deployed: Callable[..., Any]) -> None:
    """It is no deployment."""
    assert verdict(deployed(place=0).send(ANN, 1, t=11 * S)).examined == 0


def test_what_is_an_error(deployed: Callable[..., Any]) -> None:
    """500 is, of a probe or a refusal; close codes are not; what was answered in the 100 ms before does not count."""
    history = deployed(deploy_error_ratio=1.0).send(ANN, 1, t=11 * S)
    history.add(Kind.PROBE, ANN, counter=500, t=11 * S).add(Kind.PROBE, ANN, counter=500, t=10 * S - 1)
    for aux in (500, 1000):
        history._message(Kind.FAIL, ANN, ANN, 1, 0, aux=aux, t=12 * S)
    facts = verdict(history).facts
    assert (facts["errors"], facts["answers"]) == (2, 3)


def test_each_answer_counts_once(deployed: Callable[..., Any]) -> None:
    """However the journals are cut, and whatever was counted in the same places before."""
    history = deployed()
    for journal in (0, 2):
        for t in (S * 995 // 100, S * 1005 // 100):
            history.add(Kind.PROBE, ANN, counter=200, t=t, journal=journal)
            history.add(Kind.PROBE, ANN, counter=503, t=t, journal=journal)
    arrays = history.arrays()
    cut = [Batch(1, arrays[1]), Batch(0, arrays[0][:1]), Batch(0, arrays[0][1:]), Batch(2, arrays[2])]
    whole = [Batch(journal, records) for journal, records in arrays.items()]
    for batches in (cut, whole):
        facts = history.judge(batches)["I28"].facts
        assert (facts["errors"], facts["answers"]) == (2, 4)


def test_an_answer_in_the_first_moments(new_history: Callable[..., Any]) -> None:
    """Time begins anywhere, also just now."""
    history = fault(new_history(unavailable_s=3.0), 0, ON, REPLACE).add(Kind.PROBE, ANN, counter=200, t=5)
    assert verdict(history).facts["answers"] == 1


def test_who_is_not_in_the_roster(deployed: Callable[..., Any]) -> None:
    """The first client after all that there are: nobody's wait."""
    said = verdict(away(deployed(), 12, 12.5).add(Kind.CONNECT, 4, conn=11, t=13 * S))
    assert (said.outcome, said.examined) == (Outcome.PASS, 1)


def test_as_much_lag_as_is_allowed(deployed: Callable[..., Any]) -> None:
    """A p99 of exactly the bound leaves no doubt."""
    history = deployed().send(ANN, 1, t=11 * S).ack(ANN, 1, 1, t=19 * S)
    history.facts = {"lag_bound_ms": 1.0}
    assert findings(history) == ["unserved"]
