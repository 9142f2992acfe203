"""I29 deadline, I30 revocation bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import ask, pause, revoke, token

from earwitness.checks import Outcome
from earwitness.checks.history.record import Artefact, Place, Way

ANN, BOB, BOB2, EVE = range(4)
PROMISES = {"token_leeway_s": 0.002, "revocation_bound_s": 0.003}


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """Leeway 2 ms, revocation within 3 ms; a record takes 1 ms."""
    return new_history(**PROMISES)


def test_refused_after_its_deadline(history: Any) -> None:
    """Accepted while it held, refused after deadline and leeway: one opportunity, well used."""
    token(history, ANN, 1, lasts_ms=2)
    ask(history, ANN, 1)
    pause(history, 5)
    ask(history, ANN, 1, 401)
    verdict = history.judge()["I29"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Artefact.ACCESS, "access token"), (Artefact.REFRESH, "refresh token"), (Artefact.TICKET, "ticket")],
)
def test_what_was_accepted_is_named(history: Any, kind: Artefact, words: str) -> None:
    """A refresh token is no token, and a ticket is a ticket."""
    token(history, ANN, 1, kind, lasts_ms=2)
    pause(history, 5)
    ask(history, ANN, 1)
    assert (
        history.tell(history.judge()["I29"]).sentence == f"the backend accepted ann's {words} 4 ms after its deadline"
    )


def test_accepted_after_its_deadline(history: Any) -> None:
    """Sent after deadline and leeway, and accepted: the finding shows the token and the request."""
    token(history, ANN, 1, lasts_ms=2)
    pause(history, 5)
    ask(history, ANN, 1)
    verdict = history.judge()["I29"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    told = history.tell(verdict)
    assert told.sentence == "the backend accepted ann's access token 4 ms after its deadline"
    assert "gets access token 1" in told.lines[0]
    assert "asks the backend with artefact 1 of ann by header: accepted (200)" in told.lines[1]


def test_within_the_leeway(history: Any) -> None:
    """The leeway belongs to the platform, to the nanosecond."""
    token(history, ANN, 1, lasts_ms=2)
    pause(history, 3)
    ask(history, ANN, 1)
    verdict = history.judge()["I29"]
    assert (verdict.examined, verdict.why) == (0, "nothing was examined")
    token(history, ANN, 2, lasts_ms=2)
    pause(history, 4)
    ask(history, ANN, 2)
    assert history.judge()["I29"].outcome == Outcome.FAIL


def test_the_sending_counts(history: Any) -> None:
    """Sent in time and answered late: the platform may have looked at it in time."""
    token(history, ANN, 1, lasts_ms=2)
    pause(history, 7)
    ask(history, ANN, 1, took_ms=4)
    assert history.judge()["I29"].examined == 0


@pytest.mark.parametrize("status", [0, 503, 429])
def test_no_answer_proves_nothing(history: Any, status: int) -> None:
    """No answer, an error, or a budget that was used up say nothing about the token."""
    token(history, ANN, 1, lasts_ms=2)
    ask(history, ANN, 1)
    pause(history, 5)
    ask(history, ANN, 1, status)
    assert history.judge()["I29"].examined == 0


def test_a_place_that_refuses_everything_proves_nothing(history: Any) -> None:
    """A refusal counts only where the same place had accepted the token before."""
    token(history, ANN, 1, lasts_ms=2)
    ask(history, ANN, 1, place=Place.AUTH)
    pause(history, 5)
    ask(history, ANN, 1, 401, Place.BACKEND)
    assert history.judge()["I29"].examined == 0


def test_a_late_ticket(history: Any) -> None:
    """What is good for one use has a deadline too, and needs no earlier use to be judged by."""
    token(history, ANN, 1, Artefact.TICKET, lasts_ms=2)
    pause(history, 5)
    ask(history, ANN, 1, 401, Place.SOCKET, way=Way.TICKET)
    assert history.judge()["I29"].examined == 1


def test_revoked_is_refused_everywhere(history: Any) -> None:
    """Of a logout and a ban, at each place that had accepted the token."""
    for number in (1, 2):
        token(history, ANN, number)
        ask(history, ANN, number)
    revoke(history, ANN, 1)
    revoke(history, ANN, by=BOB)
    pause(history, 4)
    for number in (1, 2):
        ask(history, ANN, number, 401)
    verdict = history.judge()["I30"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


@pytest.mark.parametrize("number", [1, 0])
def test_revoked_and_accepted(history: Any, number: int) -> None:
    """A logged-out token, or a banned user's, that is accepted after the bound."""
    token(history, ANN, 1)
    revoke(history, ANN, number)
    pause(history, 4)
    ask(history, ANN, 1, place=Place.AUTH)
    verdict = history.judge()["I30"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    told = history.tell(verdict)
    assert told.sentence == "the auth service accepted ann's access token 5 ms after it had been revoked"
    assert len(told.lines) == 3


def test_within_the_bound(history: Any) -> None:
    """Sent within the bound after the confirmation: the news may still be on its way."""
    token(history, ANN, 1)
    revoke(history, ANN, 1)
    pause(history, 2)
    ask(history, ANN, 1)
    assert history.judge()["I30"].examined == 0


def test_a_logout_that_nobody_confirmed(history: Any) -> None:
    """It may or may not have happened."""
    token(history, ANN, 1)
    revoke(history, ANN, 1, 0)
    pause(history, 4)
    ask(history, ANN, 1)
    assert history.judge()["I30"].examined == 0


def test_a_ban_takes_what_was_held_then(history: Any) -> None:
    """A token that was issued after a ban was asked for may be a new beginning."""
    revoke(history, ANN)
    token(history, ANN, 1)
    pause(history, 4)
    ask(history, ANN, 1)
    assert history.judge()["I30"].examined == 0


def test_a_ban_is_of_the_user(history: Any) -> None:
    """All devices of the banned user lose their tokens; another user keeps them."""
    for client in (BOB, BOB2, EVE):
        token(history, client, 1)
    revoke(history, BOB, by=ANN)
    pause(history, 4)
    for client in (BOB2, EVE):
        ask(history, client, 1)
    assert history.judge()["I30"].violations == 1


def test_what_had_expired_proves_nothing(history: Any) -> None:
    """Refused after its deadline: nobody knows for which of the two reasons."""
    token(history, ANN, 1, lasts_ms=4)
    ask(history, ANN, 1)
    revoke(history, ANN, 1)
    pause(history, 4)
    ask(history, ANN, 1, 401)
    assert history.judge()["I30"].examined == 0


@pytest.mark.parametrize(("promised", "violations"), [(True, 2), (False, 1)])
def test_what_a_logout_takes_along(
    history: Any, new_history: Callable[..., Any], promised: bool, violations: int
) -> None:
    """A ticket bought with the token always, its refresh token where a logout is promised to end the session."""
    history = new_history(**PROMISES, logout_ends_session=promised)
    token(history, ANN, 1, Artefact.REFRESH)
    token(history, ANN, 2, of=1)
    token(history, ANN, 3, Artefact.TICKET, of=2)
    token(history, ANN, 4, Artefact.REFRESH)
    revoke(history, ANN, 2)
    pause(history, 4)
    ask(history, ANN, 1, place=Place.AUTH, way=Way.BODY)
    ask(history, ANN, 3, 101, Place.SOCKET, way=Way.TICKET)
    ask(history, ANN, 4, place=Place.AUTH, way=Way.BODY)
    assert history.judge()["I30"].violations == violations


def test_without_a_promised_bound(new_history: Callable[..., Any]) -> None:
    """Where no bound is promised nothing is judged."""
    history = new_history()
    token(history, ANN, 1)
    revoke(history, ANN, 1)
    pause(history, 4)
    ask(history, ANN, 1)
    verdict = history.judge()["I30"]
    assert (verdict.promised, verdict.examined) == (False, 0)


def test_proven_at_the_moment_of_asking(history: Any) -> None:
    """Accepted at the nanosecond at which another request was sent, which was refused: the place had accepted it."""
    token(history, ANN, 1, lasts_ms=1)
    pause(history, 5)
    ask(history, ANN, 1, took_ms=6)
    ask(history, ANN, 1, 401, took_ms=1)
    assert history.judge()["I29"].examined == 1


def test_refused_at_its_deadline(history: Any) -> None:
    """Nobody knows for which reason, neither at that nanosecond."""
    token(history, ANN, 1, lasts_ms=10)
    ask(history, ANN, 1)
    revoke(history, ANN, 1)
    pause(history, 7)
    ask(history, ANN, 1, 401)
    assert history.judge()["I30"].examined == 0
