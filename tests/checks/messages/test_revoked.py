"""I13: isolation after revocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earwitness.checks import Batch, Kind, Outcome
from earwitness.checks.history.record import empty
from earwitness.checks.judge import judge
from earwitness.checks.messages.revoked import DELIVERY, delivered_later

ANN, BOB, BOB2, EVE = range(4)
MS = 1_000_000


def kick(history: Any, client: int, at: int, **slots: int) -> Any:
    return history.add(Kind.KICK, client, **{"conv": 0, "t": at * MS, **slots})


@pytest.mark.parametrize(("sent", "violations"), [(49, 0), (50, 0), (51, 1), (900, 1)])
@pytest.mark.parametrize("journal", [0, 1])
def test_the_time_of_sending_decides(new_history: Callable[..., Any], sent: int, violations: int, journal: int) -> None:
    """Sent before the confirmation (50 ms) may come at any time, sent after it may not."""
    history = kick(new_history().join(BOB, t=MS), BOB, 50, journal=journal).send(ANN, 1, t=sent * MS)
    verdict = history.hear(BOB, ANN, 1, 1, t=999 * MS).judge()["I13"]
    assert (verdict.examined, verdict.violations) == (violations, violations)
    if violations and not journal:
        telling = history.tell(verdict)
        assert telling.sentence == (
            "bob on tab 1 had lost the membership of room-1, and then received #1 of ann, which was sent afterwards"
        )
        assert len(telling.lines) == 3


def test_it_is_looked_at_when_nothing_comes(new_history: Callable[..., Any]) -> None:
    """Messages sent while somebody is out are examined; others may hear them, and history may be replayed."""
    history = kick(new_history().join(BOB, t=MS), BOB, 50).send(ANN, 1, t=60 * MS).send(ANN, 2, t=61 * MS)
    history.hear(BOB2, ANN, 1, 1).replay(BOB, ANN, 2, 2)
    verdict = history.judge()["I13"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.PASS, 2, 0)


@pytest.mark.parametrize(
    ("sent", "seq", "violations"),
    [(60, 5, 1), (60, 6, 0), (60, -1, 0), (80, 6, 0), (80, 5, 0), (40, 5, 0), (60, 0, 1), (70, 5, 0)],
)
def test_joining_again_ends_it(new_history: Callable[..., Any], sent: int, seq: int, violations: int) -> None:
    """Out from 50 ms, in again from 70 ms at head 5: what came live above the head came afterwards."""
    history = kick(new_history().join(BOB, t=MS), BOB, 50).join(BOB, head=5, t=70 * MS, conn=9)
    history.send(ANN, 1, t=sent * MS).hear(BOB, ANN, 1, seq, t=99 * MS)
    assert history.judge()["I13"].violations == violations


def test_heard_before_joining_again(new_history: Callable[..., Any]) -> None:
    """Without numbers it is not judged: only some orders of reading tell whether it came before the next JOIN."""
    history = kick(new_history().join(BOB, t=MS), BOB, 50).send(ANN, 1, t=60 * MS).hear(BOB, ANN, 1, t=65 * MS)
    history.join(BOB, head=-1, t=70 * MS, conn=9)
    assert history.judge()["I13"].violations == 0


def test_kicked_again(new_history: Callable[..., Any]) -> None:
    """The second loss counts like the first."""
    history = kick(new_history().join(BOB, t=MS), BOB, 50).join(BOB, head=5, t=70 * MS, conn=9)
    kick(history, BOB, 90).send(ANN, 1, t=95 * MS).hear(BOB, ANN, 1, 7, conn=9)
    assert history.judge()["I13"].violations == 1


def test_nobody_was_put_out(new_history: Callable[..., Any]) -> None:
    """Without a lost membership, or a stranger's, nothing is examined."""
    history = kick(new_history().join(BOB), EVE, 50).send(ANN, 1, t=60 * MS).hear(BOB, ANN, 1, 1)
    verdict = history.judge()["I13"]
    assert (verdict.outcome, verdict.examined, verdict.promised) == (Outcome.UNKNOWN, 0, True)


def test_joined_at_the_moment_of_the_loss(new_history: Callable[..., Any]) -> None:
    """Of two at one moment the loss stands."""
    history = kick(new_history().join(BOB, t=50 * MS), BOB, 50).send(ANN, 1, t=60 * MS).hear(BOB, ANN, 1, 1)
    assert history.judge()["I13"].violations == 1


def test_the_first_member_may_lose_it_too(new_history: Callable[..., Any]) -> None:
    """Ann heard it, and that is shown."""
    history = kick(new_history().join(ANN), ANN, 50).send(BOB, 1, t=60 * MS).hear(ANN, BOB, 1, 1)
    assert history.judge()["I13"].findings[0].records == ((0, 2), (0, 3), (0, 4))


def test_one_of_many_messages(new_history: Callable[..., Any]) -> None:
    """Sent while Bob was out are seventy; he heard the last one."""
    history = kick(new_history().join(BOB), BOB, 50)
    for n in range(1, 71):
        history.send(ANN, n, t=(50 + n) * MS)
    assert history.hear(BOB, ANN, 70, 70).judge()["I13"].violations == 1


def test_clocks_matter_only_to_a_loss(new_history: Callable[..., Any]) -> None:
    """Journals of two hosts, of which nobody lost anything: there was nothing to examine."""
    history = new_history().join(BOB).send(ANN, 1, journal=1)
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    infos = [replace(info, meta={"host": host}) for info, host in zip(history.infos(), "ab", strict=True)]
    verdicts = {v.id: v for v in judge(history.roster, history.contract, batches, infos)}
    assert "clocks" not in verdicts["I13"].why


def test_more_deliveries_than_are_shown() -> None:
    """Room for one of two."""
    records, kept, used = empty(2), np.zeros(1, DELIVERY), np.zeros(2, np.int64)
    records["kind"], records["index"] = int(Kind.DELIVER), [1, 2]
    delivered_later(records, 0, np.array([0, 1]), np.array([0, 0]), np.array([True]), kept, used)
    assert (used[1], kept["rec"][0]) == (1, 1)
