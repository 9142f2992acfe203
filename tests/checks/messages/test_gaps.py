"""I4: gap-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Outcome

ANN, BOB, BOB2, EVE = range(4)
CONTINUED = int(Flag.CONTINUED)


def numbers(history: Any, *seqs: int, client: int = BOB, **slots: int) -> Any:
    for seq in seqs:
        history.send(ANN, seq).hear(client, ANN, seq, seq, **slots)
    return history


@pytest.mark.parametrize(
    ("head", "heard", "violations", "what"),
    [
        (0, (1, 2, 3), 0, ""),
        (5, (6, 7), 0, ""),
        (0, (1, 3), 1, "open"),
        (5, (7,), 1, "open"),
        (0, (1, 3, 2, 4), 1, "reorder"),
        (0, (1, 5, 2, 4), 1, "open"),
        (0, (1, 5, 2, 4, 3), 1, "reorder"),
        (0, (1, 3, 5, 4), 2, "open"),
        (-1, (9, 10), 0, ""),
        (5, (3, 6), 0, ""),
    ],
)
def test_jumps(new_history: Callable[..., Any], head: int, heard: tuple[int, ...], violations: int, what: str) -> None:
    """Each jump counts once; it is a reorder if all of it came later, a loss if not."""
    verdict = numbers(new_history().join(BOB, head=head), *heard).judge()["I4"]
    assert verdict.violations == violations
    assert verdict.outcome is (Outcome.FAIL if violations else Outcome.PASS)
    assert [f.what for f in verdict.findings][:1] == ([what] if what else [])


def test_words(new_history: Callable[..., Any]) -> None:
    """A loss says who, where and what is missing."""
    history = numbers(new_history().join(BOB), 1, 4)
    assert history.tell(history.judge()["I4"]).sentence == (
        "bob on tab 1 never received numbers 2 to 3 of room-1 on this connection: 2 missing after a jump"
    )


def test_leaving_and_reconnecting_begin_anew(new_history: Callable[..., Any]) -> None:
    """Nothing is missed while away."""
    history = numbers(new_history().join(BOB), 1).leave(BOB)
    numbers(history, 5)
    numbers(history.join(BOB, head=8, conn=9), 9, conn=9)
    assert history.judge()["I4"].outcome is Outcome.PASS


def test_a_promised_continuation_is_judged(new_history: Callable[..., Any]) -> None:
    """Resume off by one: the replay after 'nothing was missed since 5' must begin with 6."""
    for first, violations in ((6, 0), (7, 1)):
        history = new_history(resume=True).join(BOB, head=5, flags=CONTINUED)
        for seq in range(first, 9):
            history.send(ANN, seq).replay(BOB, ANN, seq, seq)
        assert numbers(history, 9).judge()["I4"].violations == violations


def test_history_on_joining_is_no_gap(new_history: Callable[..., Any]) -> None:
    """Replayed history without such a promise may be any part of it."""
    history = new_history().join(BOB, head=10)
    for seq in (3, 9, 10):
        history.send(ANN, seq).replay(BOB, ANN, seq, seq)
    assert numbers(history, 11).judge()["I4"].outcome is Outcome.PASS


def test_own_messages_without_echo(new_history: Callable[..., Any]) -> None:
    """Where the sender does not hear itself its own numbers are no holes, others are."""
    history = new_history(echo=False).join(ANN).send(ANN, 1).send(BOB, 1).send(BOB, 2)
    history.hear(ANN, BOB, 1, 1).ack(ANN, 1, 2).hear(ANN, BOB, 2, 3)
    assert history.judge()["I4"].outcome is Outcome.PASS
    assert history.send(BOB, 3).hear(ANN, BOB, 3, 5).judge()["I4"].violations == 1


def test_not_promised(new_history: Callable[..., Any]) -> None:
    """Where numbers only increase nothing is judged, and it says so."""
    verdict = numbers(new_history(sequence="increasing").join(BOB), 1, 3).judge()["I4"]
    assert (verdict.outcome, verdict.promised) == (Outcome.UNKNOWN, False)


def test_a_retry_with_a_number_of_its_own_is_no_hole(new_history: Callable[..., Any]) -> None:
    """A second row of one message takes a number too."""
    history = numbers(new_history(idempotent=False).join(BOB), 1, 2)
    numbers(history.hear(BOB, ANN, 1, 3, attempt=2), 4)
    assert history.judge()["I4"].outcome is Outcome.PASS


def test_how_many_are_open(new_history: Callable[..., Any]) -> None:
    """Of two jumps one was filled later: the older one."""
    verdict = numbers(new_history().join(BOB), 1, 3, 5, 2).judge()["I4"]
    assert verdict.facts == {"open": 1, "reorder": 1}


def test_another_message_with_a_number_that_came_late(new_history: Callable[..., Any]) -> None:
    """What was filled stays filled."""
    history = numbers(new_history().join(BOB), 1, 3, 2).send(ANN, 9).hear(BOB, ANN, 9, 2)
    verdict = history.judge()["I4"]
    assert verdict.facts == {"open": 0, "reorder": 1}
    assert [finding.what for finding in verdict.findings] == ["reorder"]


@pytest.mark.parametrize("how", ["left", "joined again"])
def test_what_was_open_before_a_new_beginning_stays_open(new_history: Callable[..., Any], how: str) -> None:
    """A number that comes late, after leaving or joining again on the same connection, fills no gap of before."""
    history = numbers(new_history().join(BOB), 1, 3)
    history = numbers(history.leave(BOB), 5) if how == "left" else history.join(BOB, head=5)
    assert numbers(history, 2).judge()["I4"].facts == {"open": 1, "reorder": 0}


def test_zero_is_a_number(new_history: Callable[..., Any]) -> None:
    """A platform that begins to count there: after 0 comes 1."""
    assert numbers(new_history().send(ANN, 9).hear(BOB, ANN, 9, 0), 2).judge()["I4"].violations == 1


def test_the_first_hearing_of_a_number_is_shown(new_history: Callable[..., Any]) -> None:
    """Heard twice, then a jump: the record before the jump is the first one."""
    history = new_history().join(BOB).send(ANN, 1).send(ANN, 3)
    verdict = history.hear(BOB, ANN, 1, 1).hear(BOB, ANN, 1, 1).hear(BOB, ANN, 3, 3).judge()["I4"]
    assert verdict.findings[0].records == ((0, 4), (0, 6))


@pytest.mark.parametrize(("numbers_of_own", "violations"), [((), 0), ((0,), 1), ((7, 2), 0), ((7,), 1)])
def test_what_explains_a_gap_without_echo(
    new_history: Callable[..., Any], numbers_of_own: tuple[int, ...], violations: int
) -> None:
    """An own message without number may be the one that is missing, one with any other number is not."""
    history = new_history(echo=False).join(ANN).join(BOB).send(ANN, 1)
    for seq in numbers_of_own:
        history.hear(BOB, ANN, 1, seq)
    for n, seq in ((1, 1), (2, 3)):
        history.send(BOB, n).hear(ANN, BOB, n, seq)
    own = [f for f in history.judge()["I4"].findings if f.facts["client"] == ANN]
    assert len(own) == violations
