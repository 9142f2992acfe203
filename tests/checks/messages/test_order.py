"""I2: total order, with and without numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.checks import Outcome, Roster
from earwitness.checks.engine.graph import cycles
from earwitness.checks.messages.order import EDGE

ANN, BOB, BOB2, EVE = range(4)


def test_one_number_two_messages(new_history: Callable[..., Any]) -> None:
    """A number that names two messages is one violation however many heard it."""
    history = new_history().join(ANN).join(BOB).join(BOB2).send(ANN, 1).send(BOB, 1)
    history.hear(ANN, ANN, 1, 1).hear(BOB, BOB, 1, 1).hear(BOB2, BOB, 1, 1).ack(BOB, 1, 2)
    verdict = history.judge()["I2"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence.startswith("number 1 of room-1 names two messages: #1 of ann and #1 of bob")


def test_the_same_number_in_two_rooms_is_fine(new_history: Callable[..., Any]) -> None:
    """Each conversation has its own numbers; huge ones too."""
    for seq in (7, 1 << 50):
        history = new_history(sequence="increasing").join(ANN).join(ANN, 1).send(ANN, 1).send(ANN, 2, 1)
        history.hear(ANN, ANN, 1, seq).hear(ANN, ANN, 2, seq, conv=1)
        assert history.judge()["I2"].outcome is Outcome.PASS


def test_opposite_orders(new_history: Callable[..., Any]) -> None:
    """Without numbers two listeners who heard two messages in opposite orders are a violation, with their records."""
    history = new_history(sequence="none").join(BOB).join(BOB2).send(ANN, 1).send(BOB, 1)
    history.hear(BOB, ANN, 1).hear(BOB, BOB, 1).hear(BOB2, BOB, 1).hear(BOB2, ANN, 1)
    verdict = history.judge()["I2"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert {index for _, index in verdict.findings[0].records} == {5, 6, 7, 8}
    assert "orders that contradict each other" in history.tell(verdict).sentence


def test_an_own_reconnect_is_another_order(new_history: Callable[..., Any]) -> None:
    """Orders are of connections: after a reconnect they begin anew."""
    history = new_history(sequence="none").join(BOB).join(BOB2).send(ANN, 1).send(BOB, 1)
    history.hear(BOB, ANN, 1).hear(BOB, BOB, 1).hear(BOB2, BOB, 1).hear(BOB2, ANN, 1, conn=9)
    assert history.judge()["I2"].outcome is Outcome.PASS


@given(st.lists(st.permutations(range(6)), min_size=2, max_size=2), st.sets(st.integers(0, 5), max_size=3))
def test_any_disagreement_of_two_is_found(orders: list[list[int]], unheard: set[int]) -> None:
    """Two listeners disagree on a pair that both heard exactly if their edges hold a cycle."""
    heard = [orders[0], [m for m in orders[1] if m not in unheard]]
    common = [m for m in heard[0] if m in heard[1]]
    disagree = common != [m for m in heard[1] if m in heard[0]]
    rows = {edge for order in heard for edge in pairwise(order)}
    edges = np.array([(a, b, 1, 2) for a, b in sorted(rows)], EDGE)
    found, total = cycles(edges, 6)
    assert (total > 0) == disagree
    for _, cycle in found:
        assert [edge["after"] for edge in cycle] == [*cycle["before"][1:], cycle["before"][0]]


def test_separate_tangles_count_separately() -> None:
    """Two pairs in contradiction are two violations; what lies between them is none."""
    pairs = [(0, 1), (1, 0), (1, 2), (2, 3), (3, 4), (4, 3), (5, 6)]
    _, total = cycles(np.array([(a, b, 1, 2) for a, b in pairs if (a, b) != (2, 3)], EDGE), 7)
    assert total == 2


def test_listeners_need_not_hear_all(new_history: Callable[..., Any]) -> None:
    """Missing messages do not contradict an order."""
    history = new_history(sequence="none")
    history.roster = Roster(user_of=(0, 1, 2), conversations=((0, 1, 2),))
    for n in (1, 2, 3):
        history.send(ANN, n)
    for client, heard in ((0, (1, 2)), (1, (2, 3)), (2, (1, 3))):
        history.join(client)
        for n in heard:
            history.hear(client, ANN, n)
    assert history.judge()["I2"].outcome is Outcome.PASS


def test_one_number_and_nothing_else(new_history: Callable[..., Any]) -> None:
    """Both messages that share it are shown, each by a record of its own; numbers may begin at 0."""
    for seq in (0, 5):
        history = new_history(sequence="increasing").send(ANN, 1).send(BOB, 1).ack(ANN, 1, seq).ack(BOB, 1, seq)
        verdict = history.judge()["I2"]
        assert (verdict.violations, verdict.examined) == (1, 2)
        assert verdict.findings[0].records == ((0, 3), (0, 4))


@pytest.mark.parametrize("numbers", [(7,), (7, 8)])
def test_each_contested_number_counts_once(new_history: Callable[..., Any], numbers: tuple[int, ...]) -> None:
    """Three messages share each: one violation a number."""
    history = new_history(sequence="increasing")
    for n, seq in enumerate(numbers, start=1):
        for client in (ANN, BOB, BOB2):
            history.send(client, n).ack(client, n, seq)
    assert history.judge()["I2"].violations == len(numbers)


def test_one_order_contradicts_nobody(new_history: Callable[..., Any]) -> None:
    """A single listener hears the second message that was sent first."""
    history = new_history(sequence="none").join(BOB).send(ANN, 1).send(EVE, 1)
    verdict = history.hear(BOB, EVE, 1).hear(BOB, ANN, 1).judge()["I2"]
    assert (verdict.violations, verdict.examined) == (0, 1)


def test_where_numbers_have_no_gaps_only_the_unnumbered_are_compared(new_history: Callable[..., Any]) -> None:
    """Another order of a numbered message is I4's; number 0 is a number too."""
    history = new_history().join(BOB).join(BOB2).send(ANN, 1).send(ANN, 2)
    history.hear(BOB, ANN, 1, 0).hear(BOB, ANN, 2).hear(BOB2, ANN, 2).hear(BOB2, ANN, 1, 0)
    assert history.judge()["I2"].violations == 0
