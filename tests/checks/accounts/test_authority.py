"""I34 live authority."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import MS, ask, pause, revoke, token

from earwitness.checks import Batch, Judge, Outcome
from earwitness.checks.history.record import Artefact, Place, Way

ANN, BOB, BOB2, EVE = range(4)
ROOM, OTHER = range(2)
PROMISES = {"sockets_end_with_token": True, "token_leeway_s": 0.002, "revocation_bound_s": 0.003}


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """Leeway 2 ms, revocation within 3 ms."""
    return new_history(**PROMISES)


def opened(history: Any, *, lasts_ms: int | None = 6, client: int = ANN, number: int = 1) -> None:
    """A token, the socket that it opens, and a subscription of the room there."""
    token(history, client, number, lasts_ms=lasts_ms)
    history.join(client)
    ask(history, client, number, 101, Place.SOCKET, conn=client + 1)


def said(history: Any, n: int, *, heard: bool) -> None:
    """Bob says something, which is stored, and heard by Ann or not."""
    history.send(BOB, n).ack(BOB, n, n)
    if heard:
        history.hear(ANN, BOB, n, n)


def test_closed_in_time(history: Any) -> None:
    """The socket is closed at the deadline; what is said later is not heard there."""
    opened(history, lasts_ms=9)
    said(history, 1, heard=True)
    history.cut(ANN)
    pause(history, 9)
    said(history, 2, heard=False)
    verdict = history.judge()["I34"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0), "it ended before the deadline"
    opened(history, client=BOB2)
    pause(history, 6)
    history.cut(BOB2)
    pause(history, 6)
    said(history, 3, heard=False)
    verdict = history.judge()["I34"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


def test_outlives_its_token(history: Any) -> None:
    """Something said after deadline and leeway is heard: the finding shows token, request, saying and hearing."""
    opened(history)
    pause(history, 9)
    said(history, 1, heard=True)
    verdict = history.judge()["I34"]
    assert (verdict.outcome, verdict.violations, verdict.examined) == (Outcome.FAIL, 1, 1)
    told = history.tell(verdict)
    assert "ann received #1 of bob in room-1, which was sent" in told.sentence
    assert len(told.lines) == 4


def test_told_while_the_run_goes_on(history: Any) -> None:
    """What is heard too late is told at once, though no token came on record since the last look."""
    opened(history)
    pause(history, 9)
    said(history, 1, heard=True)
    judge, (records,) = Judge(history.roster, history.contract), history.arrays().values()
    violations = []
    for batch in (records[:-1], records[-1:]):
        judge.step(Batch(0, batch))
        violations.append({verdict.id: verdict.violations for verdict in judge.peek()}["I34"])
    assert violations == [0, 1]


def test_said_in_time_and_heard_late(history: Any) -> None:
    """The saying counts: what was said in time may arrive later."""
    opened(history)
    history.send(BOB, 1).ack(BOB, 1, 1)
    pause(history, 9)
    history.hear(ANN, BOB, 1, 1)
    said(history, 2, heard=False)
    verdict = history.judge()["I34"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


@pytest.mark.parametrize("number", [1, 0])
def test_outlives_its_revocation(history: Any, number: int) -> None:
    """A logout and a ban end live sockets too, in whatever journal they are told."""
    opened(history, lasts_ms=None)
    revoke(history, ANN, number, by=BOB, journal=1)
    pause(history, 4)
    said(history, 1, heard=True)
    verdict = history.judge()["I34"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert len(history.tell(verdict).lines) == 5, "token, request, revocation, saying, hearing"


def test_within_the_bound(history: Any) -> None:
    """After a logout the news of it may need its time."""
    opened(history, lasts_ms=None)
    revoke(history, ANN, 1)
    pause(history, 2)
    said(history, 1, heard=True)
    assert history.judge()["I34"].examined == 0


def test_a_token_without_an_end(history: Any) -> None:
    """Neither deadline nor revocation: nothing to be judged."""
    opened(history, lasts_ms=None)
    said(history, 1, heard=True)
    assert history.judge()["I34"].examined == 0


def test_a_ticket_stands_for_its_token(history: Any) -> None:
    """Opened with a ticket, the socket ends with the token that the ticket was bought with."""
    token(history, ANN, 1, lasts_ms=6)
    token(history, ANN, 2, Artefact.TICKET, of=1, lasts_ms=30)
    history.join(ANN)
    ask(history, ANN, 2, 101, Place.SOCKET, way=Way.TICKET, conn=ANN + 1)
    pause(history, 9)
    said(history, 1, heard=True)
    assert history.judge()["I34"].violations == 1


def test_a_new_connection_has_a_new_authority(history: Any) -> None:
    """What is heard later on another connection, opened with a new token, is in order."""
    opened(history)
    pause(history, 6)
    history.cut(ANN)
    token(history, ANN, 2, lasts_ms=50)
    history.join(ANN, conn=9)
    ask(history, ANN, 2, 101, Place.SOCKET, conn=9)
    pause(history, 4)
    history.send(BOB, 1).ack(BOB, 1, 1).hear(ANN, BOB, 1, 1, conn=9)
    verdict = history.judge()["I34"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


def test_only_its_own_conversations(history: Any) -> None:
    """Something said elsewhere is no opportunity, and something that nobody accepted is none either."""
    opened(history)
    pause(history, 9)
    history.send(EVE, 1, OTHER).ack(EVE, 1, 1, OTHER)
    history.send(BOB, 1)
    assert history.judge()["I34"].examined == 0


def test_not_promised(new_history: Callable[..., Any]) -> None:
    """Where a socket may outlive its token, that it does is an observation."""
    history = new_history(**{**PROMISES, "sockets_end_with_token": False})
    opened(history)
    pause(history, 9)
    said(history, 1, heard=True)
    verdict = history.judge()["I34"]
    assert (verdict.promised, verdict.violations) == (False, 1)


def test_closed_at_the_moment_of_its_end(history: Any) -> None:
    """It was open when its authority ended."""
    opened(history, lasts_ms=6)
    history.cut(ANN, t=7 * MS)
    pause(history, 9)
    said(history, 1, heard=False)
    assert history.judge()["I34"].examined == 1


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("before", [0, 69])
@pytest.mark.parametrize("other", [True, False])
def test_which_of_many_was_heard(history: Any, heard: bool, before: int, other: bool) -> None:
    """Of one message or seventy the last one, on the first connection of a device or on its second."""
    if other:
        history.join(ANN, conn=50)
    opened(history)
    pause(history, 9)
    for n in range(1, before + 1):
        said(history, n, heard=False)
    said(history, before + 1, heard=heard)
    verdict = history.judge()["I34"]
    assert (verdict.examined, verdict.violations) == (1, heard)


@pytest.mark.parametrize("how", ["ack", "hear", "stored"])
def test_what_a_dead_connection_sends_is_accepted(history: Any, how: str) -> None:
    """The platform does not echo; it shows in the answer, in another's delivery, or in the final state."""
    opened(history)
    pause(history, 9)
    history.send(ANN, 1)
    {"ack": lambda: history.ack(ANN, 1, 1), "hear": lambda: history.hear(BOB, ANN, 1, 1),
     "stored": lambda: history.stored(ANN, 1, 1)}[how]()  # fmt: skip
    verdict = history.judge()["I34"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert "#1 of ann, which was sent in room-1" in history.tell(verdict).sentence


def test_what_a_dead_connection_sends_in_vain(history: Any) -> None:
    """It is not accepted; or the message was sent again on a connection that has authority."""
    opened(history)
    pause(history, 9)
    history.send(ANN, 1)
    assert (history.judge()["I34"].outcome, history.judge()["I34"].examined) == (Outcome.PASS, 1)
    history.join(ANN, conn=8).send(ANN, 1, attempt=2, conn=8).ack(ANN, 1, 1, attempt=2, conn=8)
    assert history.judge()["I34"].violations == 0
