"""I19 session continuity, I20 resume without gap, I21 watermark honesty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Outcome

ANN, BOB, BOB2, EVE = range(4)
CONTINUED = int(Flag.CONTINUED)
MISROUTED = int(Flag.MISROUTED)
REFUSED = int(Flag.REFUSED)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(("seq", "what"), [(6, ""), (7, "skipped"), (5, "repeated"), (1, "repeated")])
def test_first_number_after_resuming(new_history: Callable[..., Any], live: bool, seq: int, what: str) -> None:
    """Replayed or live, the first number is the next one."""
    history = new_history(resume=True).send(ANN, 1).replay(BOB, ANN, 1, 1).join(BOB, head=5, flags=CONTINUED)
    (history.hear if live else history.replay)(BOB, ANN, 1, seq)
    verdict = history.judge()["I20"]
    assert (verdict.examined, verdict.violations) == (1, 1 if what else 0)
    assert [f.what for f in verdict.findings] == ([what] if what else [])


def test_repeated_history_is_this_checks_alone(new_history: Callable[..., Any]) -> None:
    """Resuming one too early: no gap, no duplicate, nothing live that was past."""
    history = new_history(resume=True).join(BOB, head=0)
    for seq in range(1, 4):
        history.send(ANN, seq).ack(ANN, seq, seq).hear(BOB, ANN, seq, seq, aux=ANN)
    history.join(BOB, head=3, conn=9, flags=CONTINUED)
    for seq in range(4, 6):
        history.send(ANN, seq).ack(ANN, seq, seq)
    for seq in range(3, 6):
        history.replay(BOB, ANN, seq, seq, conn=9, aux=ANN)
    verdicts = history.judge()
    assert {id for id, v in verdicts.items() if v.outcome is Outcome.FAIL} == {"I20"}
    assert history.tell(verdicts["I20"]).sentence == (
        "bob on tab 1 resumed room-1 and received number 3 first, although the next one was number 4"
    )


def test_only_continued_joins_owe_the_next_number(new_history: Callable[..., Any]) -> None:
    """Without CONTINUED, after LEAVE, after another JOIN, or with nothing heard there is nothing to examine."""
    history = new_history(resume=True).join(BOB, head=5).send(ANN, 1).hear(BOB, ANN, 1, 9)
    history.join(BOB, head=5, flags=CONTINUED).leave(BOB).hear(BOB, ANN, 1, 12)
    history.join(BOB2, head=5, flags=CONTINUED).join(BOB2, head=20).hear(BOB2, ANN, 1, 30)
    history.join(ANN, head=5, flags=CONTINUED).hear(ANN, ANN, 1, 2, flags=MISROUTED).hear(ANN, ANN, 1)
    verdict = history.judge()["I20"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


def test_own_messages_without_echo(new_history: Callable[..., Any]) -> None:
    """The numbers between may be own messages; a repetition is none."""
    history = new_history(resume=True, echo=False).join(BOB, head=5, flags=CONTINUED).send(ANN, 1)
    assert history.replay(BOB, ANN, 1, 8).judge()["I20"].outcome is Outcome.PASS
    history = new_history(resume=True, echo=False).send(ANN, 1).hear(BOB, ANN, 1, 5)
    history.join(BOB, head=5, conn=9, flags=CONTINUED)
    assert history.replay(BOB, ANN, 1, 5, conn=9).judge()["I20"].violations == 1


def test_catching_up_to_the_head(new_history: Callable[..., Any]) -> None:
    """A platform that tells its head and replays up to it repeats nothing that was not heard."""
    history = new_history(resume=True).send(ANN, 1).send(ANN, 2).hear(BOB, ANN, 1, 1)
    history.join(BOB, head=2, conn=9, flags=CONTINUED)
    assert history.replay(BOB, ANN, 2, 2, conn=9).judge()["I20"].examined == 0
    assert history.hear(BOB, ANN, 3, 3, conn=9).judge()["I20"].outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("promises", "violations"), [({"resume": False}, 1), ({"resume": True, "sequence": "increasing"}, 0)]
)
def test_resuming_is_not_promised(new_history: Callable[..., Any], promises: dict[str, Any], violations: int) -> None:
    """Without resume, or without contiguous numbers, nothing is promised."""
    history = new_history(**promises).join(BOB, head=5, flags=CONTINUED).send(ANN, 1).replay(BOB, ANN, 1, 9)
    verdict = history.judge()["I20"]
    assert (verdict.violations, verdict.promised) == (violations, False)


@pytest.mark.parametrize("flags", [0, CONTINUED])
def test_past_numbers_come_live(new_history: Callable[..., Any], flags: int) -> None:
    """At or below the head told on joining nothing is live; above it everything is."""
    history = new_history(sequence="increasing").join(BOB, head=5, flags=flags).send(ANN, 1).send(ANN, 2).send(ANN, 3)
    history.hear(BOB, ANN, 3, 6).hear(BOB, ANN, 2, 5).hear(BOB, ANN, 1, 4)
    verdict = history.judge()["I21"]
    assert (verdict.examined, verdict.violations) == (3, 2)
    assert history.tell(verdict).sentence == "bob on tab 1 joined room-1 at number 5 and then received number 5 live"


def test_live_and_past_is_this_checks_alone(new_history: Callable[..., Any]) -> None:
    """The queue still held what the head already counted: no gap, no duplicate."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 1).join(BOB, head=1).hear(BOB, ANN, 1, 1, aux=ANN)
    assert {id for id, v in history.judge().items() if v.outcome is Outcome.FAIL} == {"I21"}


def test_what_may_be_past(new_history: Callable[..., Any]) -> None:
    """Replayed history, other conversations' numbers, no head, after LEAVE."""
    history = new_history().send(ANN, 1).join(BOB, head=5).replay(BOB, ANN, 1, 3)
    history.hear(BOB, ANN, 1, 3, flags=MISROUTED).leave(BOB).hear(BOB, ANN, 1, 3)
    history.join(BOB2, head=-1).hear(BOB2, ANN, 1, 3)
    verdict = history.judge()["I21"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


def test_numbers_are_not_promised(new_history: Callable[..., Any]) -> None:
    """A platform that numbers nothing promises nothing here."""
    assert not new_history(sequence="none").judge()["I21"].promised


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(("first", "violations"), [(6, 0), (8, 0), (9, 1)])
def test_begun_anew_without_a_word(new_history: Callable[..., Any], live: bool, first: int, violations: int) -> None:
    """Asked to go on behind 5, begun at 8: what was missed comes first, or the session is lost."""
    history = new_history(resume=True).send(ANN, 1).join(BOB, head=8, aux=5)
    (history.hear if live else history.replay)(BOB, ANN, 1, first)
    verdict = history.judge()["I19"]
    assert (verdict.examined, verdict.violations) == (1, violations)


def test_begun_anew_is_this_checks_alone(new_history: Callable[..., Any]) -> None:
    """A join resets what is owed: no gap, no loss, nothing that was continued."""
    history = new_history(resume=True).join(BOB, head=0)
    history.send(ANN, 1).ack(ANN, 1, 1).hear(BOB, ANN, 1, 1, aux=ANN).cut(BOB)
    history.send(ANN, 2).ack(ANN, 2, 2).join(BOB, head=2, conn=9, aux=1)
    history.send(ANN, 3).ack(ANN, 3, 3).hear(BOB, ANN, 3, 3, conn=9, aux=ANN)
    verdicts = history.judge()
    assert {id for id, v in verdicts.items() if v.outcome is Outcome.FAIL} == {"I19"}
    assert history.tell(verdicts["I19"]).sentence == (
        "bob on tab 1 asked to resume room-1, was not refused, and received nothing of number 2"
    )


@pytest.mark.parametrize(("flags", "head"), [(CONTINUED, 8), (REFUSED, 8), (0, 5), (0, 3), (0, 0)])
def test_told_whether_it_goes_on(new_history: Callable[..., Any], flags: int, head: int) -> None:
    """It goes on, or cannot, or nothing was missed: all are answers, whatever comes then."""
    history = new_history(resume=True).send(ANN, 1).join(BOB, head=head, aux=5, flags=flags).hear(BOB, ANN, 1, 12)
    verdict = history.judge()["I19"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


def test_nobody_had_asked_or_nobody_knows(new_history: Callable[..., Any]) -> None:
    """Not asked, no head, nothing heard, left, joined again, another conversation's frame: nothing to examine."""
    history = new_history(resume=True).send(ANN, 1).join(BOB, head=8).hear(BOB, ANN, 1, 12)
    history.join(BOB, head=-1, aux=5).hear(BOB, ANN, 1, 13).join(BOB2, head=8, aux=5)
    history.join(EVE, head=8, aux=5).leave(EVE).hear(EVE, ANN, 1, 12).join(BOB, head=8, aux=5)
    history.hear(BOB, ANN, 1, 14, flags=MISROUTED).hear(BOB, ANN, 1).join(BOB, head=20)
    verdict = history.judge()["I19"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


@pytest.mark.parametrize("promises", [{"resume": False}, {"sequence": "none"}, {"echo": False}])
def test_going_on_is_not_promised(new_history: Callable[..., Any], promises: dict[str, Any]) -> None:
    """Without resume, without numbers, or where what was missed may be one's own."""
    history = new_history(**{"resume": True, **promises}).send(ANN, 1).join(BOB, head=8, aux=5)
    verdict = history.hear(BOB, ANN, 1, 9).judge()["I19"]
    assert not verdict.promised


# -- number 0, and what is owed only once -----------------------------------------------------------------------------


def test_only_the_first_number_is_looked_at(new_history: Callable[..., Any]) -> None:
    """What comes after it is for other checks."""
    history = new_history(resume=True).send(ANN, 1).send(ANN, 2).join(BOB, head=5, flags=CONTINUED)
    verdict = history.hear(BOB, ANN, 1, 6).hear(BOB, ANN, 2, 9).judge()["I20"]
    assert (verdict.examined, verdict.violations) == (1, 0)
    history = new_history(resume=True).send(ANN, 1).send(ANN, 2).join(BOB, head=8, aux=5)
    verdict = history.hear(BOB, ANN, 1, 8).hear(BOB, ANN, 2, 9).judge()["I19"]
    assert (verdict.examined, verdict.violations) == (1, 0)


@pytest.mark.parametrize("how", ["left", "joined again"])
def test_nothing_is_owed_any_more(new_history: Callable[..., Any], how: str) -> None:
    """After leaving, or joining again without asking, who had asked to go on is a new listener."""
    history = new_history(resume=True).send(ANN, 1).join(BOB, head=8, aux=5)
    history = history.leave(BOB) if how == "left" else history.join(BOB, head=8)
    assert history.hear(BOB, ANN, 1, 9).judge()["I19"].examined == 0


def test_going_on_behind_zero(new_history: Callable[..., Any]) -> None:
    """0 is a number too: the next one is 1."""
    history = new_history(resume=True).send(ANN, 1).join(BOB, head=0, flags=CONTINUED).hear(BOB, ANN, 1, 2)
    assert history.judge()["I20"].violations == 1
    history = new_history(resume=True).send(ANN, 1).join(BOB, head=8, aux=0).hear(BOB, ANN, 1, 9)
    assert history.judge()["I19"].violations == 1


def test_number_zero_is_heard(new_history: Callable[..., Any]) -> None:
    """Again, live although it was past, or as the beginning of what was missed."""
    history = new_history(resume=True).send(ANN, 1).hear(BOB, ANN, 1, 0).join(BOB, head=0, conn=9, flags=CONTINUED)
    verdicts = history.hear(BOB, ANN, 1, 0, conn=9).judge()
    assert (verdicts["I20"].violations, verdicts["I21"].violations) == (1, 1)
    history = new_history(resume=True).send(ANN, 1).send(ANN, 2).join(BOB, head=8, aux=5)
    verdict = history.hear(BOB, ANN, 1, 0).hear(BOB, ANN, 2, 9).judge()["I19"]
    assert (verdict.examined, verdict.violations) == (1, 0)
