"""I3: causal order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Outcome

ANN, BOB, BOB2, EVE = range(4)


@pytest.mark.parametrize(("cause", "seq", "violations"), [(4, 5, 0), (4, 9, 0), (4, 4, 1), (4, 3, 1), (0, 0, 1)])
def test_number_and_cause(new_history: Callable[..., Any], cause: int, seq: int, violations: int) -> None:
    """A reply's number is above what its sender had received, whoever tells the number."""
    for tell in ("ack", "hear", "stored"):
        history = new_history().send(BOB, 1, aux=cause)
        if tell == "ack":
            history.ack(BOB, 1, seq)
        elif tell == "hear":
            history.hear(ANN, BOB, 1, seq)
        else:
            history.stored(BOB, 1, seq)
        verdict = history.judge()["I3"]
        assert (verdict.examined, verdict.violations) == (1, violations)
        assert verdict.outcome is (Outcome.FAIL if violations else Outcome.PASS)


def test_a_reply_above_its_question_in_words(new_history: Callable[..., Any]) -> None:
    """The finding names both numbers and shows the question, the reply and its number."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 7).hear(BOB, ANN, 1, 7).send(BOB, 1, aux=7).ack(BOB, 1, 6)
    verdict = history.judge()["I3"]
    telling = history.tell(verdict)
    assert telling.sentence == (
        "room-1 gave #1 of bob the number 6, although its sender had received number 7 before sending it"
    )
    assert len(telling.lines) == 3


def test_not_looked_at(new_history: Callable[..., Any]) -> None:
    """Nothing heard, no number, a number from history only, what a retry had heard."""
    history = new_history().send(BOB, 1).ack(BOB, 1, 1).send(BOB, 2, aux=5).ack(BOB, 2)
    history.send(BOB, 3, aux=5).replay(ANN, BOB, 3, 2)
    history.send(BOB, 5).send(BOB, 5, attempt=2, aux=5).ack(BOB, 5, 3, attempt=2)
    verdict = history.judge()["I3"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


@pytest.mark.parametrize("numbers", [(4, 9), (9, 4), (9, 12)])
def test_the_lowest_number_counts(new_history: Callable[..., Any], numbers: tuple[int, int]) -> None:
    """Each of a message's numbers has to be above the cause."""
    history = new_history().send(BOB, 4, aux=5).ack(BOB, 4, numbers[0]).hear(ANN, BOB, 4, numbers[1])
    assert history.judge()["I3"].violations == (1 if min(numbers) <= 5 else 0)


@pytest.mark.parametrize("promises", [{"sequence": "none"}, {"total_order": False}])
def test_not_promised(new_history: Callable[..., Any], promises: dict[str, Any]) -> None:
    """Without one order, or without numbers, it is an observation."""
    verdict = new_history(**promises).send(BOB, 1, aux=4).ack(BOB, 1, 2).judge()["I3"]
    assert (verdict.violations, verdict.promised) == (1, False)
