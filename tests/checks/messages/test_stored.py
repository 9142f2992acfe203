"""I5a: stored. I7: effectively once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from earwitness.checks import Outcome

ANN, BOB, BOB2, EVE = range(4)
ROOM, OTHER = range(2)


def test_acknowledged_but_not_stored(new_history: Callable[..., Any]) -> None:
    """An acknowledged message that the complete final read lacks is lost."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 1).send(ANN, 2).ack(ANN, 2, 2).stored(ANN, 1, 1).read(ROOM)
    verdict = history.judge()["I5a"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 2, 1)
    expected = "#2 of ann was acknowledged, but the final state of room-1 does not have it"
    assert history.tell(verdict).sentence == expected


def test_unanswered_and_refused_messages_are_not_examined(new_history: Callable[..., Any]) -> None:
    """No acknowledgement, no duty to store."""
    assert new_history().send(ANN, 1).read(ROOM).judge()["I5a"].examined == 0


def test_an_unfinished_read_is_unknown(new_history: Callable[..., Any]) -> None:
    """A conversation that was not read to its end cannot be judged; another one still can fail."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 1)
    assert history.judge()["I5a"].outcome is Outcome.UNKNOWN
    assert "room-1" in history.judge()["I5a"].why
    history.send(ANN, 2, OTHER).ack(ANN, 2, 1, conv=OTHER).read(OTHER)
    assert history.judge()["I5a"].outcome is Outcome.FAIL


def test_two_numbers_for_one_message(new_history: Callable[..., Any]) -> None:
    """A retry that became a second message is one violation."""
    history = new_history().send(ANN, 1).send(ANN, 1, attempt=2).ack(ANN, 1, 1).ack(ANN, 1, 2, attempt=2)
    verdict = history.judge()["I7"]
    assert (verdict.outcome, verdict.violations, verdict.promised) == (Outcome.FAIL, 1, True)
    assert history.tell(verdict).sentence == "#1 of ann took effect twice in room-1: as number 1 and as number 2"


def test_without_idempotence_only_single_attempts_are_judged(new_history: Callable[..., Any]) -> None:
    """A retry may take effect again, a message sent once may not; either way it is only an observation."""
    history = new_history(idempotent=False).send(ANN, 1).send(ANN, 1, attempt=2).ack(ANN, 1, 1).ack(ANN, 1, 2)
    verdict = history.judge()["I7"]
    assert (verdict.outcome, verdict.promised) == (Outcome.UNKNOWN, False)
    assert history.send(BOB, 1).ack(BOB, 1, 3).hear(BOB, BOB, 1, 4).judge()["I7"].violations == 1


def test_two_rows_without_numbers(new_history: Callable[..., Any]) -> None:
    """Two rows of one message in one read are two effects; the same row in two reads is one."""
    history = new_history(sequence="none").send(ANN, 1).stored(ANN, 1).stored(ANN, 1).read(ROOM)
    assert history.judge()["I7"].violations == 1
    assert history.read(ROOM).judge()["I7"].outcome is Outcome.PASS


def test_replayed_history_may_be_numbered_otherwise(new_history: Callable[..., Any]) -> None:
    """A number on a replay is not a second effect, but it must still name one message only."""
    history = new_history().join(BOB).send(ANN, 1).ack(ANN, 1, 1).replay(BOB, ANN, 1, 9)
    assert history.judge()["I7"].outcome is Outcome.PASS
    assert history.send(BOB, 1).ack(BOB, 1, 9).judge()["I2"].outcome is Outcome.FAIL


def test_two_rows_under_one_number(new_history: Callable[..., Any]) -> None:
    """It has one number, which is stored twice: these are rows, not numbers."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 1).stored(ANN, 1, 1).stored(ANN, 1, 1).read(ROOM)
    assert [finding.what for finding in history.judge()["I7"].findings] == ["rows"]
