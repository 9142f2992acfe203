"""I45 no echo, I46 size limit; and each key of the contract is read by a check."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from earwitness import checks
from earwitness.checks import Contract, Kind, Outcome

ANN, BOB, BOB2, EVE = range(4)


def test_a_check_reads_each_promise() -> None:
    """A key that nothing judges would be a promise that anybody may break."""
    sources = "".join(
        path.read_text() for path in Path(checks.__file__).parent.rglob("*.py") if path.stem != "contract"
    )
    unread = [field.name for field in fields(Contract) if not re.search(rf"contract\.{field.name}\b", sources)]
    assert unread == ["name"]


@pytest.mark.parametrize(
    ("heard", "violations"),
    [
        (lambda h: h.hear(ANN, ANN, 1, 1), 1),
        (lambda h: h.hear(BOB, ANN, 1, 1), 0),
        (lambda h: h.hear(ANN, ANN, 1, 1, conn=9), 0),
        (lambda h: h.replay(ANN, ANN, 1, 1), 0),
        (lambda h: h.hear(ANN, ANN, 1, 1, flags=1), 0),
    ],
    ids=["echo", "somebody else", "a later connection", "history", "corrupt"],
)
def test_no_echo(new_history: Callable[..., Any], heard: Callable[[Any], Any], violations: int) -> None:
    """Only the connection that sent the message must not get it; the promise is that there is no echo."""
    history = heard(new_history(echo=False).join(ANN).send(ANN, 1).ack(ANN, 1, 1))
    verdict = history.judge()["I45"]
    assert (verdict.examined, verdict.violations, verdict.promised) == (1, violations, True)
    assert not heard(new_history().join(ANN).send(ANN, 1)).judge()["I45"].promised
    if violations:
        assert (
            history.tell(verdict).sentence == "ann received its own #1 of ann in room-1 on the connection that sent it"
        )


def refused(history: Any, size: int, code: int = 413, attempt: int = 1) -> Any:
    history.send(ANN, 1, size=size, attempt=attempt)
    return history.add(Kind.FAIL, ANN, conn=1, conv=0, author=ANN, counter=1, attempt=attempt, aux=code)


@pytest.mark.parametrize(
    ("size", "code", "attempt", "examined", "violations"),
    [(100, 413, 1, 1, 1), (101, 413, 1, 1, 0), (5, 413, 1, 1, 1), (100, 429, 1, 0, 0), (100, 413, 2, 0, 0)],
    ids=["as long as promised", "longer", "short", "for the budget", "a retry"],
)
def test_refused_as_too_long(
    new_history: Callable[..., Any], size: int, code: int, attempt: int, examined: int, violations: int
) -> None:
    """Up to the stated length nothing is too long."""
    history = refused(new_history(message_bytes_max=100), size, code, attempt)
    verdict = history.judge()["I46"]
    assert (verdict.examined, verdict.violations) == (examined, violations)
    if violations:
        assert history.tell(verdict).sentence == (
            f"#1 of ann, {size} bytes long, was refused as too long in room-1; up to 100 are promised"
        )


def test_every_message_is_looked_at(new_history: Callable[..., Any]) -> None:
    """Whatever its number; and nothing is known of the length of one whose sending is not on record."""
    history = new_history(message_bytes_max=100).send(ANN, 64, size=100)
    history.add(Kind.FAIL, ANN, conn=1, conv=0, author=ANN, counter=64, attempt=1, aux=413)
    assert history.judge()["I46"].violations == 1
    unsent = new_history(message_bytes_max=100)
    unsent.add(Kind.FAIL, ANN, conn=1, conv=0, author=ANN, counter=1, attempt=1, aux=413)
    assert (unsent.judge()["I46"].examined, unsent.judge()["I46"].violations) == (0, 0)


@pytest.mark.parametrize(("size", "examined", "violations"), [(101, 1, 1), (100, 1, 0), (90, 1, 0), (89, 0, 0)])
def test_accepted(new_history: Callable[..., Any], size: int, examined: int, violations: int) -> None:
    """More than what is said to be accepted is not; a message far from the limit says nothing of it."""
    history = new_history(message_bytes_max=100).send(ANN, 1, size=size).ack(ANN, 1, 1)
    verdict = history.judge()["I46"]
    assert (verdict.examined, verdict.violations) == (examined, violations)
    if violations:
        assert "101 bytes long, was accepted in room-1; at most 100 are promised" in history.tell(verdict).sentence


def test_no_limit_is_stated(new_history: Callable[..., Any]) -> None:
    """Then nobody can break it."""
    assert refused(new_history(), 10).judge()["I46"].outcome is Outcome.UNKNOWN
