"""I36, I37, I38, I39: rate budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Kind, Outcome
from earwitness.checks.history.record import NOBODY, NONE, SPOOFED, Flag, Place, Way
from earwitness.checks.resources.identity import KEY_INTEGRITY
from earwitness.checks.resources.limits import NEVER_LESS, NEVER_MORE
from earwitness.checks.resources.retry import RETRY_AFTER

ANN, BOB, BOB2, EVE = range(4)
MS = 1_000_000
CHECKS = (NEVER_MORE, NEVER_LESS, RETRY_AFTER, KEY_INTEGRITY)
BUDGET = {"rate_per_s": 10.0, "rate_burst": 4.0, "retry_after": True}


def ask(
    history: Any, client: int, at: int, status: int = 200, *, took: int = 1, left: int | None = None,
    wait: int | None = None, token: int = 1, spoofed: bool = False,
) -> Any:  # fmt: skip
    """One request: sent at `at` ms, answered `took` ms later; `wait` ms of Retry-After (1 s with 429), `left` stated
    (something with 200)."""
    if status == 429:
        wait = 1000 if wait is None else wait
    flags = Flag.ACCEPTED if status == 200 else Flag.REFUSED if status else 0
    return history.add(
        Kind.REQUEST, client, t=(at + took) * MS, seq=at * MS, author=client, counter=token, attempt=int(Place.BACKEND),
        proc=int(Way.HEADER) | (SPOOFED if spoofed else 0), size=status, flags=int(flags),
        aux=NONE if wait is None or wait < 0 else wait, digest=NOBODY if left is None else left,
    )  # fmt: skip


def outcome(history: Any, check: str) -> tuple[Outcome, int, int]:
    verdict = history.judge()[check]
    return verdict.outcome, verdict.examined, verdict.violations


def spend(history: Any, client: int, count: int, at: int = 0, left: int = 4, **slots: Any) -> Any:
    """`count` requests a millisecond after the other, granted, with what is left stated."""
    for n in range(count):
        ask(history, client, at + 2 * n, left=max(0, left - 1 - n), **slots)
    return history


@pytest.mark.parametrize(("count", "violations"), [(4, 0), (5, 1), (7, 3)])
def test_never_more(new_history: Callable[..., Any], count: int, violations: int) -> None:
    """A bucket of four and ten a second: within some milliseconds four are granted, no fifth."""
    history = spend(new_history(**BUDGET), ANN, count)
    verdict = history.judge()["I36"]
    assert (verdict.violations, verdict.outcome) == (violations, Outcome.FAIL if violations else Outcome.PASS)
    if count == 7:
        assert (
            history.tell(verdict).sentence
            == "ann was granted 7 requests and messages within 13 ms; the budget allows 4"
        )
        assert verdict.findings[0].records == ((0, 1), (0, 7))


@pytest.mark.parametrize(("at", "violations"), [(97, 1), (102, 0)])
def test_what_was_refilled_may_be_granted(new_history: Callable[..., Any], at: int, violations: int) -> None:
    """A tenth of a second after the first sending the fifth is there."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, at, left=0)
    assert outcome(history, "I36")[2] == violations


def test_messages_and_requests_share_a_budget(new_history: Callable[..., Any]) -> None:
    """Two requests and three messages are five; a message that was refused or never answered is none."""
    history = spend(new_history(**BUDGET), ANN, 2)
    for n in (1, 2):
        history.send(ANN, n, t=(10 + n) * MS).ack(ANN, n, n, t=(20 + n) * MS)
    history.send(ANN, 3, t=30 * MS).send(ANN, 4, t=31 * MS)
    history.add(Kind.FAIL, ANN, conn=1, author=ANN, counter=4, conv=0, attempt=1, aux=429, size=70, t=32 * MS)
    assert outcome(history, "I36")[2] == 0
    history.ack(ANN, 3, 3, t=33 * MS)
    assert outcome(history, "I36")[2] == 1


def test_a_slow_network_proves_nothing(new_history: Callable[..., Any]) -> None:
    """Five whose answers took a tenth of a second may have been decided a tenth of a second apart."""
    history = new_history(**BUDGET)
    for n in range(5):
        ask(history, ANN, 2 * n, took=101, left=3)
    assert outcome(history, "I36")[2] == 0


def test_what_the_platform_does_not_call_charged_is_not(new_history: Callable[..., Any]) -> None:
    """Answers that do not say what is left may have been free; users, not devices, have budgets."""
    history = new_history(**BUDGET)
    for n in range(9):
        ask(history, ANN, n)
    assert outcome(history, "I36") == (Outcome.UNKNOWN, 0, 0)
    for client in (BOB, BOB2):
        spend(history, client, 3, at=20, token=client)
    assert (outcome(history, "I36")[2], outcome(history, "I39")[2]) == (0, 2)


def test_a_window_instead_of_a_bucket(new_history: Callable[..., Any]) -> None:
    """Four in any 100 ms: a fifth is too much within it, whatever the bucket would say, and right after it."""
    for at, violations in ((97, 1), (101, 0)):
        history = new_history(**BUDGET | {"rate_window_s": 0.1, "rate_per_s": None})
        spend(history, ANN, 4)
        ask(history, ANN, at, took=2, left=0)
        assert outcome(history, "I36")[2] == violations
        assert outcome(history, "I38")[2] == 0


@pytest.mark.parametrize(("used", "violations"), [(4, 0), (3, 1), (1, 1)])
def test_never_less(new_history: Callable[..., Any], used: int, violations: int) -> None:
    """Who has used three of four is refused wrongly, who has used all four rightly."""
    history = ask(spend(new_history(**BUDGET), ANN, used), ANN, 10, 429)
    verdict = history.judge()["I37"]
    assert (verdict.examined, verdict.violations) == (1, violations)
    if used == 1:
        assert history.tell(verdict).sentence == "ann was refused for the budget with at least 3 left of it"


def test_what_may_have_been_charged_counts(new_history: Callable[..., Any]) -> None:
    """An answer that is missing, a probe, a read of history and an unanswered message may each have taken one."""
    history = spend(new_history(**BUDGET), ANN, 1)
    ask(history, ANN, 3, 0)
    history.add(Kind.PROBE, ANN, t=6 * MS, aux=1000, counter=200)
    history.send(ANN, 1, t=7 * MS)
    ask(history, ANN, 10, 429)
    assert outcome(history, "I37") == (Outcome.PASS, 1, 0)
    fewer = spend(new_history(**BUDGET), ANN, 1)
    fewer.add(Kind.READ, ANN, conv=0, t=6 * MS, aux=1000, counter=150, seq=3)
    assert outcome(ask(fewer, ANN, 10, 429), "I37") == (Outcome.FAIL, 1, 1)
    assert outcome(fewer.send(ANN, 1, t=7 * MS), "I37") == (Outcome.PASS, 1, 0)


def test_nothing_is_known_of_a_budget_before_its_first_word(new_history: Callable[..., Any]) -> None:
    """A budget may have been used before; it is full again after what it takes to fill."""
    first = ask(new_history(**BUDGET), ANN, 0, 429)
    assert outcome(first, "I37") == (Outcome.UNKNOWN, 0, 0)
    for at, violations in ((90, 0), (110, 1)):
        again = ask(ask(new_history(**BUDGET), ANN, 0, 429), ANN, at, 429)
        assert outcome(again, "I37") == (Outcome.FAIL if violations else Outcome.PASS, 1, violations)


@pytest.mark.parametrize(
    ("at", "wait", "status", "examined", "violations"),
    [
        (1020, None, 200, 2, 0),
        (1020, None, 429, 3, 1),
        (500, None, 429, 2, 0),
        (1020, -1, 200, 1, 1),
        (5020, 5000, 200, 2, 1),
    ],
)
def test_retry_after(
    new_history: Callable[..., Any], at: int, wait: int | None, status: int, examined: int, violations: int
) -> None:
    """Who comes back after the stated second is served; who comes earlier was not promised that. It must be stated, and
    for one request five seconds are too long where ten a second come back."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429, wait=wait)
    ask(history, ANN, at, status, left=3 if status == 200 else None)
    verdict = history.judge()["I38"]
    assert (verdict.examined, verdict.violations) == (examined, violations)
    if not violations:
        assert verdict.outcome is (Outcome.PASS if status == 200 else Outcome.UNKNOWN)
    if (at, status) == (1020, 429):
        assert history.tell(verdict).sentence == (
            "ann was refused, retried after the 1000 ms that the refusal had stated, and was refused again"
        )
        assert verdict.findings[0].records == ((0, 5), (0, 6))


def test_who_asked_for_more_meanwhile_was_promised_nothing(new_history: Callable[..., Any]) -> None:
    """What else was on its way may have taken what had come back; not promised, nothing is judged."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429, wait=100)
    for n in range(4):
        ask(history, ANN, 30 + n)
    assert outcome(ask(history, ANN, 120, 429), "I38")[2] == 0
    silent = spend(new_history(**BUDGET | {"retry_after": False}), ANN, 4)
    assert not ask(silent, ANN, 10, 429, wait=-1).judge()["I38"].promised


@pytest.mark.parametrize(("left", "what"), [(0, ""), (1, "overstated"), (3, "overstated")])
def test_what_is_left_is_not_overstated(new_history: Callable[..., Any], left: int, what: str) -> None:
    """After four of four, nothing is left."""
    history = ask(spend(new_history(**BUDGET), ANN, 3), ANN, 6, left=left)
    found = history.judge()["I38"].findings
    assert [finding.what for finding in found] == ([what] if what else [])


@pytest.mark.parametrize(("left", "what"), [(2, ""), (1, "understated")])
def test_what_is_left_is_not_understated(new_history: Callable[..., Any], left: int, what: str) -> None:
    """After two of four, two are left."""
    history = ask(spend(new_history(**BUDGET), ANN, 1), ANN, 6, left=left)
    assert [f.what for f in history.judge()["I38"].findings] == ([what] if what else [])


@pytest.mark.parametrize("slots", [{"spoofed": True}, {"token": 2}])
def test_a_disguise_does_not_widen(new_history: Callable[..., Any], slots: dict[str, Any]) -> None:
    """Four as herself, three more from another address or with another token: I39, and not I36."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429)
    for n in range(3):
        ask(history, ANN, 20 + 2 * n, left=3 - n, **slots)
    verdict = history.judge()["I39"]
    assert (verdict.outcome, verdict.violations, verdict.facts["disguised"]) == (Outcome.FAIL, 3, 3)
    assert outcome(history, "I36")[2] == 0
    assert history.tell(verdict).sentence == (
        "ann was granted 7 requests and messages within 25 ms by other addresses or tokens; the budget allows 4"
    )


def test_a_new_connection_does_not_widen(new_history: Callable[..., Any]) -> None:
    """Messages on a second connection are the same person's."""
    history = new_history(**BUDGET)
    for n in range(1, 7):
        history.send(ANN, n, t=n * MS, conn=1 if n < 5 else 2)
        history.ack(ANN, n, n, t=(10 + n) * MS, conn=1 if n < 5 else 2)
    assert (outcome(history, "I36")[2], outcome(history, "I39")[2]) == (2, 0)


def test_disguises_that_were_refused_pass(new_history: Callable[..., Any]) -> None:
    """Refused as herself, refused in disguise; without such an attempt the neighbours alone are judged."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429)
    ask(history, EVE, 20, left=3)
    assert outcome(history, "I39") == (Outcome.PASS, 1, 0)
    assert outcome(ask(history, ANN, 22, 429, spoofed=True), "I39") == (Outcome.PASS, 2, 0)


def test_a_neighbour_does_not_pay(new_history: Callable[..., Any]) -> None:
    """Eve, who has used one, is refused after Ann has used up hers; before that it would be I37's alone."""
    history = ask(spend(new_history(**BUDGET), EVE, 1), EVE, 3, 429)
    ask(spend(history, ANN, 4, at=4), ANN, 20, 429)
    assert (outcome(history, "I37")[2], outcome(history, "I39")[2]) == (1, 0)
    ask(history, EVE, 30, 429)
    verdict = history.judge()["I39"]
    assert (verdict.violations, verdict.facts["neighbours"]) == (1, 1)
    assert history.tell(verdict).sentence == (
        "eve was refused with at least 3 left of the budget, while others had used up theirs"
    )


def test_without_a_budget_nothing_is_judged(new_history: Callable[..., Any]) -> None:
    """No promise, no verdict; several hosts whose clocks were not compared, none either."""
    for check in ("I36", "I37", "I38", "I39"):
        verdict = spend(new_history(), ANN, 9).judge()[check]
        assert (verdict.outcome, verdict.promised) == (Outcome.UNKNOWN, False)


# -- exactly at a limit: in a window, figures are whole numbers ------------------------------------------------------

WINDOW = BUDGET | {"rate_window_s": 0.1, "rate_per_s": None}


@pytest.mark.parametrize(("count", "examined"), [(2, 0), (3, 1), (4, 2)])
def test_a_window_that_is_just_full(new_history: Callable[..., Any], count: int, examined: int) -> None:
    """Four of four are not too much, and nothing is shown; more than two make it worth looking."""
    verdict = spend(new_history(**WINDOW), ANN, count).judge()["I36"]
    assert (verdict.examined, verdict.violations, verdict.findings) == (examined, 0, ())


def test_the_last_one_of_a_window_is_owed(new_history: Callable[..., Any]) -> None:
    """Refused with exactly one left: wrong, and shown; so is a neighbour's."""
    history = ask(spend(new_history(**WINDOW), ANN, 4), ANN, 10, 429)
    ask(spend(history, EVE, 3, at=12), EVE, 30, 429)
    verdicts = history.judge()
    assert [len(verdicts[id].findings) for id in ("I37", "I39")] == [1, 1]
    assert [verdicts[id].violations for id in ("I37", "I39")] == [1, 1]


@pytest.mark.parametrize(("count", "violations"), [(3, 0), (4, 0), (5, 1)])
def test_a_disguise_up_to_the_limit(new_history: Callable[..., Any], count: int, violations: int) -> None:
    """Three as herself, the others from another address: as many as the window allows widen nothing."""
    history = spend(new_history(**WINDOW), ANN, 3)
    for n in range(count - 3):
        ask(history, ANN, 6 + 2 * n, left=0, spoofed=True)
    assert outcome(history, "I39")[2] == violations


@pytest.mark.parametrize(("wait", "violations"), [(1002, 0), (1003, 1)])
def test_as_long_as_one_more_can_need(new_history: Callable[..., Any], wait: int, violations: int) -> None:
    """A whole second, and 2 ms for rounding."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429, wait=wait)
    assert outcome(history, "I38")[2] == violations


@pytest.mark.parametrize(("early_ns", "violations"), [(0, 1), (1, 0)])
def test_back_at_the_stated_moment(new_history: Callable[..., Any], early_ns: int, violations: int) -> None:
    """It was refused at 11 ms for a second; 2 ms and a thousandth are added. A nanosecond sooner it is too soon."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429)
    due = 11 * MS + int(1002 * 1e6 * 1.001)
    ask(history, ANN, 1100, 429).told[-1][1]["seq"] = due - early_ns
    assert outcome(history, "I38")[2] == violations


@pytest.mark.parametrize(("after_ns", "examined"), [(0, 0), (1, 1)])
def test_asked_at_the_moment_of_anothers_refusal(new_history: Callable[..., Any], after_ns: int, examined: int) -> None:
    """What a neighbour asked at the nanosecond of the first right refusal came before it; so did a disguise."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429)
    at = history.told[-1][1]["t"] + after_ns
    ask(history, EVE, 20, left=3).told[-1][1]["seq"] = at
    ask(history, ANN, 20, 429, spoofed=True).told[-1][1]["seq"] = at
    facts = history.judge()["I39"].facts
    assert (facts["disguised"], facts["neighbours"]) == (examined, examined)


@pytest.mark.parametrize(("after_ns", "violations"), [(0, 0), (1, 1)])
def test_refused_at_the_moment_of_anothers_refusal(
    new_history: Callable[..., Any], after_ns: int, violations: int
) -> None:
    """Eve has used one; she pays for Ann only if she asked after Ann's refusal."""
    history = ask(spend(spend(new_history(**BUDGET), EVE, 1), ANN, 4, at=4), ANN, 20, 429)
    at = history.told[-1][1]["t"] + after_ns
    ask(history, EVE, 30, 429).told[-1][1]["seq"] = at
    assert outcome(history, "I39")[2] == violations


@pytest.mark.parametrize(("after_ns", "violations"), [(0, 0), (1, 1)])
def test_understated_from_the_first_answer_on(new_history: Callable[..., Any], after_ns: int, violations: int) -> None:
    """What was asked at the nanosecond of the first answer may have been decided before it."""
    history = spend(new_history(**WINDOW), ANN, 1)
    at = history.told[-1][1]["t"] + after_ns
    ask(history, ANN, 6, left=1).told[-1][1]["seq"] = at
    assert len([f for f in history.judge()["I38"].findings if f.what == "understated"]) == violations


def test_what_a_refusal_says_is_left(new_history: Callable[..., Any]) -> None:
    """Nothing, whatever may be left; and it was not charged, so two of four are left after the second grant."""
    history = ask(spend(new_history(**WINDOW), ANN, 1), ANN, 4, 429, left=1)
    assert [f.what for f in history.judge()["I38"].findings] == ["overstated"]
    history = ask(ask(spend(new_history(**WINDOW), ANN, 1), ANN, 4, 429), ANN, 6, left=1)
    assert [f.what for f in history.judge()["I38"].findings] == ["understated"]


def test_a_return_that_nobody_answered_is_none(new_history: Callable[..., Any]) -> None:
    """The one after it was answered: refused again, and what may have been charged meanwhile had come back."""
    history = ask(ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429), ANN, 1020, 0)
    assert outcome(ask(history, ANN, 1200, 429), "I38")[2] == 1


def test_only_a_refusal_says_when_to_come_back(new_history: Callable[..., Any]) -> None:
    """A time that stands beside a grant promises nothing."""
    history = ask(ask(new_history(**BUDGET), ANN, 0, left=3, wait=10), ANN, 300, 429)
    assert outcome(history, "I38")[2] == 0


def test_what_is_no_attempt(new_history: Callable[..., Any]) -> None:
    """After a right refusal: what was not answered, and what came undisguised."""
    history = ask(spend(new_history(**BUDGET), ANN, 4), ANN, 10, 429)
    ask(ask(ask(history, ANN, 20, 0, spoofed=True), ANN, 22, 429), EVE, 24, 0)
    facts = history.judge()["I39"].facts
    assert (facts["disguised"], facts["neighbours"]) == (0, 0)


def test_a_wrong_refusal_is_not_when_the_budget_was_used_up(new_history: Callable[..., Any]) -> None:
    """Ann is refused with one left, served, and refused rightly; Eve asks before that."""
    history = ask(spend(new_history(**WINDOW), ANN, 3), ANN, 10, 429)
    ask(ask(ask(history, EVE, 15, left=3), ANN, 18, left=0), ANN, 20, 429)
    assert history.judge()["I39"].facts["neighbours"] == 0


def test_one_in_disguise_above_a_budget_that_is_just_full(new_history: Callable[..., Any]) -> None:
    """Four as herself are allowed; so it is the disguise that widens."""
    history = ask(spend(new_history(**WINDOW), ANN, 4), ANN, 10, left=0, spoofed=True)
    assert (outcome(history, "I36")[2], outcome(history, "I39")[2]) == (0, 1)
