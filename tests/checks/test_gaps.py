"""I4: gap-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checks import Flag, Outcome

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
        "bob on tab 1 never heard numbers 2 to 3 of room-1 on this connection: 2 missing after a jump"
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
