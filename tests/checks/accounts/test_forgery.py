"""I31 forgery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import ask, token

from earwitness.checks import Outcome
from earwitness.checks.history.record import Place, Way

ANN, BOB, BOB2, EVE = range(4)


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """Ann has a genuine token (1) and one that she forged in the third way (2)."""
    history = new_history()
    token(history, ANN, 1)
    token(history, ANN, 2, forged=3)
    return history


def test_refused_beside_a_control(history: Any) -> None:
    """Two forgeries refused, then the control at the same place in the same way accepted: both count."""
    ask(history, ANN, 2, 401)
    ask(history, ANN, 2, 403)
    ask(history, ANN, 1, control=True)
    verdict = history.judge()["I31"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


def test_accepted(history: Any) -> None:
    """An accepted forgery is a violation with or without a control."""
    ask(history, ANN, 2, place=Place.SOCKET, way=Way.QUERY)
    verdict = history.judge()["I31"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    told = history.tell(verdict)
    assert told.sentence == "the socket accepted a forged access token of ann: forgery 3"
    assert "forges access token 2" in told.lines[0]
    assert "by query: accepted" in told.lines[1]


@pytest.mark.parametrize(
    "control", [{"place": Place.AUTH}, {"way": Way.SUBPROTOCOL}, {"status": 503}, {"status": 429}, {"client": BOB}]
)
def test_the_control_must_be_beside_it(history: Any, control: dict[str, Any]) -> None:
    """At another place, in another way, by another client, or without an answer it proves nothing."""
    ask(history, ANN, 2, 401)
    ask(history, **{"client": ANN, "number": 1, "control": True, **control})
    verdict = history.judge()["I31"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)


def test_an_ordinary_request_is_no_control(history: Any) -> None:
    """Only what was meant as a control, made as the forgery was, is one."""
    ask(history, ANN, 2, 401)
    ask(history, ANN, 1)
    assert history.judge()["I31"].examined == 0


def test_a_refused_control(history: Any) -> None:
    """A place that refuses everything is doubted, whatever else was examined."""
    ask(history, ANN, 2, 401)
    ask(history, ANN, 1, control=True)
    ask(history, ANN, 2, 401)
    ask(history, ANN, 1, 401, control=True)
    verdict = history.judge()["I31"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 1)
    assert verdict.why == "1 valid controls were refused beside forgeries"


@pytest.mark.parametrize("status", [0, 500, 429])
def test_no_answer_proves_nothing(history: Any, status: int) -> None:
    """A forgery that got no answer, an error, or met a used-up budget was not refused."""
    ask(history, ANN, 2, status)
    ask(history, ANN, 1, control=True)
    assert history.judge()["I31"].examined == 0


def test_one_control_serves_what_came_before_it(history: Any) -> None:
    """A forgery after the last control waits for the next one."""
    ask(history, ANN, 1, control=True)
    ask(history, ANN, 2, 401)
    assert history.judge()["I31"].examined == 0


def test_a_refused_control_beside_nothing(history: Any) -> None:
    """Where no forgery was refused there is nothing to doubt."""
    ask(history, ANN, 1, 401, control=True)
    assert "controls" not in history.judge()["I31"].why
