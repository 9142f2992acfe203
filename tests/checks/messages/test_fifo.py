"""I1: per-sender FIFO, in literal histories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Batch, Flag, Outcome, Roster
from earwitness.checks.engine.fold import End
from earwitness.checks.engine.world import World
from earwitness.checks.messages.fifo import FIFO

ANN, BOB, BOB2, EVE = range(4)


def test_swapped_for_one_listener(new_history: Callable[..., Any]) -> None:
    """A later message heard before an earlier one of the same sender is one violation, told in words."""
    history = new_history().join(ANN).join(BOB).send(ANN, 16).send(ANN, 17)
    history.hear(BOB, ANN, 17, 2).hear(BOB, ANN, 16, 1)
    verdict = history.judge()["I1"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    telling = history.tell(verdict)
    assert telling.sentence == (
        "bob on tab 1 received #17 of ann before #16 of ann in room-1, although ann sent #16 first on the same"
        " connection"
    )
    assert telling.lines == [
        "0:3  +0.000 ms  ann (connection 1) sends #16 of ann in room-1",
        "0:4  +1.000 ms  ann (connection 1) sends #17 of ann in room-1",
        "0:5  +2.000 ms  bob on tab 1 (connection 2) receives #17 of ann in room-1 as number 2",
        "0:6  +3.000 ms  bob on tab 1 (connection 2) receives #16 of ann in room-1 as number 1",
    ]


def test_each_overtaken_message_counts(new_history: Callable[..., Any]) -> None:
    """1, 5, 2, 3, 4 holds three violations: the highest counter so far is what counts."""
    history = new_history(sequence="none").join(BOB)
    for n in (1, 5, 2, 3, 4):
        history.send(ANN, n).hear(BOB, ANN, n)
    assert (history.judge()["I1"].violations, history.judge()["I1"].examined) == (3, 4)


def test_swapped_at_ingest(new_history: Callable[..., Any]) -> None:
    """Numbers against the order of sending are one violation, however many heard them so."""
    history = new_history().join(BOB).send(ANN, 1).send(ANN, 2).ack(ANN, 1, 2).ack(ANN, 2, 1)
    assert history.judge()["I1"].violations == 1
    assert "gave #2 of ann the number 1, below number 2 of #1 of ann" in history.tell(history.judge()["I1"]).sentence


@pytest.mark.parametrize(
    "second",
    [
        {"proc": 9},
        {"attempt": 2},
        {"flags": int(Flag.CORRUPT)},
        {"flags": int(Flag.FOREIGN_RUN)},
        {"conn": 77},
        {"conv": 1},
    ],
    ids=str,
)
def test_not_comparable(new_history: Callable[..., Any], second: dict[str, int]) -> None:
    """Another connection of sender or listener, a retry, an untrusted body or another room say nothing of order."""
    history = new_history(sequence="none").join(ANN).send(ANN, 1).send(ANN, 2)
    history.hear(ANN, ANN, 2).hear(ANN, ANN, 1, **second)
    assert history.judge()["I1"].outcome is Outcome.UNKNOWN


def test_a_repetition_is_no_disorder(new_history: Callable[..., Any]) -> None:
    """1, 2, 1 again is duplication, not disorder."""
    history = new_history(sequence="none").join(BOB).send(ANN, 1).send(ANN, 2)
    history.hear(BOB, ANN, 1).hear(BOB, ANN, 2).hear(BOB, ANN, 1)
    assert (history.judge()["I1"].outcome, history.judge()["I6"].violations) == (Outcome.PASS, 1)


def test_an_older_connection_of_the_sender_keeps_its_own_order(new_history: Callable[..., Any]) -> None:
    """Messages of two connections of the sender may mix; inside each their order is judged."""
    history = new_history(sequence="none").join(BOB)
    for n, proc in ((1, 1), (2, 1), (3, 2)):
        history.send(ANN, n, proc=proc)
    history.hear(BOB, ANN, 2, proc=1).hear(BOB, ANN, 3, proc=2).hear(BOB, ANN, 1, proc=1)
    assert history.judge()["I1"].violations == 1


def test_what_an_earlier_chunk_showed_counts_once(new_history: Callable[..., Any]) -> None:
    """A violation in one batch is not found again in the next one."""
    history = new_history(sequence="none").join(BOB)
    for n in (2, 1, 3):
        history.send(ANN, n).hear(BOB, ANN, n)
    records = history.arrays()[0]
    assert history.judge([Batch(0, records[:-1]), Batch(0, records[-1:])])["I1"].violations == 1


def test_more_streams_than_there_was_room_for(new_history: Callable[..., Any]) -> None:
    """Two authors in a conversation of 600: each stream keeps a place for each member."""
    history = new_history(sequence="none")
    history.roster = Roster(user_of=tuple(range(600)), conversations=(tuple(range(600)),))
    history.join(BOB)
    for author in (0, 2):
        for n in (1, 3, 2):
            history.send(author, n).hear(BOB, author, n)
    assert history.judge()["I1"].violations == 2


def test_numbers_may_begin_at_zero(new_history: Callable[..., Any]) -> None:
    """Number 0 is a number too."""
    history = new_history(sequence="increasing").send(ANN, 1).send(ANN, 2).ack(ANN, 1, 1).ack(ANN, 2, 0)
    assert history.judge()["I1"].violations == 1


def test_more_violations_than_there_is_room_for(new_history: Callable[..., Any]) -> None:
    """All are counted, as many as fit are shown."""
    history = new_history()
    for n, seq in ((1, 9), (2, 4), (3, 5)):
        history.send(ANN, n).ack(ANN, n, seq)
    world, state = World(history.roster), FIFO.start(history.roster, history.contract)
    state.step(world.resolved(0, history.arrays()[0]))
    world.out = world.out[:1]
    verdict = state.finish(End(world, history.infos()))
    assert (verdict.violations, len(verdict.findings)) == (2, 1)
